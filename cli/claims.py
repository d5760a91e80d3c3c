"""What is claimed of files: the options, and a file that has them too."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from cli import options

_MaxSize = Annotated[int | None, options.size("--max-size", "", help="Bytes of the file: 28KB.", group=options.CLAIMS)]
_MaxParams = Annotated[float | None, options.most_parameters(options.CLAIMS)]
_MaxMacs = Annotated[float | None, options.most_macs(options.CLAIMS)]
_MaxLatency = Annotated[
    float | None,
    options.measure("--max-latency", options.TIMES, "1ms or 500us", help="Of one call: 0.49ms.", group=options.CLAIMS),
]
_MinSpeedup = Annotated[
    float | None,
    options.number("--min-speedup", 0, 1e9, "()", help="Times as fast as the baseline: 14.89.", group=options.CLAIMS),
]
_MaxDrop = Annotated[
    float | None,
    options.number(
        "--max-drop",
        -100,
        100,
        "[]",
        help="Percentage points of the score below the baseline's: 1.",
        group=options.CLAIMS,
    ),
]
_MinAccuracy = Annotated[
    float | None,
    options.number("--min-accuracy", 0, 100, "[]", help="The score itself, in percent: 90.", group=options.CLAIMS),
]
_File = Annotated[
    Path | None,
    typer.Option(
        "--claims",
        metavar="FILE",
        help="A TOML file of them, such as max-size = 28000; those typed here count before it.",
        rich_help_panel=options.CLAIMS,
    ),
]


@dataclass(frozen=True)
class Claimed:
    """What has to hold of every file but the baseline, an option each; exit code 3 where it was not shown to."""

    max_size: _MaxSize = None
    max_params: _MaxParams = None
    max_macs: _MaxMacs = None
    max_latency: _MaxLatency = None
    min_speedup: _MinSpeedup = None
    max_drop: _MaxDrop = None
    min_accuracy: _MinAccuracy = None
    claims: _File = None


NO_CLAIM = Claimed()


def read_claimed(given: Claimed, *, paired: bool, scored: bool) -> dict[str, float]:
    """The claims that were typed and those of the file, by name.

    Args:
        given: As they were typed.
        paired: There is a baseline.
        scored: There are data.

    Raises:
        DataError: The file is none of claims, or a claim is about what will not be there.
    """
    from benchmarks.claims import check_possible, read_claims

    typed = {part.name.replace("_", "-"): getattr(given, part.name) for part in fields(given) if part.name != "claims"}
    claims = read_claims(given.claims) if given.claims else {}
    claims |= {name: float(bound) for name, bound in typed.items() if bound is not None}
    check_possible(claims, paired=paired, scored=scored)
    return claims
