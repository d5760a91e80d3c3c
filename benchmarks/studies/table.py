"""The results section of a page, from the JSON of a study: `python -m benchmarks.studies.table STUDY.json PAGE.md`.

The document of schema "edgepress-study/2" (every score is a fraction between 0 and 1):

    command   what was typed; "" where the runs were made one by one
    data      name of the data set
    teacher   file, name, weights (a digest), input (channels, height, width), command and metrics of who teaches
    baseline  label of the method that the others are held against
    task      what for; "" where that was left to the commands
    settings  the options that every run had
    training  optional: setting to value, of those that every run has, such as its batch size
    note      what a reader should know of them
    machine   see compress.evidence.describe
    grid      run to its command
    steps     optional: run that only makes what others need, such as an auxiliary, to its CPU seconds
    splits    for each fraction and seed: the fingerprints of the training data; equal: there is one, for all methods
    summary   see benchmarks.studies.summary.cells
    rows      see benchmarks.studies.gather.gather
    paper     optional: published values for its rows, see benchmarks.studies.published
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.studies.published import check_published, published_for, sources
from compress.errors import DataError
from compress.files import write_text
from compress.text import counted

SCHEMA = "edgepress-study/2"
RESULTS = "results"


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


BEGIN, END = _markers(RESULTS)
HEADS = {
    "task": "task",
    "student": "student",
    "depth": "depth",
    "fraction": "data",
    "ratio": "ratio",
    "epochs": "epochs",
}
METRICS = {
    "top1": "top-1",
    "miou": "mIoU",
    "miou_per_image": "mIoU per image",
    "map_e_paper": "mAP e",
    "map_c_paper": "mAP c",
    "map_e_exact": "mAP e (exact)",
    "map_c_exact": "mAP c (exact)",
}
FIRST = {"retrieval": ("map_e_paper", "map_c_paper")}  # what a study of a task is about, where it is not the first
UNKNOWN = "–"
PERCENT = "percent on the test split"
SPREAD = "mean ± standard deviation over the seeds"
PAIRED = "differences paired by seed, with their 95 % interval"
ONE_SEED = "one seed, which says nothing of the spread"
KEYS = ("data", "teacher", "baseline", "task", "settings", "note", "machine", "grid", "summary", "rows")

Cell = Mapping[str, Any]
Document = Mapping[str, Any]


def headings(document: Document) -> list[str]:
    """What the table is about, what all of its rows have in common, and what its numbers are."""
    cells, note = document["summary"], document["note"]
    same = [f"{HEADS[key]} {_value(key, cells[0][key])}" for key in _places(cells, differ=False)] if cells else []
    settings = [document["settings"]] if document["settings"] else []
    common = "; ".join(filter(None, [", ".join(same), *settings]))
    about = f"{document['teacher']['name']} teaches on {document['data']}" + (f": {common}" if common else "")
    return [about, *([note] if note else []), f"{PERCENT}; {_spread_text(cells)}"]


def table_cells(document: Document, *, whole: bool = False) -> list[list[str]]:
    """The table: its head, and a row for each place of the grid, in columns for what differs between them.

    Args:
        document: Of a study.
        whole: All the scores that have a name, the published values, and the ends of intervals; otherwise, for a narrow
            page, what the study is about, and half of each interval on a line of its own; "base" is the baseline.
    """
    cells, baseline = document["summary"], document["baseline"]
    places, scores = _places(cells, differ=True), scores_of(document)
    scores = [name for name in scores if name in METRICS] or scores if whole else about(document)
    equal = any(cell["control"] for cell in cells)
    known = [published_for(cell, document.get("paper", [])) if whole else {} for cell in cells]
    published = {name for one in known for name in one}
    head = ["method", *(HEADS[key] for key in places), "seeds"]
    for name in scores:
        head += [METRICS.get(name, name), *(["*paper*"] if name in published else [])]
        if name in about(document):
            head += [f"vs {baseline}" if whole else "vs base", *(["at equal epochs"] if equal else [])]
    body = []
    for cell, paper in zip(cells, known, strict=True):
        line = [_method(cell), *(_value(key, cell[key]) for key in places), _seeds(cell)]
        for name in scores:
            line += [_score(cell["scores"].get(name)), *([_published(paper.get(name))] if name in published else [])]
            if name in about(document):
                line += [_difference(cell["differences"].get(name), whole)]
                line += [_difference(cell["differences_equal_epochs"].get(name), whole)] if equal else []
        body.append([*line, UNKNOWN if cell["cpu_s"] is None else f"{cell['cpu_s']:,.0f}"])
    return _without_empty([[*head, "CPU-s"], *body])


def scores_of(document: Document) -> list[str]:
    """The names of the scores that any run has: those that have a name here first."""
    there = list(dict.fromkeys(name for cell in document["summary"] for name in cell["scores"]))
    return [name for name in METRICS if name in there] + [name for name in there if name not in METRICS]


def about(document: Document) -> list[str]:
    """The scores that a study is about: one, or those that its task is known by."""
    return known_by(document["task"], scores_of(document))


def known_by(task: str, there: Sequence[str]) -> list[str]:
    """Of the scores that are there those that a task is known by, or the first one."""
    return [name for name in FIRST.get(task, ()) if name in there] or list(there[:1])


def markdown(document: Document) -> str:
    """The results as Markdown: what was compared, a table of the methods, and the commands.

    Raises:
        DataError: It is not a study of this schema, or a row is not as it should be.
    """
    _check(document)
    about, *rest = headings(document)
    parts = [f"{about}.", *rest[:-1]]
    if document["summary"]:
        head, *body = table_cells(document, whole=True)
        parts.append(_table(head, body, left=1 + ("task" in head)))
    parts.append("\n".join(f"- {name}: {text}." for name, text in _facts(document) if text))
    failed = [f"- {row['name']}: {row['reason']}" for row in document["rows"] if row["reason"]]
    if failed:
        parts.append("\n".join(["Without a result:", "", *failed]))
    commands = [document["teacher"].get("command"), *_commands(document)]
    given = list(dict.fromkeys(command for command in commands if command))
    return "\n\n".join([*parts, *(["\n".join(["Made by:", "", "```", *given, "```"])] if given else [])])


def replace_section(page: str, section: str, *, mark: str = RESULTS) -> str:
    """`page` with what stands between its two markers replaced by `section`; doing it twice changes nothing more.

    Args:
        page: The whole text.
        section: What to put there.
        mark: The name in the markers.

    Raises:
        DataError: The markers are not there exactly once each, the first before the second.
    """
    _check_markers(page, mark=mark)
    begin, end = _markers(mark)
    head, tail = page[: page.index(begin)], page[page.index(end) :]
    return f"{head}{begin}\n{section.strip()}\n{tail}"


def section_of(page: Path) -> str:
    """What stands between the markers of a page; "" where there is no page.

    Raises:
        DataError: The page has no such place.
    """
    if not page.exists():
        return ""
    text = page.read_text(encoding="utf-8")
    _check_markers(text, page)
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def main(
    results: Annotated[Path, typer.Argument(help="JSON of a study.")],
    page: Annotated[Path, typer.Argument(help="Markdown page whose marked section is rewritten; made if missing.")],
) -> None:
    """Write the results of a study into a page: between its two markers, or as a new page where there is none."""
    study = read_study(results)
    write_section(page, markdown(study), title=f"{study['teacher']['name']} teaches on {study['data']}")
    typer.echo(f"{page}: results section written from {results}")


def write_section(page: Path, section: str, *, title: str) -> None:
    """Put a section between the markers of a page, or into a new page with that title.

    Raises:
        DataError: The page has no such place.
        OutputError: It cannot be written.
    """
    blank = f"# {title}\n\n{BEGIN}\n{END}\n"
    before = page.read_text(encoding="utf-8") if page.exists() else blank
    _check_markers(before, page)
    write_text(page, replace_section(before, section), force=True)


def read_study(path: Path) -> dict[str, Any]:
    """The document in a file.

    Raises:
        DataError: There is none.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file; give the JSON of a study")
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(study, dict):
        raise DataError(f"{path}: holds a {type(study).__name__}; a study is an object with schema {SCHEMA!r}")
    return study


