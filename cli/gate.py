"""edgepress gate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from compress.text import counted

_MaxSize = Annotated[
    float | None,
    options.growth("--max-size", help="By how much a file may grow: +1%, or 0%.", group=options.CLAIMS),
]
_MaxParams = Annotated[
    float | None,
    options.growth("--max-params", help="Likewise its parameters.", group=options.CLAIMS),
]
_MaxMacs = Annotated[
    float | None,
    options.growth("--max-macs", help="Likewise its multiply-accumulates.", group=options.CLAIMS),
]
_MaxLatency = Annotated[
    float | None,
    options.growth(
        "--max-latency",
        help="Likewise its time, by its speed-up over the same baseline, or on the same processor.",
        group=options.CLAIMS,
    ),
]
_MaxDrop = Annotated[
    float | None,
    options.number(
        "--max-drop",
        -100,
        100,
        "[]",
        help="Percentage points of the score that may be lost: 0.3.",
        group=options.CLAIMS,
    ),
]

NO_MARKDOWN = (".html", ".json")


def gate(
    new: Annotated[Path, typer.Argument(metavar="NEW", help="What `edgepress benchmark -o` wrote.")],
    baseline: Annotated[
        Path, typer.Option("--baseline", metavar="FILE", help="An earlier one, of files of the same names.")
    ],
    max_size: _MaxSize = None,
    max_params: _MaxParams = None,
    max_macs: _MaxMacs = None,
    max_latency: _MaxLatency = None,
    max_drop: _MaxDrop = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown",
            metavar="PATH",
            parser=options.file_name,
            help="Write the verdicts to this file, for a pull request.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    force: options.Force = False,
) -> None:
    """Hold a benchmark against an earlier one.

    Nothing is measured again. A limit is met only where the whole interval of the change lies within it; exit code 3
    unless all are met. A file that is new is named and not compared. Of one that is gone no limit is
    shown; where it was dropped on purpose, the new benchmark is the next baseline.

    Examples:
        edgepress gate new.json --baseline main.json --max-size +1% --max-drop 0.3 --markdown summary.md
        edgepress gate new.json --baseline main.json --max-latency +5%
    """
    from benchmarks.claims import lines
    from benchmarks.document import read_unaltered
    from benchmarks.gate import apart, check, compared
    from benchmarks.gate import lines as apart_lines
    from benchmarks.gate import markdown as written
    from cli import say
    from compress.errors import GateError, OutputError, PlanError
    from compress.files import check_target, write_text

    given = {
        "max-size": max_size,
        "max-params": max_params,
        "max-macs": max_macs,
        "max-latency": max_latency,
        "max-drop": max_drop,
    }
    limits = {name: bound for name, bound in given.items() if bound is not None}
    if not limits:
        raise PlanError(f"what may change by how much: give at least one of {', '.join(f'--{name}' for name in given)}")
    if markdown is not None:
        if markdown.suffix in NO_MARKDOWN:
            raise OutputError(f"{markdown}: --markdown writes Markdown; give a name such as summary.md")
        check_target(markdown, force=force, inputs=(new, baseline))
    document, earlier = read_unaltered(new), read_unaltered(baseline)
    verdicts = check(document, earlier, limits)
    if not verdicts:
        raise PlanError(f"{baseline}: measured no file but its baseline; there is nothing to hold {new} against")
    found = apart(document, earlier)
    facts = {"verdicts": [one.to_dict() for one in verdicts], "apart": [one.to_dict() for one in found]}
    say.result(facts, *lines(compared(verdicts, found)), *apart_lines(found))
    if markdown is not None:
        write_text(markdown, written(verdicts, document, found), force=force)
        say.line(f"written: {markdown}")
    failed = [one for one in verdicts if one.held != "met"]
    if failed:
        raise GateError(f"{len(failed)} of {counted(len(verdicts), 'limit')} not met")
