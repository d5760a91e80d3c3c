"""From what was typed to what the library takes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from cli import say
from cli.typed import refuse
from compress.errors import DataError, PlanError, unknown_name

if TYPE_CHECKING:
    from cli.options import Plain, Refined, Replayed, Seen
    from compress.data import DataOptions, Dataset
    from compress.evidence import Record
    from compress.named import Named
    from compress.phase import Fit, Keep
    from compress.preprocessing import Size
    from compress.tasks import Task
    from compress.training.engine import Run
    from compress.training.precision import Precision
    from exports.artefact import Input

OF_PLAIN = ("--arch", "--width", "--depth", "--arg", "--stage")
OF_SEEN = ("--size", "--mean", "--std", "--resize", "--crop")
_KEEP: dict[str, Keep] = {"last": "last", "best": "best score", "best-loss": "best loss"}
_NOT_IN_LINEAGE = ("--resume", "--force", "--json", "--quiet", "-q", "--verbose", "-v", "-qv", "-vq")


def command_line() -> str:
    """The command as typed, without what cannot change its result and without the folders of its files."""
    return shlex.join(["edgepress", *(_bare(word) for word in sys.argv[1:] if word not in _NOT_IN_LINEAGE)])


def stamped(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Records as JSON-able data that say which command gave them, and on what."""
    from compress.evidence import versions

    command, environment = command_line(), versions()
    return [replace(record, command=command, environment=environment).to_dict() for record in records]


def _bare(word: str) -> str:
    """A word of the command line whose path, if it is one, is cut down to the name of the file."""
    if word.startswith("-") and not word.startswith("--") and len(word) > 2:
        option, sign, value = word[:2], "", word[2:]  # -oPATH
    else:
        option, sign, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return option + sign + (Path(value).name or value)


def read_fit(
    epochs: int, rate: float, optimizer: str, schedule: str, *, batch_size: int, keep: str = "last", refined: Refined
) -> Fit:
    """The schedule of a training run; PlanError for an unknown name."""
    from compress.phase import OPTIMIZERS, Fit
    from compress.schedule import Schedule

    if optimizer not in OPTIMIZERS:
        raise PlanError(unknown_name("optimizer", optimizer, OPTIMIZERS))
    if keep not in _KEEP:
        raise PlanError(unknown_name("--keep", keep, _KEEP))
    course = Schedule(schedule, epochs, refined.warm_up)
    return Fit(epochs, OPTIMIZERS[optimizer](rate), course, _KEEP[keep], batch_size, ema=refined.ema)


def replaying(fit: Fit, replayed: Replayed) -> Fit:
    """The same fit, whose epochs see as many views of the images as was asked for."""
    return replace(fit, views=replayed.views)


def read_run(task: Task, seed: int, refined: Refined, replayed: Replayed | None = None) -> Run:
    """What stays the same over a training run; PlanError for an unknown name, or labels that the task has not."""
    from cli import progress
    from compress.tasks import smoothed
    from compress.training.engine import Run
    from compress.training.precision import PRECISIONS

    if refined.precision not in PRECISIONS:
        raise PlanError(unknown_name("--precision", refined.precision, PRECISIONS))
    precision: Precision = refined.precision
    made = Run(smoothed(task, refined.label_smoothing), seed, progress.every_s(), precision)
    return replace(made, cache_bytes=replayed.cache) if replayed else made


def read_network(name: str, arch: str | None, plain: Plain) -> Named:
    """A network as it was named; CompressError with the nearest known name where it is neither known nor a file.

    Args:
        name: Of a network, or a file of weights.
        arch: The network of a plain state dict.
        plain: What was said of it: width, depth, its other arguments, its stages.
    """
    from cli.options import PRUNED
    from compress.code import is_own, name_file, parts
    from compress.models import known_name

    if name.startswith(PRUNED):
        raise PlanError(f"{name}: the teacher with fewer channels is only for --student of distill; name a network")
    named = _named(name, arch, plain)
    if is_own(name):
        name_file(parts(name)[0])
    if not named.is_file:
        known_name(name)
        if Path(name).is_file() and not is_own(name):
            say.notes([f"{name} is taken for the network of that name, not for the file; for the file give ./{name}"])
    return named


def read_file(path: Path, plain: Plain) -> Named:
    """A file of weights as it was named, with the network that a plain state dict does not name."""
    return _named(str(path), plain.arch, plain)


def _named(name: str, arch: str | None, plain: Plain) -> Named:
    from compress.named import Named

    sizes = {"width": plain.width, "depth": plain.depth}
    options = {key: value for key, value in sizes.items() if value is not None}
    given = {key: _value(text) for key, text in read_pairs("--arg", "NAME", plain.arguments).items()}
    for key in options.keys() & given.keys():
        raise PlanError(f"--arg {key}: given with --{key}, too; leave one out")
    return Named(name, arch or "", options | given, read_pairs("--stage", "NAME", plain.stages, value="MODULE"))