def _check_markers(text: str, page: Path | None = None, *, mark: str = RESULTS) -> None:
    begin, end = _markers(mark)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        where = f"{page}: " if page else ""
        raise DataError(
            f"{where}the page must hold {begin} and, after it, {end}, once each; put them where the results go"
        )


def _check(document: Document) -> None:
    if document.get("schema") != SCHEMA:
        raise DataError(f"schema: got {document.get('schema')!r}; a study has {SCHEMA!r}")
    missing = [key for key in KEYS if key not in document]
    if missing:
        raise DataError(f"study: lacks {', '.join(missing)}")
    for cell in document["summary"]:
        for name, spread in cell["scores"].items():
            if not 0 <= spread["least"] <= spread["most"] <= 1:
                raise DataError(f"{cell['method']}: {name} is {spread}; scores are fractions between 0 and 1")
    check_published(document.get("paper", []))


def _facts(document: Document) -> Iterable[tuple[str, str]]:
    """(name, what is said of it) of what a reader needs to know beside the table."""
    cells, teacher, machine = document["summary"], document["teacher"], document["machine"]
    retrieval = any("map" in name for name in scores_of(document))
    letters = "e, c: Euclidean, cosine, counted as in the published tables unless marked exact" if retrieval else ""
    paper = document.get("paper", [])
    origin = f" ({'; '.join(sources(paper))})" if sources(paper) else ""
    published = f"*paper*: the published value{origin}" if paper else ""
    yield "Scores", "; ".join(filter(None, [PERCENT, _spread_text(cells), published, letters]))
    metrics = [f"{METRICS[name]} {100 * value:.2f} %" for name, value in teacher["metrics"].items() if name in METRICS]
    yield "Teacher", ", ".join([teacher["name"], *metrics])
    yield "Data", "; ".join(filter(None, [document["data"], _input(teacher), *_images(document)]))
    training = document.get("training", {})
    yield "Training", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in training.items())
    seeds = sorted({seed for cell in cells for seed in (*cell["seeds"], *cell["failed"])})
    yield "Seeds", ", ".join(map(str, seeds))
    cores = f"{machine['cores_usable']} cores" if machine.get("cores_usable") else ""
    versions = (f"{name} {machine[name]}" for name in ("edgepress", "torch", "python") if machine.get(name))
    yield "Machine", ", ".join(filter(None, [machine.get("cpu"), cores, *versions]))
    steps = [seconds for seconds in document.get("steps", {}).values() if seconds is not None]
    more = f"; those of the auxiliaries, {sum(steps):,.0f} in all, are not among them" if steps else ""
    known = any(cell["cpu_s"] is not None for cell in cells)
    yield "CPU-s", f"CPU seconds of the epochs of one run, mean over the seeds{more}" if known else ""


