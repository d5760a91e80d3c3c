"""Whether a written file gives what its network gives, by the measure that suits what the network rounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.evidence import Record
from exports.artefact import Artefact
from exports.closeness import Closeness, Networks, check_closeness
from exports.formats import format_of
from exports.parity import Parity, check_parity
from exports.source import free_reference, reference


@dataclass(frozen=True)
class Faithful:
    """How close a file is to its network.

    Attributes:
        parity: Of the file, or of its graph where its activations are on grids; None where the file cannot be run here.
        kernels: Of what runs on this machine to the graph; None where they are one, or cannot be told apart.
        unverified: Why nothing was checked; "" where it was.
    """

    parity: Parity | Closeness | None
    kernels: Closeness | None = None
    unverified: str = ""

    def lines(self) -> list[str]:
        """In words, a line each."""
        if self.parity is None:
            return [f"converted, not verified: {self.unverified}"]
        told = [f"parity: {self.parity}"]
        return [*told, f"kernels of this machine against the graph: {self.kernels}"] if self.kernels else told

    def records(self, sha256: str) -> list[Record]:
        """As data: each difference with its limit, and on what share of images or pixels the two agree."""
        if self.parity is None:
            return [Record("parity", None, sha256=sha256, reason=self.unverified)]
        kept = _records("parity", self.parity, sha256)
        return [*kept, *_records("kernels", self.kernels, sha256)] if self.kernels else kept


def check_faithful(
    checkpoint: Checkpoint, artefact: Artefact, images: Iterable[Tensor], *, name: Path | None = None
) -> Faithful:
    """How close a file is to its network, once it is close enough.

    Args:
        checkpoint: What it was made from.
        artefact: The file, opened.
        images: Batches (B, C, H, W) of samples of the type of the file's `input`, at least one.
        name: What to call the file in messages, where it lies somewhere else for now.

    Raises:
        GateError: It is not: see `exports.parity.check_parity` and `exports.closeness.check_closeness`.
        ExportError: The images do not fit the file.
    """
    form, path = format_of(artefact.path), artefact.path if name is None else name
    if form.unverified:
        return Faithful(None, unverified=form.unverified)
    network = reference(checkpoint, artefact.input)
    if not checkpoint.card.activations:
        return Faithful(check_parity(network, artefact, images, name=path))
    graph = form.as_written(artefact.path) if form.as_written else None
    networks = Networks(network, free_reference(checkpoint, artefact.input))
    return Faithful(*check_closeness(networks, graph, artefact, images, path))


def _records(quantity: str, found: Parity | Closeness, sha256: str) -> list[Record]:
    difference = found.max_abs_difference if isinstance(found, Parity) else found.rms_difference
    name = quantity if isinstance(found, Parity) else f"{quantity}_rms"
    held = Record(name, difference, high=found.allowed_difference, n=found.samples, sha256=sha256)
    if found.meaning is None:
        return [held]
    agreement = found.meaning.name if quantity == "parity" else f"{quantity}_{found.meaning.name}"
    return [held, Record(agreement, found.agreement, n=found.samples, unit="share", sha256=sha256)]
