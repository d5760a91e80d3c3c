"""The results section of a page, from the JSON of a study: `python -m benchmarks.studies.table STUDY.json PAGE.md`.

The document of schema "edgepress-study/1" (every score is a fraction between 0 and 1):

    data      name of the data set
    machine   see compress.evidence.describe
    teacher   name, top1, and if known top1_interval [low, high] and command
    rows      one a run: method, task, seed, epochs, command, and the scores that were measured, by the keys of METRICS
    paper     optional: task to method to score key to the published value
    shipped   optional: a document of schema "edgepress-benchmark/1" or "/2" (benchmarks.pages.terminal)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.pages import terminal
from compress.errors import DataError

SCHEMA = "edgepress-study/1"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
METRICS = {
    "top1": "top-1",
    "map_e_paper": "mAP e",
    "map_c_paper": "mAP c",
    "map_e_exact": "mAP e (exact)",
    "map_c_exact": "mAP c (exact)",
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """The mean of one score over the seeds, its least and its greatest value, and how many there were."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Line:
    """All runs of one method on one task for as many epochs, which differ in their seed only."""

    task: str
    method: str
    epochs: int
    seeds: tuple[int, ...]
    scores: Mapping[str, Spread]


def aggregate(rows: Iterable[Row]) -> list[Line]:
    """One line for each (task, method, epochs), in the order of their first run.

    Raises:
        DataError: A row lacks a key, a seed comes twice in one line, or a score is not a fraction.
    """
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for number, row in enumerate(rows):
        missing = [key for key in ("task", "method", "epochs", "seed") if key not in row]
        if missing:
            raise DataError(f"rows[{number}]: lacks {', '.join(missing)}")
        groups.setdefault((row["task"], row["method"], row["epochs"]), []).append(row)
    return [_line(*key, runs) for key, runs in groups.items()]


def markdown(study: Mapping[str, Any]) -> str:
    """The results as Markdown: the teacher, a table of the methods, the shipped file's table, and the commands.

    Raises:
        DataError: It is not a study of this schema, or a row is not as it should be.
    """
    _check_schema(study)
    lines = aggregate(study["rows"])
    parts = [_introduction(study)]
    if lines:
        parts.append(_methods_table(lines, study.get("paper", {})))
    if study.get("shipped"):
        parts.append(_shipped_table(study["shipped"]))
    commands = [study["teacher"].get("command"), *(row.get("command") for row in study["rows"])]
    given = list(dict.fromkeys(command for command in commands if command))
    if given:
        parts.append("\n".join(["Made by:", "", "```", *given, "```"]))
    return "\n\n".join(parts)


def replace_section(page: str, section: str) -> str:
    """`page` with what stands between its two markers replaced by `section`; doing it twice changes nothing more.

    Raises:
        DataError: The markers are not there exactly once each, the first before the second.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise DataError(f"the page must hold {BEGIN} and, after it, {END}, once each; put them where the results go")
    head, tail = page[: page.index(BEGIN)], page[page.index(END) :]
    return f"{head}{BEGIN}\n{section.strip()}\n{tail}"


def main(
    results: Annotated[Path, typer.Argument(help="JSON of a study.")],
    page: Annotated[Path, typer.Argument(help="Markdown page whose marked section is rewritten.")],
) -> None:
    """Rewrite the results section of a page from the JSON of a study."""
    section = markdown(_read_study(results))
    if not page.is_file():
        raise DataError(f"{page} is not a file; give the page that holds the markers")
    try:
        text = replace_section(page.read_text(encoding="utf-8"), section)
    except DataError as error:
        raise DataError(f"{page}: {error}") from error
    terminal.write_text(page, text, force=True)
    typer.echo(f"{page}: results section written from {results}")


def _read_study(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} is not a file; give the JSON of a study")
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(study, dict):
        raise DataError(f"{path}: holds a {type(study).__name__}; a study is an object with schema {SCHEMA!r}")
    return study


def _check_schema(study: Mapping[str, Any]) -> None:
    if study.get("schema") != SCHEMA:
        raise DataError(f"schema: got {study.get('schema')!r}; a study has {SCHEMA!r}")
    missing = [key for key in ("data", "machine", "teacher", "rows") if key not in study]
    if missing:
        raise DataError(f"study: lacks {', '.join(missing)}")
    shipped = study.get("shipped")
    if shipped and shipped.get("schema") not in terminal.READABLE:
        allowed = " or ".join(map(repr, terminal.READABLE))
        raise DataError(f"shipped: got schema {shipped.get('schema')!r}; a benchmark has {allowed}")


def _line(task: str, method: str, epochs: int, runs: Sequence[Row]) -> Line:
    seeds = tuple(run["seed"] for run in runs)
    if len(set(seeds)) != len(seeds):
        raise DataError(f"{task}, {method}, {epochs} epochs: a seed comes twice in {list(seeds)}; keep one run of each")
    scores = {}
    for key in METRICS:
        values = [run[key] for run in runs if run.get(key) is not None]
        if any(not 0 <= value <= 1 for value in values):
            raise DataError(f"{task}, {method}: {key} is {values}; scores are fractions between 0 and 1")
        if values:
            scores[key] = Spread(sum(values) / len(values), min(values), max(values), len(values))
    return Line(task, method, epochs, seeds, scores)


def _introduction(study: Mapping[str, Any]) -> str:
    teacher, machine = study["teacher"], study["machine"]
    interval = teacher.get("top1_interval")
    around = f" [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]" if interval else ""
    return (
        f"Data: {study['data']}. Teacher: {teacher['name']}, top-1 {100 * teacher['top1']:.2f} %{around}. "
        f"Machine: {machine.get('cpu')}, torch {machine.get('torch')}. "
        "Scores in percent on the test set, mean over the seeds (least–greatest); *paper*: the published value; "
        "e, c: Euclidean, cosine; counted as in the published tables, unless marked exact."
    )


def _methods_table(lines: Sequence[Line], paper: Mapping[str, Any]) -> str:
    measured = [key for key in METRICS if any(key in line.scores for line in lines)]
    published = {key for methods in paper.values() for scores in methods.values() for key in scores}
    head = ["task", "method", "epochs", "seeds"]
    for key in measured:
        head += [METRICS[key], "*paper*"] if key in published else [METRICS[key]]
    body = []
    for line in lines:
        cells = [line.task, line.method, str(line.epochs), str(len(line.seeds))]
        known = paper.get(line.task, {}).get(line.method, {})
        for key in measured:
            cells.append(_spread_text(line.scores.get(key)))
            if key in published:
                cells.append(f"{100 * known[key]:.2f}" if key in known else "–")
        body.append(cells)
    return _table(head, body, left=2)


def _spread_text(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    mean = f"{100 * spread.mean:.2f}"
    return mean if spread.count == 1 else f"{mean} ({100 * spread.low:.2f}–{100 * spread.high:.2f})"


def _shipped_table(shipped: terminal.Document) -> str:
    head, *body = terminal.cells(shipped)
    verdict = terminal.verdict_text(shipped)
    said = f"\n\nLatency: {verdict}." if verdict else ""
    return f"The shipped file, {terminal.protocol_text(shipped)}:\n\n{_table(head, body, left=1)}{said}"


def _table(head: Sequence[str], body: Iterable[Sequence[str]], *, left: int) -> str:
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    rows = [[cell.replace("|", r"\|").replace("\n", " ") for cell in row] for row in (head, rule, *body)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    script.run(main)
