"""What `prune --sensitivity` and `quantize --sensitivity` show: what a network minds, one part of it at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cli import options
from cli.typed import refuse
from compress.errors import MissingExtraError, OutputError, PlanError
from compress.text import counted

if TYPE_CHECKING:
    from rich.table import Table

    from benchmarks.exam import Exam, Mark
    from benchmarks.sensitivity import Cell, Examination, Row
    from benchmarks.suggestion import Together
    from cli.choosing import Chosen
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.quantization import Grid, Sensitivity
    from compress.training.journal import Journal

FLOAT_BITS = 32
_UNIT = "error: mean squared change of the {} over their variance"
TABLE, PICTURE = ".json", ".png"
ERROR = "relative_squared_error"
USUAL_RATIO = 0.5
IDLE = "--sensitivity trains and ships nothing; leave it out"
_OF_ALL_AT_ONCE = (
    *("--scope", "--layer-ratio", "--blocks", "--steps"),
    *("--max-params", "--max-macs", "--max-size", "--max-latency", "--min-speedup"),
)

_Sensitivity = Annotated[
    bool,
    options.switch(
        "--sensitivity",
        help="Only show what it costs to cut each group of layers alone; writes a .json and a .png. --ratio says how "
        "much is to be cut in all, of which a division is suggested.",
        group=options.METHOD,
    ),
]
_Samples = Annotated[
    int,
    options.whole(
        "--samples",
        1,
        help="Of --sensitivity: images to score each cut on, of validation or else of training, but none of those "
        "that are fitted on.",
        group=options.METHOD,
    ),
]


@dataclass(frozen=True)
class Alone:
    """Whether groups of layers are only cut one at a time, an option each."""

    sensitivity: _Sensitivity = False
    samples: _Samples = 500


TOGETHER = Alone()


def only_looks(alone: Alone, of_recovery: Sequence[str]) -> bool:
    """Whether groups are only cut one at a time, once no option was typed that would be ignored.

    Args:
        alone: As it was typed.
        of_recovery: The options of a training.

    Raises:
        PlanError: One was.
    """
    if alone.sensitivity:
        refuse(("--recover", "--epochs", "--resume", "--no-timing", *of_recovery), IDLE)
        refuse(_OF_ALL_AT_ONCE, "--sensitivity cuts each group of layers alone; leave it out")
    else:
        refuse(("--samples",), "it is about --sensitivity; leave it out")
    return alone.sensitivity


def check_table(journal: Journal) -> None:
    """Nothing, once the document and its picture may be written; OutputError otherwise."""
    from compress.files import check_target

    output = journal.output
    if output.suffix != TABLE:
        raise OutputError(f"{output}: --sensitivity writes a {TABLE} file; give it a name that ends so")
    for path in (output, output.with_suffix(PICTURE)):
        check_target(path, force=journal.force, inputs=journal.inputs)


# each layer quantized alone


def show_grids(
    rows: Sequence[Sensitivity], before: Checkpoint, images: Dataset, journal: Journal, *, rounding: str, seen: int
) -> None:
    """Write, draw and print what it costs to quantize each layer alone.

    Args:
        rows: What was found.
        before: The network with float weights.
        images: What was looked at, among others.
        journal: Where it goes.
        rounding: How the layers were rounded.
        seen: So many training images were looked at.
    """
    from cli import parse, say
    from compress.evidence import Record

    head = _head("quantize", before, journal, _data(images, "training", seen), None)
    found = (Record(ERROR, row.error, n=seen, sha256=head["weights"]) for row in rows)
    layers = [
        {
            "layer": row.grid.module,
            "bits": row.grid.bits,
            "weights": row.weights,
            "saved_bytes": _saved_bytes(row.grid, row.weights),
            "record": record,
        }
        for row, record in zip(rows, parse.stamped(found), strict=True)
    ]
    told = [(r.grid.module, f"{r.weights:,}", f"{_saved_bytes(r.grid, r.weights):,}", f"{r.error:.2e}") for r in rows]
    table = say.numbers(("layer", "weights", "bytes saved", "error"), told)
    unit = f"{_UNIT.format('outputs')}, the layer alone quantized, on {counted(seen, 'training image')}"
    _write(head | {"rounding": rounding, "images": seen, "layers": layers}, journal, table, unit)


def _saved_bytes(grid: Grid, weights: int) -> int:
    return weights * (FLOAT_BITS - grid.bits) // 8


# each group of layers cut alone


def show_cuts(
    alone: Alone,
    chosen: Chosen,
    ratio: float | None,
    journal: Journal,
    opened: Callable[[], tuple[Checkpoint, Dataset]],
    *,
    seed: int,
) -> None:
    """Write, draw and print what it costs to cut each group of layers alone, and how a cut of all may be divided.

    Args:
        alone: So many images are scored.
        chosen: How channels are chosen, and how many images layers are fitted on.
        ratio: How much is to be cut in all; None for half.
        journal: Where it goes.
        opened: Opens the network and the data.
        seed: Of what is random in the choice.
    """
    from benchmarks.exam import new_exam
    from benchmarks.sensitivity import RATIOS, examine, rows
    from benchmarks.suggestion import evenly, suggest
    from cli import parse, say
    from cli.choosing import look, read_choice
    from compress.smaller import scored

    wished = USUAL_RATIO if ratio is None else ratio
    if not wished:
        raise PlanError("--ratio 0: it is how much is to be cut in all; give a number above 0 and below 1, such as 0.5")
    choice, command = read_choice(chosen, wished, (), seed), parse.command_line()
    check_table(journal)
    before, images = opened()
    say.notes(images.notes)
    chosen = _halved(chosen, images)
    calibration = look(before, images, chosen)
    found = scored(before, choice, calibration)
    found.at(wished)  # refuses one that cuts nothing
    kept: list[Row] = []
    with say.doing("the whole network") as tell:
        exam = new_exam(before, images, chosen.calibrate, alone.samples)
        whole = examine(before, found, exam, calibration)
        for row in rows(whole, sorted({*RATIOS, wished})):
            kept.append(row)
            tell(f"{len(kept)} of {counted(len(found.layers), 'group')} cut alone, {row.group} the last of them")
        tell("all groups cut at once")
        even = evenly(whole, wished, command)
        other = suggest(whole, kept, even, command)
    head = _head("prune", before, journal, _data(images, exam.split, len(exam)), seed)
    records = partial(_records, exam, head["weights"], seed)
    document = head | _facts(whole, kept, wished, (even, other), records)
    _write(document, journal, _table(document), *_lines(document))


def _halved(chosen: Chosen, images: Dataset) -> Chosen:
    """The choice with no more images to fit on than half of those of training, where the others are scored."""
    from cli import say

    most = len(images.train) // 2
    if images.val is not None or chosen.calibrate <= most:
        return chosen
    say.notes(
        [f"--calibrate {chosen.calibrate:,}: {most:,} training images are fitted on, so that others can be scored"]
    )
    return replace(chosen, calibrate=most)


def _records(exam: Exam, weights: str, seed: int, mark: Mark) -> list[dict[str, Any]]:
    """The records of what became of a network's answers."""
    from cli import parse
    from compress.evidence import Record

    found = {exam.task.metric: (mark.score, "share"), ERROR: (mark.error, "")}
    return parse.stamped(
        Record(name, value, n=len(exam), unit=unit, sha256=weights, seed=seed, reason=mark.reason)
        for name, (value, unit) in found.items()
    )


