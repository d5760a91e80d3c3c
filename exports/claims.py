"""What an exported file claims of itself, held against the checkpoint that it is said to come from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from compress.checkpoint import Card, Checkpoint
from compress.errors import ExportError, GateError
from compress.evidence import Record, weights_digest
from compress.quantization import FLOAT_WEIGHTS
from compress.repeated import Unrepeatable, quantized_again
from compress.soundness import check_outputs
from compress.tasks import TASKS, part
from compress.text import counted, share_text
from exports.artefact import OWN_WRITER, Artefact, Provenance
from exports.faithful import check_faithful
from exports.formats import format_of
from exports.graph.seal import AlteredError
from exports.label import before_export, exported_by, tool_version
from exports.litert import converted
from exports.source import Settings, reference

Verdict = Literal["ok", "FAILED", "not checked"]
Found = tuple[Verdict, str]  # and in words
Look = Callable[[int], Sequence[Tensor]]

_UNSEALED: Found = ("not checked", "the version that wrote the file recorded no digest of it")


@dataclass(frozen=True)
class Claim:
    """A claim and what was found of it.

    Attributes:
        verdict: Whether it holds.
        sentence: The claim in words, or why it does not hold or was not checked.
        record: The same as data; of a claim that does not hold, the reason is the sentence.
        beside: What else was measured on the way.
    """

    verdict: Verdict
    sentence: str
    record: Record
    beside: tuple[Record, ...] = ()


def verify(path: Path | str, checkpoint: Checkpoint, images: Iterable[Tensor], look: Look | None = None) -> list[Claim]:
    """Every claim of an exported file, each with its verdict; of a claim that fails the others are still checked.

    The seal, the digest of the source weights and the card are read off the file. Then the checkpoint is exported again
    and the two are compared bit by bit, which shows what no sample would; this asks for the versions that wrote the
    file. Last, the outputs are compared on the samples. A file with quantized weights may be held against the network
    before: that is quantized once more, as the file tells, and the file held against what comes of it.

    Args:
        path: The file.
        checkpoint: What it is said to come from; of a file with quantized weights it may be the network before.
        images: Batches (B, C, H, W) of samples of the type of the file's `input`, at least one.
        look: Gives batches (B, C, H, W) of so many calibration images; None where there are none at hand.

    Raises:
        ExportError: The file cannot be read, or edgepress did not write it, so that it claims nothing.
    """
    path = Path(path)
    sealed = _seal(path)
    artefact = format_of(path).read(path, sealed=False)
    card, provenance = artefact.card, artefact.provenance
    if card is None or provenance is None:
        raise ExportError(f"{path}: was not written by edgepress, so it claims nothing that could be verified")
    before = bool(card.grids) and not checkpoint.card.grids
    check = _of_network_before(look) if before else _of_source
    source, last = check(_Read(path, artefact, card, provenance), checkpoint, images)
    found = [sealed if provenance.graph_sha256 or sealed[0] == "FAILED" else _UNSEALED, *source]
    names = ("seal", "weights", "card", "export again")
    claims = [_claim(name, verdict, sentence, artefact) for name, (verdict, sentence) in zip(names, found, strict=True)]
    return [*claims, last]


@dataclass(frozen=True)
class _Read:
    """A file that claims something."""

    path: Path
    artefact: Artefact
    card: Card
    provenance: Provenance


def _of_source(file: _Read, checkpoint: Checkpoint, images: Iterable[Tensor]) -> tuple[list[Found], Claim]:
    """Its claims of weights, card and a new export, and of its outputs, against what it was exported from."""
    wish = Settings(
        file.provenance.opset,
        lineage=bool(file.card.lineage),
        input=file.artefact.input,
        command=exported_by(file.card),
    )
    again = _again(file.path, checkpoint, file.provenance, wish)
    source = [_weights(file.provenance, checkpoint), _card(file.card, checkpoint.card), again]
    return source, _outputs(file.artefact, checkpoint, images)


def _of_network_before(look: Look | None) -> Callable[[_Read, Checkpoint, Iterable[Tensor]], tuple[list[Found], Claim]]:
    """The same, against the network whose weights were rounded."""

    def check(file: _Read, checkpoint: Checkpoint, images: Iterable[Tensor]) -> tuple[list[Found], Claim]:
        source = [
            _float_weights(file.card, checkpoint),
            _card(replace(file.card, edits=file.card.cuts), checkpoint.card),
        ]
        try:
            small = quantized_again(checkpoint, before_export(file.card), look or _blind)
            if weights_digest(small.network.model) != file.provenance.weights_sha256:
                raise Unrepeatable("quantized once more the network has other codes, as it may on another machine")
        except Unrepeatable as why:
            sentence = f"{why}; the checkpoint that it was exported from would show it"
            return [*source, ("not checked", sentence)], _decisions(file.artefact, checkpoint, images)
        (*_, (verdict, sentence)), last = _of_source(file, small, images)
        return [*source, (verdict, f"quantized once more: {sentence}")], last

    return check


def _blind(_count: int) -> Sequence[Tensor]:
    raise Unrepeatable("the images that it was calibrated on are not at hand")


def _claim(name: str, verdict: Verdict, sentence: str, artefact: Artefact) -> Claim:
    reason = "" if verdict == "ok" else sentence
    value = {"ok": "holds", "FAILED": "fails", "not checked": None}[verdict]
    return Claim(verdict, f"{name}: {sentence}", Record(name, value, sha256=artefact.sha256, reason=reason))


def _seal(path: Path) -> Found:
    try:
        format_of(path).read(path)
    except AlteredError as error:
        return "FAILED", str(error)
    return "ok", "the file is as it was exported"


def _weights(provenance: Provenance, checkpoint: Checkpoint) -> Found:
    digest = weights_digest(checkpoint.network.model)
    if provenance.weights_sha256 == digest:
        return "ok", f"it says it was made from the weights of the checkpoint ({digest[:12]}...)"
    return (
        "FAILED",
        f"it says it was made from other weights ({provenance.weights_sha256:.12}...) than {digest[:12]}...",
    )


def _float_weights(card: Card, checkpoint: Checkpoint) -> Found:
    told = [step[FLOAT_WEIGHTS] for step in card.lineage if FLOAT_WEIGHTS in step]
    if not told:
        return "not checked", "the file tells no history, and so not of which weights its codes were made"
    digest = weights_digest(checkpoint.network.model)
    if digest in told:
        return "ok", f"it says its codes were made from the weights of the checkpoint ({digest[:12]}...)"
    return "FAILED", f"it says its codes were made from other weights ({told[-1]!s:.12}...) than {digest[:12]}..."


def _card(card: Card, source: Card) -> Found:
    parts = ("architecture", "preprocessing", "classes", "task", "edits")
    changed = [part for part in parts if getattr(card, part) != getattr(source, part)]
    if not changed:
        return "ok", "its classes, preprocessing and task are those of the checkpoint"
    return "FAILED", f"its {' and '.join(changed)} are not those of the checkpoint"


def _again(path: Path, checkpoint: Checkpoint, provenance: Provenance, settings: Settings) -> Found:
    if not provenance.graph_sha256:
        return "not checked", "an earlier version wrote the file: its export may differ"
    wrote, now = (provenance.tool_version, provenance.torch_version), (tool_version(), torch.__version__)
    if wrote != now:
        return "not checked", (
            f"edgepress {wrote[0]} with torch {wrote[1]} wrote the file, this is {now[0]} with {now[1]}: their exports "
            "may differ"
        )
    if provenance.writer not in (OWN_WRITER, converted.writer()):
        return "not checked", (
            f"{provenance.writer} wrote its graph, here there is {converted.writer() or 'none of these'}: their "
            "exports may differ"
        )
    form = format_of(path)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        again = Path(folder) / path.name
        try:
            form.write(checkpoint, again, settings)
            found = form.differences(path, again)
        except ExportError as error:
            return "FAILED", str(error)
    if not found:
        return "ok", "the checkpoint exported anew gives the same file, bit for bit"
    return "FAILED", f"the checkpoint exported anew differs in {'; '.join(found)}"


def _outputs(artefact: Artefact, checkpoint: Checkpoint, images: Iterable[Tensor]) -> Claim:
    try:
        faithful = check_faithful(checkpoint, artefact, images)
    except (GateError, ExportError) as error:
        return _claim("parity", "FAILED", str(error), artefact)
    held, *beside = faithful.records(artefact.sha256)
    return Claim("not checked" if faithful.unverified else "ok", "; ".join(faithful.lines()), held, tuple(beside))


@torch.no_grad()
def _decisions(artefact: Artefact, checkpoint: Checkpoint, images: Iterable[Tensor]) -> Claim:
    """How far a file with quantized weights decides as the network before; no claim of the file, but worth knowing."""
    network, meaning = reference(checkpoint, artefact.input), TASKS[checkpoint.card.task].agreement
    counts, farthest, samples = torch.zeros(2, dtype=torch.int64), 0.0, 0
    for batch in images:
        for part_of in torch.split(batch, artefact.batch or len(batch)):
            expected, found = network(part_of), artefact(part_of)
            check_outputs(found, str(artefact.path))
            farthest, samples = max(farthest, float((expected - found).abs().max())), samples + len(part_of)
            counts += meaning.count(expected, found) if meaning else 0
    words = f"max |difference| {farthest:.2g}, {counted(samples, 'sample')}"
    held = Record("max_abs_difference", farthest, n=samples, sha256=artefact.sha256)
    if meaning is None:
        return Claim("not checked", f"float weights: {words}", held)
    share = part(counts)
    beside = Record(meaning.name, share, n=samples, unit="share", sha256=artefact.sha256)
    return Claim("not checked", f"float weights: {meaning.words} {share_text(share)}, {words}", held, (beside,))
