"""edgepress verify"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options

if TYPE_CHECKING:
    from torch import Tensor

    from compress.checkpoint import Card, Checkpoint
    from exports.claims import Claim


def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that `edgepress export` wrote, or a folder of them.")
    ],
    against: Annotated[
        Path,
        typer.Option(
            "--against",
            metavar="CHECKPOINT",
            help="What it was exported from: a checkpoint, or with --arch a plain state dict.",
        ),
    ],
    data: options.CompareData = None,
    samples: options.Samples = None,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
) -> None:
    """Check what an exported file claims against its checkpoint.

    Its seal, the digest of its source weights, its card, the bits of a new export, its outputs. Exit code 3 if a claim
    does not hold.

    Examples:
        edgepress verify student.onnx --against student.safetensors
        edgepress verify student.onnx --against student.safetensors --data digits --json
    """
    from cli import parse, say
    from cli.many import shipped_files
    from compress.data import DataOptions
    from compress.errors import ExportError, GateError, MissingExtraError
    from compress.opening import open_network

    files = shipped_files(file)
    whole = files != [file]
    checkpoint = open_network(parse.read_file(against, plain), data, parse.read_seen(DataOptions(), seen))
    documents, shown, broken, missing = [], [], [], []
    for one in files:
        try:
            document, lines, failed = _verified(one, against, checkpoint, data, samples)
        except (ExportError, MissingExtraError) as error:
            if not whole:
                raise
            failed = str(error).removeprefix(f"{one}: ")
            missing += [f"{one}: {failed}"] if isinstance(error, MissingExtraError) else []
            document, lines = {"file": str(one), "claims": [], "reason": failed}, [f"not verified {failed}"]
        documents.append(document)
        shown += [*([str(one)] if whole else []), *lines]
        broken += [f"{one}: {failed}"] if failed else []
    say.result({"files": documents} if whole else documents[0], *shown)
    if missing == broken and missing:
        raise MissingExtraError("; ".join(missing))
    if broken:
        raise GateError(f"{'; '.join(broken)}; do not ship it, export it again")


def _verified(
    file: Path, against: Path, checkpoint: Checkpoint, data: str | None, samples: int | None
) -> tuple[dict[str, Any], list[str], str]:
    """What was found of a file: as data, as lines, and how many of its claims do not hold, in words."""
    from cli.samples import samples_for
    from exports import claims, format_of

    takes = format_of(file).read(file, sealed=False).input
    images, origin = samples_for(checkpoint.card, data, samples, takes)
    found = claims.verify(file, checkpoint, images, _calibration(checkpoint.card, data))
    failed = sum(claim.verdict == "FAILED" for claim in found)
    lines = [f"compared on {origin}", *(f"{claim.verdict:<12} {claim.sentence}" for claim in found)]
    words = f"{failed} of {len(found)} claims do not hold" if failed else ""
    return _document(file, against, origin, found), lines, words


def _calibration(card: Card, data: str | None) -> Callable[[int], list[Tensor]] | None:
    """What gives the training images that a quantization looked at; None where no data are known."""
    from compress.data import DataOptions
    from compress.opening import data_for, training_data
    from exports.source import calibration

    known = data or training_data(card)
    return (lambda count: calibration(card, data_for(card, known, DataOptions()).train, count)) if known else None


def _document(file: Path, against: Path, origin: str, found: Sequence[Claim]) -> dict[str, Any]:
    from cli import parse

    claims = [
        {"verdict": claim.verdict, **parse.stamped([claim.record])[0], "beside": parse.stamped(claim.beside)}
        for claim in found
    ]
    return {"file": str(file), "against": str(against), "compared_on": origin, "claims": claims}