def _facts(
    whole: Examination,
    rows: Sequence[Row],
    ratio: float,
    together: tuple[Together, Together | None],
    records: Callable[[Mark], list[dict[str, Any]]],
) -> dict[str, Any]:
    """What the document says of the cuts."""
    from benchmarks.exam import Mark
    from compress.pruning import enough

    def cut(saved: Cell | Together) -> dict[str, Any]:
        return {"parameters": saved.parameters, "macs": saved.macs, "records": records(saved.mark)}

    def group(row: Row) -> dict[str, Any]:
        cuts = [{"ratio": cell.ratio, "left": cell.left} | cut(cell) for cell in row.cells]
        return {"group": row.group, "layers": row.layers, "channels": row.channels, "cuts": cuts}

    images, census, (even, other) = whole.calibration.images, whole.census, together
    unchanged = records(Mark(whole.exam.score, 0.0))
    return {
        "metric": whole.exam.task.metric,
        "compared": whole.exam.compared,
        "fitted_on": sum(map(len, enough(images))) if images else 0,
        "unfitted": next((row.unfitted for row in rows if row.unfitted), ""),
        "ratio": ratio,
        "whole": {"parameters": census.parameters, "macs": census.macs, "records": unchanged},
        "groups": [group(row) for row in rows],
        "even": {"options": even.options} | cut(even),
        "suggestion": None if other is None else {"options": other.options} | cut(other),
    }


