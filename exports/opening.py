"""Whatever was named, opened to be asked: a checkpoint, a plain state dict or a file of an edge format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from compress.checkpoint import Checkpoint
from compress.data import DataOptions, Dataset
from compress.errors import DataError
from compress.evidence import file_digest
from compress.named import Named
from compress.opening import open_network, open_pair
from compress.preprocessing import Preprocessing
from compress.stages import Staged
from compress.tasks import TASKS, Task
from exports.answers import as_network, images_for, task_of
from exports.artefact import Artefact
from exports.formats import FORMATS, format_of


@dataclass(frozen=True)
class Opened:
    """What answers, and what for.

    Attributes:
        network: It wants its pixels scaled by its own `scale`.
        task: What it was trained for.
        see: How it sees an image.
        classes: The names of its answers.
        sha256: Hexadecimal digest of its file.
    """

    network: Staged
    task: Task
    see: Preprocessing
    classes: tuple[str, ...]
    sha256: str


def open_for_data(named: Named, data: str, options: DataOptions) -> tuple[Opened, Dataset]:
    """What answers, and the data set as it sees it.

    A file of an edge format that edgepress did not write says nothing of preprocessing: there the data set and the
    options decide.

    Raises:
        CheckpointError, DataError, ExportError: One of them cannot be opened, or they do not fit each other.
    """
    path = Path(named.name)
    if path.suffix not in FORMATS:
        checkpoint, images = open_pair(named, data, options)
        return _of_checkpoint(checkpoint, path), images
    _check_named(named)
    artefact = format_of(path).read(path)
    images = images_for(artefact, data, options)
    _check_classes(artefact, images)
    network = as_network(artefact, images.scale)
    return Opened(network, task_of(artefact, images), images.see, images.classes, artefact.sha256), images


def open_alone(named: Named, data: str | None, options: DataOptions) -> Opened:
    """What answers, without any data but where a plain state dict needs them.

    Raises:
        CheckpointError, DataError, ExportError: It cannot be opened, or does not say how it sees an image.
    """
    path = Path(named.name)
    if path.suffix not in FORMATS:
        return _of_checkpoint(open_network(named, data, options), path)
    _check_named(named)
    artefact = format_of(path).read(path)
    if artefact.card is None:
        raise DataError(f"{path}: does not say how it sees an image; give a file that `edgepress export` wrote")
    card = artefact.card
    see, classes = card.preprocessing, card.classes
    return Opened(as_network(artefact, card.scale), task_of(artefact), see, classes, artefact.sha256)


def _check_named(named: Named) -> None:
    """Nothing, unless a network was named beside a file that brings its own."""
    if named.arch or named.options or named.told:
        raise DataError(
            f"{named.name}: is an exported file, which brings its network; leave --arch, --width, --depth, --arg and "
            "--stage out"
        )


def _check_classes(artefact: Artefact, images: Dataset) -> None:
    """Nothing, unless a file that names no classes has another number of them than the data."""
    if artefact.card is not None:
        return
    black = torch.zeros(artefact.batch or 1, *images.see.shape, dtype=torch.uint8)
    answers = artefact(as_network(artefact, images.scale).scale(black)).shape[-1]
    if answers != len(images.classes):
        raise DataError(
            f"{artefact.path}: gives {answers} outputs; data set {images.name!r} has {len(images.classes)} classes; "
            "give data of its own classes"
        )


def _of_checkpoint(checkpoint: Checkpoint, path: Path) -> Opened:
    card = checkpoint.card
    return Opened(checkpoint.network, TASKS[card.task], card.preprocessing, card.classes, file_digest(path))
