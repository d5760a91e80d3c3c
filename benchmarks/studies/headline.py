"""A benchmark as a section of a page: `python -m benchmarks.studies.headline report.html README.md`.

The section stands between `<!-- headline:begin -->` and `<!-- headline:end -->`; every number is a record's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.claims import BOUNDS, asked_text
from benchmarks.document import Document, File, baseline, number, record
from benchmarks.pages.report.envelope import carried
from benchmarks.studies.table import replace_section
from compress.files import write_text

MARK = "headline"
WORDS = {"met": "**met** by", "broken": "**broken** by", "not shown": "**not shown** of"}
HEAD = ("file", "bytes", "score %", "drop, points", "ms", "times as fast")


def section(document: Document) -> str:
    """A table of the files beside their baseline, the claims, and what it was measured on."""
    files = [file for file in document["files"] if not file["reason"]]
    rows = [f"| {' | '.join(_cells(file, file is baseline(document)))} |" for file in files]
    data, machine = document["data"], document["machine"]
    load = machine["load_average"]
    about = f"{data['samples']:,} test images of {data['name']}; " if data else ""
    busy = f", load {load[0]:.2f}" if load else ""
    return "\n".join(
        [
            f"| {' | '.join(HEAD)} |",
            f"| --- |{' ---: |' * (len(HEAD) - 1)}",
            *rows,
            "",
            *_claims(document["claims"]),
            "",
            f"{about}{machine['cpu']}{busy}, one image at a time, {document['created'][:10]}.",
        ]
    )


def _claims(claims: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each claim: the files by whether it was shown of them."""
    for name, bound in dict.fromkeys((one["claim"], one["bound"]) for one in claims):
        held: dict[str, list[str]] = {}
        for one in claims:
            if one["claim"] == name:
                held.setdefault(one["held"], []).append(Path(one["file"]).name)
        *fewer, (how, most) = sorted(held.items(), key=lambda pair: len(pair[1]))
        told = [f"{WORDS[one]} {', '.join(files)}" for one, files in fewer]
        told.append(f"{WORDS[how]} {'the other' if fewer else 'all'} {len(most)}")
        yield f"- {BOUNDS[name].words or 'score'} {asked_text(name, bound)}: {'; '.join(told)}."


def write(document: Document, page: Path) -> None:
    """Put the section between its markers in a page.

    Raises:
        DataError: The page has no such place.
        OutputError: It cannot be written.
    """
    text = page.read_text(encoding="utf-8")
    write_text(page, replace_section(text, section(document), mark=MARK), force=True)


def _cells(file: File, is_baseline: bool) -> Iterator[str]:
    size, score = number(file, "size"), number(file, file["metric"] or "")
    drop, faster = record(file, "drop"), record(file, "speedup")
    yield Path(file["name"]).name
    yield "" if size is None else f"{size:,.0f}"
    yield "" if score is None else f"{100 * score:.2f}"
    yield "" if drop is None or is_baseline else f"{drop['value']:+.2f}"
    yield f"{number(file, 'latency'):.3g}"
    yield "" if faster is None else f"{faster['value']:.3g} [{faster['low']:.3g}, {faster['high']:.3g}]"


def main(
    report: Annotated[Path, typer.Argument(help="A page of a report, or what `edgepress benchmark -o` wrote.")],
    page: Annotated[Path, typer.Argument(help="Markdown page whose marked section is rewritten.")],
) -> None:
    """Write a benchmark into a page."""
    write(carried(report)[0].document, page)
    typer.echo(f"{page}: headline written from {report}")


if __name__ == "__main__":
    script.run(main)
