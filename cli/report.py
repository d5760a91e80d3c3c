"""edgepress report"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli import options


def report(
    bench: Annotated[
        Path,
        typer.Argument(
            metavar="BENCH.json",
            help="What `edgepress benchmark -o` wrote, its samples beside it; a folder of these; or a page, "
            "to be drawn anew from what it carries.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            parser=options.file_name,
            help="Where the page goes. [default: beside the benchmark, as .html; report.html in a folder]",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    force: options.Force = False,
) -> None:
    """Draw a benchmark, or all of a folder, as one page of HTML.

    Claims first, then tables and figures. The page needs nothing from elsewhere, and carries the raw samples:
    `edgepress verify` derives from them whatever it says.

    Examples:
        edgepress report bench.json
        edgepress report dist/ -o report.html
    """
    from benchmarks.pages.report import page
    from benchmarks.pages.report.envelope import PAGE, carried
    from benchmarks.verify import check_unaltered
    from cli import say
    from compress.errors import OutputError
    from compress.files import check_target, write_whole

    found = _benchmarks(bench)
    target = output or (bench / "report.html" if bench.is_dir() else bench.with_suffix(".html"))
    if target.suffix != PAGE:
        raise OutputError(f"{target}: a page is written as .html; give a name that ends so")
    check_target(target, force=force, inputs=[path for path in found if path.suffix != PAGE])
    parts = [part for path in found for part in carried(path)]
    for part in parts:
        check_unaltered(part.document, part.samples, str(bench))
    content = page.draw(parts[0].document, parts[0].samples, parts[1:])
    write_whole(target, partial(_write, content), force=force)
    claims = [one["held"] for part in parts for one in part.document["claims"]]
    facts = {"page": str(target), "bytes": len(content), "claims": claims, "benchmarks": [*map(str, found)]}
    say.result(facts, f"written: {target} ({len(content):,} bytes); check it: edgepress verify {target}")


def _benchmarks(path: Path) -> list[Path]:
    """The benchmarks of a folder in the order of their names; else the path itself.

    Raises:
        DataError: It is a folder without any, or one of them is of another version.
    """
    from benchmarks.document import is_benchmark
    from compress.errors import DataError

    if not path.is_dir():
        return [path]
    found = sorted(one for one in path.glob("*.json") if is_benchmark(one))
    if not found:
        raise DataError(f"{path}: has no benchmark; {_advice(path)}")
    return found


def _advice(folder: Path) -> str:
    """How to come to a benchmark of a folder's files, to be typed as it stands."""
    import shlex

    from cli.many import shipped_files
    from compress.errors import CompressError
    from compress.opening import training_data
    from exports import format_of

    try:
        files = shipped_files(folder)
        card = format_of(files[0]).read(files[0]).card
    except CompressError:
        return "give what `edgepress benchmark -o` wrote, or a folder of it"
    known = training_data(card) if card else None
    again = ["edgepress", "benchmark", str(folder), "--data", known or "NAME", "-o", str(folder / "bench.json")]
    return f"measure its files first: {shlex.join(again)}"


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
