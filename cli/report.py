"""edgepress report"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli import options


def report(
    bench: Annotated[
        Path, typer.Argument(metavar="BENCH.json", help="What `edgepress benchmark -o` wrote, its samples beside it.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            parser=options.file_name,
            help="Where the page goes. [default: beside the benchmark, as .html]",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    force: options.Force = False,
) -> None:
    """Draw a benchmark as one page of HTML.

    Claims first, then tables and figures. The page needs nothing from elsewhere, and carries the raw samples:
    `edgepress verify` derives from them whatever it says.

    Examples:
        edgepress report bench.json
        edgepress report bench.json -o report.html
    """
    from benchmarks.pages.report import page
    from benchmarks.samples import beside
    from benchmarks.verify import check_unaltered
    from cli import say
    from compress.errors import OutputError
    from compress.files import check_target, write_whole

    target = output or bench.with_suffix(".html")
    if target.suffix != ".html":
        raise OutputError(f"{target}: a page is written as .html; give a name that ends so")
    check_target(target, force=force, inputs=[bench])
    document, samples = beside(bench)
    check_unaltered(document, samples, str(bench))
    content = page.draw(document, samples)
    write_whole(target, partial(_write, content), force=force)
    claims = [one["held"] for one in document["claims"]]
    facts = {"page": str(target), "bytes": len(content), "claims": claims}
    say.result(facts, f"written: {target} ({len(content):,} bytes); check it: edgepress verify {target}")


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