def _input(teacher: Mapping[str, Any]) -> str:
    """Such as "images of 32x32 pixels, 1 channel"."""
    if not teacher.get("input"):
        return ""
    channels, height, width = teacher["input"]
    return f"images of {height}x{width} pixels, {counted(channels, 'channel')}"


def _images(document: Document) -> Iterable[str]:
    """How many images the runs were trained on, and whether those of one fraction and seed saw the same."""
    counts = {cell["fraction"]: cell["train_images"] for cell in document["summary"] if cell["train_images"]}
    shares = (f"{count:,} training images ({100 * fraction:g} %)" for fraction, count in sorted(counts.items()))
    yield from shares
    splits = document.get("splits", [])
    odd = [f"{100 * split['fraction']:g} %, seed {split['seed']}" for split in splits if not split["equal"]]
    if odd:
        yield f"NOT the same images for every method: {', '.join(odd)}"
    elif splits:
        yield "the same images for every method"


def _spread_text(cells: Sequence[Cell]) -> str:
    """What is said of the spread: nothing that the table does not show."""
    if all(len(cell["seeds"]) < 2 for cell in cells):
        return ONE_SEED
    found = (one for cell in cells for one in cell["differences"].values())
    return f"{SPREAD}; {PAIRED}" if any(one["low"] is not None for one in found) else SPREAD


def _commands(document: Document) -> Iterable[str]:
    """What was typed for all of it, or for each run where they were made one by one."""
    return [document["command"]] if document.get("command") else [row["command"] for row in document["rows"]]


def _places(cells: Sequence[Cell], *, differ: bool) -> list[str]:
    """Where the cells stand, as far as they differ, or do not, in it; what no cell says is left out."""
    values = {key: {cell[key] for cell in cells if cell[key] not in (None, "")} for key in HEADS}
    open_too = {key for key in HEADS if any(cell[key] is None for cell in cells)}
    return [key for key, found in values.items() if found and (len(found) > 1 or key in open_too) == differ]


def _method(cell: Cell) -> str:
    return f"{cell['method']}, epochs of {cell['control']}" if cell["control"] else str(cell["method"])


def _value(key: str, value: Any) -> str:
    if value in (None, ""):
        return UNKNOWN
    return f"{100 * value:g} %" if key == "fraction" else f"{value:.3g}" if isinstance(value, float) else str(value)


def _seeds(cell: Cell) -> str:
    return f"{len(cell['seeds'])}" + (f" ({len(cell['failed'])} failed)" if cell["failed"] else "")


def _score(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return UNKNOWN
    return f"{100 * spread['mean']:.2f}" + ("" if spread["sd"] is None else f" ±{100 * spread['sd']:.2f}")


def _published(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.2f}"


def _difference(found: Mapping[str, Any] | None, whole: bool) -> str:
    if found is None or found["mean"] is None:
        return UNKNOWN
    mean, low, high = (None if found[key] is None else 100 * found[key] for key in ("mean", "low", "high"))
    said = f"{mean:+.2f}"
    if low is None or high is None:
        return said
    return f"{said} [{low:+.2f}, {high:+.2f}]" if whole else f"{said}\n±{(high - low) / 2:.2f}"


def _without_empty(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The table without the columns in which nothing is known."""
    kept = [n for n in range(len(rows[0])) if len(rows) == 1 or any(row[n] != UNKNOWN for row in rows[1:])]
    return [[row[n] for n in kept] for row in rows]


def _table(head: Sequence[str], body: Iterable[Sequence[str]], *, left: int) -> str:
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    rows = [[cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in (head, rule, *body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    script.run(main)