def _value(text: str) -> int | float | bool | str:
    """A whole number, a number, true or false, or else the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def refuse_idle(path: Path, plain: Plain, *, exported: bool) -> None:
    """Nothing, unless an option of plain state dicts was typed that a file of another kind would ignore.

    Args:
        path: Where a command takes data for nothing but to name the classes of a plain state dict.
        plain: What was said of its network.
        exported: It is of an edge format.

    Raises:
        PlanError: One was.
    """
    if exported:
        refuse((*OF_PLAIN, *OF_SEEN, "--data"), f"{path} is an exported file and says all of that; leave it out")
    elif not plain.arch:
        refuse(("--data",), f"{path} says for itself what it is; leave it out, or name its network with --arch")


def read_task(name: str | None) -> Task | None:
    """The named task, None where the data are to decide (see `task_for`); PlanError if there is none."""
    from compress.tasks import TASKS

    if name is not None and name not in TASKS:
        raise PlanError(unknown_name("task", name, TASKS))
    return None if name is None else TASKS[name]


def task_for(images: Dataset) -> Task:
    """What a data set is for where nothing else is asked: masks to segment, labels to classify."""
    from compress.tasks import CLASSIFICATION, SEGMENTATION

    return SEGMENTATION if images.masks else CLASSIFICATION


def read_input(name: str) -> Input:
    """What a file is to take; PlanError for an unknown name."""
    from exports.artefact import INPUTS

    for known in INPUTS:
        if name == known:
            return known
    raise PlanError(unknown_name("--input", name, INPUTS))


def read_settings(words: Sequence[str] | None) -> dict[str, str]:
    """KNOB=VALUE words as a mapping; PlanError for a word without "=" or a knob named twice."""
    return read_pairs("--set", "KNOB", words)


def read_pairs(flag: str, what: str, words: Sequence[str] | None, *, value: str = "VALUE") -> dict[str, str]:
    """Words such as KEY=VALUE as a mapping; PlanError for one that is none, or a key that comes twice.

    Args:
        flag: The option that they were given with.
        what: What a key is called.
        words: As they were typed; None is no words.
        value: What a value is called.
    """
    settings: dict[str, str] = {}
    for word in words or ():
        key, sign, text = word.partition("=")
        if not sign or not key or not text:
            raise PlanError(f"{flag} {word}: give it as {what}={value}")
        if key in settings:
            raise PlanError(f"{flag} {key}: given twice")
        settings[key] = text
    return settings


def with_input(asked: DataOptions, text: str | None) -> DataOptions:
    """The options with the channels and the size of "3x96x64"; DataError where they say something else."""
    if text is None:
        return asked
    sides = text.lower().split("x")
    if len(sides) != 3 or not all(side.isascii() and side.isdigit() for side in sides) or sides[0] not in ("1", "3"):
        raise DataError(f"--input {text}: give CHANNELSxHEIGHTxWIDTH such as 3x96x64, of 1 or 3 channels")
    channels, size = int(sides[0]), (int(sides[1]), int(sides[2]))
    for flag, own, value in (("--channels", asked.channels, channels), ("--size", asked.size, size)):
        if own not in (None, value):
            raise DataError(f"--input {text}: {flag} says something else; leave one of the two out")
    return replace(asked, channels=channels, size=size)


def read_size(text: str | None) -> Size | None:
    """Height and width of "96" or "64x96"; DataError for anything else."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise DataError(f"--size {text}: give one side in pixels, or HEIGHTxWIDTH such as 64x96")
    return int(sides[0]), int(sides[-1])


def read_data_options(
    channels: int | None, fraction: float, val_fraction: float, *, augment: str | None, seed: int
) -> DataOptions:
    """How to prepare a data set; DataError for an unknown augmentation or a share out of range."""
    from compress.data import DataOptions

    names = None if augment is None else _read_augment(augment)
    return DataOptions(channels=channels, augment=names, fraction=fraction, val_fraction=val_fraction, seed=seed)


def read_seen(asked: DataOptions, seen: Seen) -> DataOptions:
    """The options with what a foreign network expects of its images; DataError for numbers that are none."""
    if seen.resize not in (None, "crop", "stretch"):
        raise DataError(unknown_name("--resize", seen.resize, ("crop", "stretch")))
    rule = cast("Literal['crop', 'stretch'] | None", seen.resize)
    mean, std = _numbers("--mean", seen.mean), _numbers("--std", seen.std)
    return replace(asked, size=read_size(seen.size), mean=mean, std=std, resize=rule, crop=seen.crop)


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise DataError(f"{option} {text}: give one number a channel, such as 0.485,0.456,0.406") from error


def _read_augment(text: str) -> tuple[str, ...]:
    from compress.data import AUGMENTATIONS

    names, known = text.split(","), ("none", *AUGMENTATIONS)
    for name in names:
        if name not in known:
            raise DataError(unknown_name("augmentation", name, known))
    if "none" in names and len(names) > 1:
        raise DataError(f"--augment {text}: none goes with nothing else; give none alone, or leave it out")
    return tuple(name for name in names if name != "none")