def _table(document: Mapping[str, Any]) -> Table:
    """The groups, first those that lose the most for each operation that is saved, where the ratio is cut."""
    from benchmarks.pages.sensitivity import cut_at, heading, quantities
    from cli import say

    metric, ratio = document["metric"], document["ratio"]

    def price(group: Mapping[str, Any]) -> float:
        cut = cut_at(group, ratio)
        error = quantities(cut)[ERROR]
        return (math.inf if error is None else float(error)) / max(cut["macs"], 1) if cut["macs"] else -1.0

    rows = []
    for group in sorted(document["groups"], key=price, reverse=True):
        chosen = cut_at(group, ratio)
        saved = 100 * chosen["macs"] / document["whole"]["macs"]
        scores = [_score(quantities(cut)[metric], cut["left"] == group["channels"]) for cut in group["cuts"]]
        error = quantities(chosen)[ERROR]
        told = "-" if error is None else f"{error:.1e}"
        rows.append((heading(group), str(group["channels"]), *scores, told, f"{saved:.1f} %"))
    (first, *others) = (f"{cut['ratio']:g}" for cut in document["groups"][0]["cuts"])
    cuts = (f"{metric} %\n{first}", *(f"\n{other}" for other in others))
    return say.numbers(("\nlayers", "chan-\nnels", *cuts, f"error\nat {ratio:g}", "MACs\nsaved"), rows)


def _score(value: float | None, uncut: bool) -> str:
    return "as it was" if uncut else "-" if value is None else f"{100 * value:.1f}"


def _lines(document: Mapping[str, Any]) -> list[str]:
    """What the table shows, and what follows from it."""
    from benchmarks.pages.sensitivity import quantities

    data, metric, even, other = document["data"], document["metric"], document["even"], document["suggestion"]
    before, count = 100 * quantities(document["whole"])[metric], data["images"]
    fitted = f"the layers that read what is left are fitted on {counted(document['fitted_on'], 'training image')}"
    if document["unfitted"]:
        fitted = f"nothing is fitted: {document['unfitted']}"
    elif not document["fitted_on"]:
        fitted = "nothing is fitted"
    lines = [
        f"each row: these layers alone are cut; {fitted}",
        f"{metric} of the whole network is {before:.2f} % on {count:,} {data['split']} images, one of which is "
        f"{100 / count:.2g} {'point' if count == 100 else 'points'}",
        f"{_UNIT.format(document['compared'])}; most for what is saved comes first",
        f"all cut alike: {_together(document, even)}: {even['options']}",
    ]
    if other is None or quantities(other)[ERROR] is None or quantities(other)[ERROR] >= quantities(even)[ERROR]:
        return [*lines, "no division was found that changes less"]
    return [*lines, f"suggested: {_together(document, other)}:", f"  {other['options']}"]


def _together(document: Mapping[str, Any], cut: Mapping[str, Any]) -> str:
    from benchmarks.pages.sensitivity import quantities

    found, saved = quantities(cut), 100 * cut["macs"] / document["whole"]["macs"]
    score, error = found[document["metric"]], found[ERROR]
    told = "no score" if score is None else f"{document['metric']} {100 * score:.2f} %, error {error:.2g}"
    return f"{saved:.1f} % of the MACs saved, {told}"


# of both


def _data(images: Dataset, split: str, count: int) -> dict[str, Any]:
    return {"name": images.name, "fingerprint": images.fingerprint, "split": split, "images": count}


def _head(of: str, before: Checkpoint, journal: Journal, data: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """How a document of either begins."""
    from benchmarks.pages.sensitivity import SCHEMA
    from cli import parse
    from compress.evidence import describe, weights_digest

    return {
        "schema": SCHEMA,
        "of": of,
        "command": parse.command_line(),
        "seed": seed,
        "environment": describe(),
        "file": journal.output,
        "weights": weights_digest(before.network.model),
        "data": data,
    }


def _write(document: Mapping[str, Any], journal: Journal, *shown: str | Table) -> None:
    """Write the document and its picture, and print what is shown of it."""
    from benchmarks.pages.sensitivity import draw
    from cli import say
    from compress.files import write_text

    output, force = journal.output, journal.force
    written = [write_text(output, say.to_json(document) + "\n", force=force)]
    try:
        written.append(draw(document, output.with_suffix(PICTURE), force=force))
    except MissingExtraError as error:
        say.notes([f"no picture is drawn: {error}"])
    say.result(document, *shown, f"written: {', '.join(map(str, written))}")
