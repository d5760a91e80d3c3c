"""What a user named, opened: a network, and the data as that network wants to see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compress.card import Card
from compress.checkpoint import Checkpoint, load, load_plain
from compress.data import DataOptions, Dataset
from compress.data import load as load_data
from compress.errors import CheckpointError, DataError, PlanError
from compress.models import Architecture, build

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".onnx")


@dataclass(frozen=True)
class Named:
    """A network as it was named.

    Attributes:
        name: A file of weights, or a network's name.
        arch: The network whose plain state dict the file holds; "" where it is a checkpoint.
        options: Of a network by name: width, depth.
    """

    name: str
    arch: str = ""
    options: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_file(self) -> bool:
        """Whether a file of weights is meant."""
        return self.name.endswith(WEIGHTS)


def open_pair(named: Named, data: str, options: DataOptions) -> tuple[Checkpoint, Dataset]:
    """A finished network, and the data set as it sees it.

    A plain state dict says nothing of preprocessing and classes: there the data set and the options decide.

    Raises:
        CheckpointError, DataError: One of them cannot be opened, or they do not fit each other.
    """
    if not named.arch:
        checkpoint = load(Path(named.name))
        return checkpoint, data_for(checkpoint.card, data, options)
    images = load_data(data, options)
    checkpoint = load_plain(Path(named.name), named.arch, images.see, images.classes)
    return checkpoint, images


def open_network(named: Named, data: str | None, options: DataOptions) -> Checkpoint:
    """A finished network; the data set only says what a plain state dict does not.

    Raises:
        CheckpointError, DataError: It cannot be opened.
    """
    if not named.arch:
        return load(Path(named.name))
    if data is None:
        raise DataError(
            f"{named.name}: --arch needs --data too: a plain state dict has no class names and no preprocessing"
        )
    return open_pair(named, data, options)[0]


def open_beside(role: str, named: Named, images: Dataset, *, seed: int) -> Checkpoint:
    """A network that is to be trained on, or to teach with, images that are open already; by name it is a new one.

    Its mean and std may be its own; what it makes of a photo before it scales it may not.

    Args:
        role: How to call it in messages: "--student x.safetensors".
        named: A network by name, a checkpoint or a plain state dict.
        images: As the other network sees them.
        seed: Of a new network's weights.

    Raises:
        CheckpointError, DataError, PlanError: It cannot be opened, or does not fit the images.
    """
    if not named.is_file:
        return new_network(named, images, seed=seed)
    if named.options:
        raise PlanError(f"{role}: a finished network has its width and depth; leave --width and --depth out")
    try:
        if named.arch:
            return load_plain(Path(named.name), named.arch, images.see, images.classes)
        checkpoint = load(Path(named.name))
        check_fit(checkpoint.card, images)
    except DataError as error:
        raise DataError(f"{role}: {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{role}: {error}") from error
    return checkpoint


def new_network(named: Named, images: Dataset, *, seed: int) -> Checkpoint:
    """A network by name with random weights, for a data set.

    Raises:
        CompressError: The name or an option is unknown, or the images are too small for it.
    """
    see = images.see
    architecture = Architecture(named.name, len(images.classes), see.channels, see.size, named.options)
    return Checkpoint(build(architecture, seed=seed), Card(architecture, see, images.classes))


def data_for(card: Card, name: str, options: DataOptions) -> Dataset:
    """The data set as a network sees it.

    Args:
        card: Of the network; its preprocessing decides.
        name: Name or path of the data set.
        options: What else to do with it; what it says of preprocessing must be the network's own.

    Raises:
        DataError: An option asks for another preprocessing, or the classes are not the network's.
    """
    see = card.preprocessing
    for option in ("size", "channels", "mean", "std", "resize", "crop"):
        asked, has = getattr(options, option), getattr(see, option)
        if asked not in (None, has):
            raise DataError(f"--{option} {_shown(asked)}: the network has {_shown(has)}; leave the option out")
    images = load_data(name, options, see=see)
    check_fit(card, images)
    return images


def check_fit(card: Card, data: Dataset) -> None:
    """Nothing, once a data set has the classes of a network and is prepared as it sees images.

    Raises:
        DataError: It has not, or is not.
    """
    differs = card.preprocessing.differs(data.see)
    if differs:
        raise DataError(
            f"data set {data.name!r} is not prepared as the network sees images (network, data: {'; '.join(differs)}); "
            "take a network that was trained on images of that kind"
        )
    if len(data.classes) != len(card.classes):
        raise DataError(
            f"data set {data.name!r} has {len(data.classes)} classes ({', '.join(data.classes[:3])}, ...); "
            f"the network has {len(card.classes)} ({', '.join(card.classes[:3])}, ...)"
        )
    if data.classes != card.classes:
        pair = next((a, b) for a, b in zip(data.classes, card.classes, strict=True) if a != b)
        raise DataError(
            f"data set {data.name!r} has other classes than the network: {pair[0]!r} stands where it learnt {pair[1]!r}"
        )


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
