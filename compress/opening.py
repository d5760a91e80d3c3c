"""What a user named, opened: a network, and the data as that network wants to see them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from compress.card import Card
from compress.checkpoint import ANY_SIZE, KEY, Checkpoint, load, load_plain, shape_plain
from compress.data import DataOptions, Dataset, status
from compress.data import load as load_data
from compress.data.remembered import recall
from compress.errors import CheckpointError, CompressError, DataError, PlanError
from compress.models import MODELS, Architecture, build, known_name
from compress.models.resnet import ENCODER
from compress.preprocessing import Preprocessing
from compress.stages import Staged
from compress.weights import SUFFIX, ends, fill, read_header, read_plain

WEIGHTS = (SUFFIX, ".pt", ".pth", ".bin", ".ckpt", ".onnx")
PRETRAINED = "pretrained"
SHOWN = 5


@dataclass(frozen=True)
class Named:
    """A network as it was named.

    Attributes:
        name: A file of weights, or a network's name.
        arch: The network whose plain state dict the file holds; "" where it is a checkpoint.
        options: Of a network by name, and of the one whose plain state dict it is: width, depth.
    """

    name: str
    arch: str = ""
    options: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_file(self) -> bool:
        """Whether a file of weights is meant: by its suffix, by a folder before it, or because there is one.

        A network's name stays one, whatever lies in the folder.
        """
        if self.name.endswith(WEIGHTS) or os.sep in self.name or self.arch:
            return True
        return Path(self.name).is_file() and not self.is_network

    @property
    def is_network(self) -> bool:
        """Whether there is a network of that name."""
        try:
            known_name(self.name)
        except CompressError:
            return False
        return True


@dataclass(frozen=True)
class Initial:
    """A network that is to be trained on, the data as it sees them, and what to tell about the two.

    Attributes:
        checkpoint: Named network, given weights; its lineage is that of the weights.
        images: Prepared as the weights were used to, where that is known.
        notes: A sentence on each layer that starts anew, and on what was decided for the images.
    """

    checkpoint: Checkpoint
    images: Dataset
    notes: tuple[str, ...]


def open_pair(named: Named, data: str, options: DataOptions) -> tuple[Checkpoint, Dataset]:
    """A finished network, and the data set as it sees it.

    A plain state dict says nothing of preprocessing and classes: there the data set and the options decide, but for
    the channels, which are those of its first layer.

    Raises:
        CheckpointError, DataError, PlanError: One of them cannot be opened, or they do not fit each other.
    """
    _check_named(named)
    if not named.arch:
        checkpoint = load(Path(named.name))
        return checkpoint, data_for(checkpoint.card, data, options)
    shape = _shape(named, options)
    images = load_data(data, replace(options, channels=shape.channels))
    if len(images.classes) != shape.classes:
        raise DataError(
            f"{named.name} tells {shape.classes} classes apart; data set {images.name!r} has {len(images.classes)} "
            f"({_few(images.classes)}); give data of its own classes, or teach it these: edgepress train "
            f"{named.arch} --weights {named.name} --data {data}"
        )
    return _plain(named, images), images


def open_network(named: Named, data: str | None, options: DataOptions) -> Checkpoint:
    """A finished network; the data set only says what a plain state dict does not.

    Without a data set, the options have to say how a plain state dict sees its images, and its classes are numbered.

    Raises:
        CheckpointError, DataError, PlanError: It cannot be opened, or the options are not its own.
    """
    if named.arch and data is not None:
        return open_pair(named, data, options)[0]
    _check_named(named)
    if named.arch:
        return _unnamed_classes(named, options)
    checkpoint = load(Path(named.name))
    check_options(checkpoint.card.preprocessing, options)
    return checkpoint


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
    if named.options and not named.arch:
        raise PlanError(f"{role}: a finished network has its width and depth; leave --width and --depth out")
    try:
        if named.arch:
            return _plain(named, images)
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
    if named.is_file:
        raise PlanError(
            f"{named.name} is a file of weights, where the name of a network is expected; to go on from it: "
            f"edgepress train NETWORK --weights {named.name}"
        )
    see = images.see
    architecture = Architecture(known_name(named.name), len(images.classes), see.channels, see.size, named.options)
    return Checkpoint(build(architecture, seed=seed), Card(architecture, see, images.classes))


def open_new(named: Named, weights: str | None, data: str, options: DataOptions, *, seed: int) -> Initial:
    """A network by name and the data set it is for: with random weights, or with given ones (see `open_initial`).

    Raises:
        CheckpointError, DataError, PlanError: One of them cannot be opened, or they do not fit each other.
    """
    if weights is not None:
        return open_initial(named, weights, data, options, seed=seed)
    images = load_data(data, options)
    return Initial(new_network(named, images, seed=seed), images, ())


def open_initial(named: Named, weights: str, data: str, options: DataOptions, *, seed: int) -> Initial:
    """A network by name that starts from given weights, for a data set that it need not know.

    Where classes or channels differ, the classifier or the first convolution starts anew; all else has to fit. The
    images are prepared as the weights were used to, where that is known and the options do not say otherwise.

    Args:
        named: A network by name.
        weights: A checkpoint or a plain state dict of such a network, or "pretrained" for torchvision's own.
        data: Name or path of the data set.
        options: How to read it.
        seed: Of the layers that start anew.

    Raises:
        CheckpointError, DataError, PlanError: One of them cannot be opened, or the weights are another network's.
    """
    if named.is_file:
        raise PlanError(f"{named.name} is a file of weights; give the name of its network, and the file with --weights")
    name = known_name(named.name)
    given = _given(name, weights)
    if given.rule is None:
        images, notes = load_data(data, options), []
    else:
        images = load_data(data, options, see=_like(given.rule, options))
        notes = [f"images are prepared as these weights are used to: {_told(images.see)}"]
    made = new_network(Named(name, options={**given.options, **named.options}), images, seed=seed)
    try:
        notes += _start(made.network, given.tensors, part=given.part)
    except CheckpointError as error:
        raise CheckpointError(f"{weights} does not fit {name!r}: {error}") from error
    for step in given.lineage:
        made = made.with_step(step)
    return Initial(made, images, tuple(notes))


def data_for(card: Card, name: str, options: DataOptions) -> Dataset:
    """The data set as a network sees it.

    Args:
        card: Of the network; its preprocessing decides.
        name: Name or path of the data set.
        options: What else to do with it; what it says of preprocessing must be the network's own.

    Raises:
        DataError: An option asks for another preprocessing, or the classes are not the network's.
    """
    check_options(card.preprocessing, options)
    images = load_data(name, options, see=card.preprocessing)
    check_fit(card, images)
    return images


def check_options(see: Preprocessing, options: DataOptions) -> None:
    """Nothing, once the options ask for no other preprocessing than the network's own.

    Raises:
        DataError: One does.
    """
    for option in ("size", "channels", "mean", "std", "resize", "crop"):
        asked, has = getattr(options, option), getattr(see, option)
        if asked not in (None, has):
            raise DataError(f"--{option} {_shown(asked)}: the network has {_shown(has)}; leave the option out")


def training_data(card: Card) -> str | None:
    """What the network was trained on last, where it is on this machine: a name, or the path of a folder."""
    steps = (step["data"] for step in reversed(card.lineage) if isinstance(step.get("data"), Mapping))
    data = next((data for data in steps if isinstance(data.get("name"), str)), None)
    if data is None:
        return None
    if folder := recall(str(data.get("fingerprint"))):
        return str(folder)
    here = {row.name for row in status() if row.path}
    return data["name"] if data["name"].partition(":")[0] in here else None  # cub200:30 is a part of cub200


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
            f"data set {data.name!r} has {len(data.classes)} classes ({_few(data.classes)}); "
            f"the network has {len(card.classes)} ({_few(card.classes)})"
        )
    if data.classes != card.classes:
        pair = next((a, b) for a, b in zip(data.classes, card.classes, strict=True) if a != b)
        raise DataError(
            f"data set {data.name!r} has other classes than the network: {pair[0]!r} stands where it learnt {pair[1]!r}"
        )


@dataclass(frozen=True)
class _Given:
    """Weights to start from, and what is known of them: the rule of their images, options of their network, history.

    They may be those of one part of the network alone, whose names begin with `part`.
    """

    tensors: Mapping[str, Tensor]
    rule: Preprocessing | None = None
    options: Mapping[str, int] = field(default_factory=dict)
    lineage: tuple[Mapping[str, Any], ...] = ()
    part: str = ""


def _given(name: str, weights: str) -> _Given:
    if weights == PRETRAINED:
        from compress.models.pretrained import pretrained

        return _Given(*pretrained(name), part=ENCODER if name in MODELS else "")
    path = Path(weights)
    if not path.exists():
        raise CheckpointError(f"{weights} does not exist; give a file of weights, or {PRETRAINED!r}")
    if path.suffix != SUFFIX or KEY not in read_header(path)[1]:
        return _Given(read_plain(path))
    made = load(path)
    card = made.card
    if card.architecture.name != name:
        raise CheckpointError(f"{weights} is a {card.architecture.name}, not a {name}; name that network")
    if card.edits:
        raise CheckpointError(f"{weights} was pruned: its weights fit no other {name}; give those it had before")
    return _Given(made.network.model.state_dict(), card.preprocessing, card.architecture.options, card.lineage)


def _like(rule: Preprocessing, options: DataOptions) -> Preprocessing:
    """The rule, but for what the options say."""
    from compress.data.prepare import to_channels

    channels = options.channels or rule.channels
    try:
        return Preprocessing(
            size=options.size or rule.size,
            channels=channels,
            mean=options.mean or to_channels(rule.mean, channels),
            std=options.std or to_channels(rule.std, channels),
            resize=options.resize or rule.resize,
            crop=rule.crop if options.crop is None else options.crop,
            border=rule.border,
        )
    except ValueError as error:
        raise DataError(str(error)) from error


def _start(network: Staged, tensors: Mapping[str, Tensor], *, part: str) -> list[str]:
    """A note on each layer of a new network that keeps its own weights; the others get the tensors."""
    own = network.model.state_dict()
    first, head = ends(network)
    notes, misfits = [], [f"{key} is unknown" for key in tensors.keys() - own.keys()]
    rest = dict.fromkeys(key.split(".")[0] for key in own if not key.startswith(part))
    if rest:
        notes.append(f"{', '.join(rest)} start anew: the weights are those of {part.rstrip('.')} alone")
    for key, value in own.items():
        if not key.startswith(part):
            continue
        old, new = tuple(tensors[key].shape) if key in tensors else None, tuple(value.shape)
        if old == new:
            own[key] = tensors[key]
        elif old is None:
            misfits.append(f"{key} is missing")
        elif key.rpartition(".")[0] == head and old[1:] == new[1:]:
            if len(new) > 1:
                notes.append(f"{head} starts anew: the weights tell {old[0]:,} classes apart, the data have {new[0]:,}")
        elif key == f"{first}.weight" and old[:1] + old[2:] == new[:1] + new[2:]:
            notes.append(f"{first} starts anew: the weights take {old[1]} channels, the images have {new[1]}")
        else:
            misfits.append(f"{key} has shape {old}, the network's {new}")
    if misfits:
        more = f"; and {len(misfits) - SHOWN} more" if len(misfits) > SHOWN else ""
        raise CheckpointError("; ".join(sorted(misfits)[:SHOWN]) + more)
    fill(network.model, own)
    return notes


def _check_named(named: Named) -> None:
    """Nothing, unless options of a network were given beside a checkpoint, which has its own."""
    if named.options and not named.arch:
        raise PlanError(
            f"{named.name}: a finished network has its width and depth; leave --width and --depth out, or name the "
            "network of a plain state dict with --arch"
        )


def _shape(named: Named, options: DataOptions) -> Architecture:
    """What the weights of a plain state dict say of their network, once the options do not contradict them."""
    shape = shape_plain(Path(named.name), named.arch, options.size or ANY_SIZE, options=named.options)
    if shape.channels not in (1, 3):
        raise CheckpointError(f"{named.name}: takes images of {shape.channels} channels; images have 1 or 3")
    if options.channels not in (None, shape.channels):
        raise DataError(f"--channels {options.channels}: {named.name} takes {shape.channels}; leave the option out")
    return shape


def _unnamed_classes(named: Named, options: DataOptions) -> Checkpoint:
    """The network of a plain state dict where no data set names its classes."""
    if options.size is None or options.mean is None or options.std is None:
        raise DataError(
            f"{named.name}: a plain state dict does not say how it sees an image, nor what its classes are called; "
            "give --data (what it was trained on), or --size, --mean and --std (its classes are then numbered)"
        )
    channels = _shape(named, options).channels
    try:
        see = Preprocessing(
            size=options.size,
            channels=channels,
            mean=options.mean,
            std=options.std,
            resize=options.resize or "crop",
            crop=1.0 if options.crop is None else options.crop,
        )
    except ValueError as error:
        raise DataError(f"{named.name}: {error}") from error
    return load_plain(Path(named.name), named.arch, see, options=named.options)


def _plain(named: Named, images: Dataset) -> Checkpoint:
    """The network of a plain state dict, which sees the images as they are and was taught what they teach."""
    made = load_plain(Path(named.name), named.arch, images.see, images.classes, options=named.options)
    return replace(made, card=replace(made.card, task="segmentation")) if images.masks else made


def _told(see: Preprocessing) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (see.mean, see.std))
    share = f" of the middle {100 * see.crop:.4g} %" if see.crop < 1 else ""
    return f"{see.resize} to {see.size[0]}x{see.size[1]}{share}, {see.channels} channels, mean {mean}, std {std}"


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
