"""What is claimed of files: the options, and a file that has them too."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from cli import options
from compress import amounts

_MaxSize = Annotated[int | None, options.size("--max-size", "", help="Bytes of the file: 28KB.", group=options.CLAIMS)]
_MaxParams = Annotated[float | None, options.most_parameters(options.CLAIMS)]
_MaxMacs = Annotated[float | None, options.most_macs(options.CLAIMS)]
_MaxLatency = Annotated[
    float | None,
    options.amount("--max-latency", amounts.LATENCY, "N", help="Of one call: 0.49ms.", group=options.CLAIMS),
]
_MinSpeedup = Annotated[
    float | None,
    options.amount(
        "--min-speedup", amounts.SPEEDUP, "X", help="Times as fast as the baseline: 14.89.", group=options.CLAIMS
    ),
]
_MaxDrop = Annotated[
    float | None,
    options.amount(
        "--max-drop",
        amounts.DROP,
        "X",
        help="Percentage points of the score below the baseline's: 1.",
        group=options.CLAIMS,
    ),
]
_MinAccuracy = Annotated[
    float | None,
    options.amount(
        "--min-accuracy", amounts.PERCENT, "X", help="The score itself, in percent: 90.", group=options.CLAIMS
    ),
]
_File = Annotated[
    Path | None,
    typer.Option(
        "--claims",
        metavar="FILE",
        help='A TOML file of them, such as max-size = "28KB"; those typed here count before it.',
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
