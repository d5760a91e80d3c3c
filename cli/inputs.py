"""From what was typed to what the library takes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import DataError, PlanError, unknown_name

if TYPE_CHECKING:
    from compress.checkpoint import Card, Checkpoint
    from compress.data import DataOptions, Dataset
    from compress.phase import Fit
    from compress.tasks import Task

LARGEST_RATE = 1e30  # beyond it torch's optimizers overflow

_NOT_IN_LINEAGE = ("--resume", "--force")


def command_line() -> str:
    """The command as typed, without what cannot change its result."""
    return shlex.join(["edgepress", *(word for word in sys.argv[1:] if word not in _NOT_IN_LINEAGE)])


def read_fit(epochs: int, rate: float, optimizer: str, schedule: str, *, batch_size: int, keep: str = "last") -> Fit:
    """The schedule of a training run; PlanError for an unknown name or a rate out of range."""
    from compress.phase import OPTIMIZERS, SCHEDULES, Fit

    for kind, name, known in (("optimizer", optimizer, OPTIMIZERS), ("schedule", schedule, SCHEDULES)):
        if name not in known:
            raise PlanError(unknown_name(kind, name, known))
    if keep not in ("last", "best"):
        raise PlanError(unknown_name("--keep", keep, ("last", "best")))
    if not 0 < rate <= LARGEST_RATE:
        raise PlanError(f"--lr is {rate}; it must be above 0 and at most {LARGEST_RATE:g}")
    return Fit(epochs, OPTIMIZERS[optimizer](rate), SCHEDULES[schedule](epochs), keep, batch_size)  # type: ignore[arg-type]


def check_network(name: str) -> None:
    """Nothing, once the network is known; PlanError with the nearest known name otherwise."""
    from compress.models import MODELS

    if name not in MODELS:
        raise PlanError(unknown_name("network", name, MODELS))


def read_task(name: str) -> Task:
    """The named task; PlanError if there is none."""
    from compress.tasks import TASKS

    if name not in TASKS:
        raise PlanError(unknown_name("task", name, TASKS))
    return TASKS[name]


def read_settings(words: Sequence[str] | None) -> dict[str, str]:
    """KNOB=VALUE words as a mapping; PlanError for a word without "=" or a knob named twice."""
    settings: dict[str, str] = {}
    for word in words or ():
        knob, sign, value = word.partition("=")
        if not sign or not knob or not value:
            raise PlanError(f"--set {word}: give it as KNOB=VALUE")
        if knob in settings:
            raise PlanError(f"--set {knob}: given twice")
        settings[knob] = value
    return settings


def read_options(**given: int | None) -> Mapping[str, int]:
    """The builder options that were given."""
    return {name: value for name, value in given.items() if value is not None}


def read_data_options(
    size: int | None, channels: int | None, fraction: float, val_fraction: float, *, augment: str | None, seed: int
) -> DataOptions:
    """How to prepare a data set; DataError for an unknown augmentation."""
    from compress.data import DataOptions

    names = None if augment is None else tuple(name for name in augment.split(",") if name != "none")
    for name in names or ():
        if name not in ("flip", "crop"):
            raise DataError(unknown_name("augmentation", name, ("none", "flip", "crop")))
    return DataOptions(size, channels, augment=names, fraction=fraction, val_fraction=val_fraction, seed=seed)


def data_for(card: Card, name: str, options: DataOptions) -> Dataset:
    """The data set, prepared as the network was taught to see it.

    Raises:
        DataError: Its classes or the size asked for are not the network's.
    """
    from compress.data import load
    from compress.jobs import check_fit

    shape = card.architecture
    fitted = replace(options, size=shape.size, channels=shape.channels, mean=card.mean, std=card.std)
    for option, asked, has in (("--size", options.size, shape.size), ("--channels", options.channels, shape.channels)):
        if asked not in (None, has):
            raise DataError(f"{option} {asked}: the network takes {has}; leave the option out")
    data = load(name, fitted)
    check_fit(card, data)
    return data


def read_checkpoint(path: Path, arch: str | None, data: str, options: DataOptions) -> tuple[Checkpoint, Dataset]:
    """A checkpoint, or with `arch` a plain state dict, and the data set prepared for it.

    A plain state dict takes class names and normalisation from the data set.
    """
    from compress.checkpoint import load, load_plain

    if arch is None:
        checkpoint = load(path)
        return checkpoint, data_for(checkpoint.card, data, options)
    from compress.data import load as load_data

    dataset = load_data(data, options)
    checkpoint = load_plain(path, arch, dataset.size)
    if (checkpoint.card.architecture.classes, checkpoint.card.architecture.channels) != (
        len(dataset.classes),
        dataset.channels,
    ):
        shape = checkpoint.card.architecture
        raise DataError(
            f"{path}: has {shape.channels} input channels and {shape.classes} classes; data set {data!r} has "
            f"{dataset.channels} and {len(dataset.classes)}"
        )
    card = replace(checkpoint.card, mean=dataset.mean, std=dataset.std, classes=dataset.classes)
    return replace(checkpoint, card=card), dataset


def read_source(path: Path, arch: str | None, size: int | None, data: str | None) -> Checkpoint:
    """A checkpoint, or with `arch` a plain state dict, whose preprocessing and classes are then those of `data`."""
    from compress.checkpoint import load
    from compress.data import DataOptions

    if arch is None:
        return load(path)
    if data is None:
        raise DataError(f"{path}: --arch needs --data too: a plain state dict has no class names and no normalisation")
    return read_checkpoint(path, arch, data, DataOptions(size=size))[0]


def read_student(name: str, data: Dataset, *, seed: int, options: Mapping[str, int]) -> Checkpoint:
    """A new student by the name of its network, or the one in a .safetensors file; either fits the data set."""
    from compress.checkpoint import load
    from compress.jobs import check_fit, start

    if not name.endswith(".safetensors"):
        return start(name, data, seed=seed, options=options)
    if options:
        raise PlanError(f"--student {name}: a finished network has its width and depth; leave --width and --depth out")
    student = load(Path(name))
    try:
        check_fit(student.card, data)
    except DataError as error:
        raise DataError(f"--student {name}: {error}") from error
    return student
