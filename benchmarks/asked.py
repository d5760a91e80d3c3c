"""What a contender takes torch for: a checkpoint that has to be exported, and data that it is to be asked about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compress.checkpoint import Checkpoint
from compress.data import DataOptions, Dataset
from compress.errors import PlanError, UnfitDataError
from compress.named import Named
from compress.opening import open_network, open_pair
from compress.tasks import TASKS, check_task
from exports import Artefact, format_of, noise, ship
from exports.answers import as_network
from exports.source import samples

if TYPE_CHECKING:
    from benchmarks.contender import Contender


def exported_here(
    given: Named, folder: Path, data: str | None, options: DataOptions, threads: int
) -> tuple[Artefact, Dataset | None]:
    """A checkpoint or a plain state dict as an .onnx file, and the data as it sees them; None without data.

    Args:
        given: What to export.
        folder: Where the file goes.
        data: Name or path of the data set.
        options: How it sees images, where it does not say itself.
        threads: CPU threads of the runtime.

    Raises:
        DataError, PlanError, CheckpointError, ExportError, GateError: It cannot be opened or exported, or the data do
            not fit it.
    """
    if data is None:
        source = open_network(given, None, options)
        return _export(source, folder, None, threads), None
    source, dataset = open_pair(given, data, options)
    return _export(source, folder, dataset, threads), dataset


def check_data(contender: Contender, data: Dataset) -> None:
    """Nothing, once a file can be asked about a data set.

    Raises:
        UnfitDataError, PlanError: It cannot.
    """
    task, classes = TASKS[contender.task], contender.classes
    try:
        check_task(task, as_network(contender.exported, data.scale), data)
    except PlanError as error:
        raise PlanError(f"{contender.given}: {error}") from error
    if task.agreement is not None and classes != len(data.classes):
        raise UnfitDataError(f"{contender.given}: tells {classes} classes apart; {data.name} has {len(data.classes)}")


def _export(source: Checkpoint, folder: Path, dataset: Dataset | None, threads: int) -> Artefact:
    file = folder / f"{len(list(folder.iterdir()))}.onnx"
    card = source.card
    ship(source, file, [noise(card)] if dataset is None else samples(card, dataset.test))
    return format_of(file).read(file, threads=threads)
