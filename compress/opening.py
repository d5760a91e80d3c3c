"""What a user named, opened: a network, and the data as that network wants to see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from compress.card import Card
from compress.checkpoint import ANY_SIZE, Checkpoint, blank_image, load, load_plain, shape_plain
from compress.data import DataOptions, Dataset, status
from compress.data import load as load_data
from compress.data.remembered import recall
from compress.errors import CheckpointError, CompressError, DataError, PlanError, UnfitDataError
from compress.models import Architecture, build
from compress.models import named as designed
from compress.named import Named
from compress.preprocessing import Preprocessing
from compress.stages import Staged, feature_shapes

FAR = 4 / 3  # maps whose sides differ by more are of two resolutions


def open_pair(named: Named, data: str, options: DataOptions) -> tuple[Checkpoint, Dataset]:
    """A finished network, and the data set as it sees it.

    A plain state dict says nothing of preprocessing and classes: there the data set and the options decide, but for
    the channels, which are those of its first layer.

    Raises:
        CheckpointError, DataError, PlanError: One of them cannot be opened, or they do not fit each other.
    """
    _check_named(named)
    if not named.arch:
        checkpoint = _loaded(named)
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
    checkpoint = _loaded(named)
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
        raise PlanError(f"{role}: a finished network has its {_given(named)}")
    try:
        if named.arch:
            return _plain(named, images)
        checkpoint = _loaded(named)
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
    architecture = designed(named.name, len(images.classes), see.channels, see.size, named.options)
    return Checkpoint(build(architecture, seed=seed, told=named.told), Card(architecture, see, images.classes))


def paired(teacher: Staged, student: Staged, image: Tensor) -> Staged:
    """The teacher, its body stages called as those of the student that show maps of their size.

    Of one family the names say the same on both sides, and nothing changes. Else each stage of the student, the last
    one first, gets the teacher's whose map is nearest in height and width, if it is within a third and not taken.

    Args:
        teacher: Only read.
        student: Whose names count.
        image: One image (1, C, H, W) that both take.
    """
    ours, theirs = _map_sizes(student, image), _map_sizes(teacher, image)
    if all(theirs.get(name) == size for name, size in ours.items()):
        return teacher
    left, names = dict(theirs), dict[str, str]()
    for name, size in reversed(ours.items()):
        far = {other: _distance(size, left[other]) for other in reversed(left)}
        nearest = min(far, key=lambda other: far[other], default=None)
        if nearest is not None and far[nearest] <= FAR:
            names[nearest] = name
            order = list(left)
            left = {other: left[other] for other in order[: order.index(nearest)]}
    taken = {*names.values()} - {*names}
    kept = (stage for stage in teacher.stages if stage.name not in taken)
    return replace(teacher, stages=tuple(replace(stage, name=names.get(stage.name, stage.name)) for stage in kept))


def _map_sizes(network: Staged, image: Tensor) -> dict[str, tuple[int, ...]]:
    shapes = feature_shapes(network, image.to(next(network.model.parameters()).device))
    return {name: shapes[name][1:] for name in network.body if len(shapes[name]) == 3}


def _distance(size: tuple[int, ...], other: tuple[int, ...]) -> float:
    """By what factor one side of two maps differs at most."""
    return max(max(pair) / min(pair) for pair in zip(size, other, strict=True))


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
        UnfitDataError: It has not, or is not.
    """
    differs = card.preprocessing.differs(data.see)
    if differs:
        raise UnfitDataError(
            f"data set {data.name!r} is not prepared as the network sees images (network, data: {'; '.join(differs)}); "
            "take a network that was trained on images of that kind"
        )
    if len(data.classes) != len(card.classes):
        raise UnfitDataError(
            f"data set {data.name!r} has {len(data.classes)} classes ({_few(data.classes)}); "
            f"the network has {len(card.classes)} ({_few(card.classes)})"
        )
    if data.classes != card.classes:
        pair = next((a, b) for a, b in zip(data.classes, card.classes, strict=True) if a != b)
        raise UnfitDataError(
            f"data set {data.name!r} has other classes than the network: {pair[0]!r} stands where it learnt {pair[1]!r}"
        )


def _check_named(named: Named) -> None:
    """Nothing, unless options of a network were given beside a checkpoint, which has its own."""
    if named.options and not named.arch:
        raise PlanError(
            f"{named.name}: a finished network has its {_given(named)}, or name the network of a plain state dict with "
            "--arch"
        )


def _given(named: Named) -> str:
    """The end of a sentence about what a finished network has, and which options to leave out."""
    others = [key for key in named.options if key not in ("width", "depth")]
    if others:
        return f"own {others[0]}; leave --arg {others[0]} out"
    return "width and depth; leave --width and --depth out"


def _loaded(named: Named) -> Checkpoint:
    """The checkpoint that was named, its stages where it was told."""
    made = load(Path(named.name))
    if not named.told:
        return made
    from compress.models.found import overruled

    try:
        return replace(made, network=overruled(made.network, blank_image(made.card), named.told))
    except CompressError as error:
        raise CheckpointError(f"{named.name}: {error}") from error


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
    return load_plain(Path(named.name), named.arch, see, options=named.options, told=named.told)


def _plain(named: Named, images: Dataset) -> Checkpoint:
    """The network of a plain state dict, which sees the images as they are and was taught what they teach."""
    path, see = Path(named.name), images.see
    made = load_plain(path, named.arch, see, images.classes, options=named.options, told=named.told)
    return replace(made, card=replace(made.card, task="segmentation")) if images.masks else made


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
