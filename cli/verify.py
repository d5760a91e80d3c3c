"""edgepress verify"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from compress.text import counted

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.verify import Finding, Found
    from compress.checkpoint import Card, Checkpoint
    from exports.claims import Claim


EVIDENCE = (".html", ".json")
OF_EXPORTED = ("--against", "--samples", "--arch")


def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A file that `edgepress export` wrote, or a folder of them; a page of `edgepress report`, or the "
            ".json of `edgepress benchmark`.",
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="CHECKPOINT",
            help="What an exported file was made from: a checkpoint, or with --arch a plain state dict.",
        ),
    ] = None,
    data: options.CompareData = None,
    samples: options.Samples = None,
    again: Annotated[
        bool,
        options.switch(
            "--rerun", help="Also measure the files of a report again: found beside it, or where they were."
        ),
    ] = False,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
) -> None:
    """Check what an exported file or a report claims.

    Of an exported file, against its checkpoint: its seal, the digest of its source weights, its card, the bits of a new
    export, its outputs. Of a report or a benchmark, offline, by the raw samples it carries: digests, numbers, verdicts,
    claims; with --rerun by the files themselves, too. Exit code 3 if anything does not hold, has drifted, or is another
    file than was measured; 2 if files are missing and no more than that.

    Examples:
        edgepress verify report.html
        edgepress verify report.html --rerun
        edgepress verify student.onnx --against student.safetensors --data digits
    """
    from cli import parse, say
    from cli.many import shipped_files
    from cli.typed import refuse
    from compress.data import DataOptions
    from compress.errors import ExportError, GateError, MissingExtraError, PlanError

    if file.suffix in EVIDENCE:
        _rederive(file, again, data)
        return
    from compress.opening import open_network

    refuse(("--rerun",), f"{file} is no report; give a page of `edgepress report`, or a .json of `edgepress benchmark`")
    files = shipped_files(file)
    if against is None:
        raise PlanError(f"{file}: name the checkpoint that it was exported from: --against")
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


def _rederive(file: Path, again: bool, data: str | None) -> None:
    """Everything that a page or a benchmark says, derived anew from the raw samples that it carries, or measured."""
    from benchmarks.pages.report.check import page_findings
    from benchmarks.verify import verify_file
    from cli import say
    from cli.typed import refuse
    from compress.errors import GateError

    refuse(OF_EXPORTED, f"{file} is checked by what it carries itself; leave it out")
    if not again:
        refuse(("--data",), f"{file} is checked by what it carries itself; leave it out, or measure again: --rerun")
    found = page_findings(file) if file.suffix == ".html" else verify_file(file)
    sound = not any(one.found == "FAILED" for one in found)
    if again and sound:
        found = [*(one for one in found if not one.needs_file), *_measured_again(file, data)]
    facts = {"file": str(file), "findings": [one.to_dict() for one in found]}
    say.result(facts, *(f"{one.found:<11} {one.sentence}" for one in found), _tally(found))
    failed = sum(one.found == "FAILED" for one in found)
    if failed and sound:
        raise GateError(f"{file}: {failed} of {counted(len(found), 'finding')} drifted from what it says")
    if failed:
        raise GateError(
            f"{file}: {failed} of {counted(len(found), 'finding')} differ from what its samples say; trust none of it"
        )


def _tally(found: Sequence[Finding]) -> str:
    """How many findings there are of each kind, the most important last: "41 re-derived, 6 not covered"."""
    counts = Counter(one.found for one in found)
    kinds: tuple[Found, ...] = ("re-derived", "re-measured", "not covered", "FAILED")
    return f"in all: {', '.join(f'{counts[kind]} {kind}' for kind in kinds if counts[kind])}"


def _measured_again(file: Path, data: str | None) -> list[Finding]:
    from benchmarks.pages.report.envelope import carried
    from benchmarks.rerun import check_there, rerun
    from cli import say

    parts = [*carried(file)]
    check_there((one.document for one in parts), file.parent)
    with say.doing("verify") as update:
        return [found for one in parts for found in rerun(one.document, file.parent, data=data, say=update)]


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
    words = f"{failed} of {counted(len(found), 'claim')} failed" if failed else ""
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
