"""From a checkpoint to a file that may be shipped: written, read back, verified and only then put in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.files import check_target, exclusive, sweep, write_whole
from exports.artefact import Artefact
from exports.closeness import Closeness
from exports.faithful import Faithful, check_faithful
from exports.formats import format_of
from exports.parity import Parity
from exports.source import Settings


@dataclass(frozen=True)
class Shipped:
    """A file that was put in place, and the check that it passed before; None where its format cannot be run here."""

    artefact: Artefact
    faithful: Faithful

    @property
    def parity(self) -> Parity | Closeness | None:
        """How close the file, or its graph, is to its network; None where its format cannot be run here."""
        return self.faithful.parity


def ship(
    checkpoint: Checkpoint,
    path: Path | str,
    images: Iterable[Tensor],
    *,
    settings: Settings | None = None,
    approve: Callable[[Artefact], None] | None = None,
    force: bool = False,
) -> Shipped:
    """The checkpoint in the format that the suffix of `path` names, once it gives the outputs of its network.

    A format that cannot be run here, see `Format.unverified`, is read back and no more: `approve` is not asked.

    Args:
        checkpoint: What to export; it is left as it is.
        path: The file, or the folder, to write.
        images: Batches (B, C, H, W) of samples to compare on, at least one, of the type that the settings wish for.
        settings: How the file is wished; None for the defaults.
        approve: Looks at the written file, too, and raises GateError where it must not be shipped.
        force: Allow what already exists to be replaced.

    Raises:
        ExportError: The format is unknown, or cannot express the network.
        GateError: The file does not give the outputs of the network; nothing is written.
        MissingExtraError: What writes the format is not installed.
        OutputError: It cannot be written there, or another process is at it.
    """
    path = Path(path)
    form = format_of(path)
    form.check_extra()
    check_target(path, force=force, folder=form.folder)
    wish = settings or Settings()
    passed: list[Faithful] = []

    def write(staged: Path) -> None:
        form.write(checkpoint, staged, wish)
        written = form.read(staged)
        passed.append(check_faithful(checkpoint, written, images, name=path))
        if passed[0].unverified:
            return
        if approve is not None:
            approve(written)

    with exclusive(path):
        sweep(path)
        write_whole(path, write, force=force, folder=form.folder)
    return Shipped(form.read(path), passed[0])
