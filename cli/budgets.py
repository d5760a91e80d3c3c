"""What a pruned network may cost: the options, and the budgets that they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options

if TYPE_CHECKING:
    from benchmarks.budget import Budget, Quantity

_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def _measure(flag: str, units: Mapping[str, float], example: str, *, help: str) -> Any:
    """An option that takes a number above 0 with one of these units, and gives it in the first that counts 1."""

    def parse(text: str) -> float:
        found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([a-z]*)", str(text).strip(), re.ASCII | re.IGNORECASE)
        unit = found[2].lower() if found else ""
        if found is None or unit not in units or not float(found[1]):
            raise typer.BadParameter(f"got {str(text)!r:.60}; give a number above 0 such as {example}")
        return float(found[1]) * units[unit]

    return typer.Option(flag, metavar="N", parser=parse, help=help, rich_help_panel=options.METHOD)


_MaxParams = Annotated[float | None, _measure("--max-params", _COUNTS, "50k or 1.5M", help="Parameters: 50k.")]
_MaxMacs = Annotated[
    float | None, _measure("--max-macs", _COUNTS, "500k or 10M", help="Multiply-accumulates of one image: 10M.")
]
_MaxSize = Annotated[
    int | None,
    options.size("--max-size", "", help="Bytes of the .onnx file, its lineage apart: 100KB.", group=options.METHOD),
]
_MaxLatency = Annotated[
    float | None,
    _measure(
        "--max-latency",
        _TIMES,
        "1ms or 500us",
        help="Of one image: the .onnx file in ONNX Runtime on this machine, one thread: 1ms.",
    ),
]
_MinSpeedup = Annotated[
    float | None,
    options.number(
        "--min-speedup",
        1,
        1e6,
        "()",
        help="How many times as fast as before, by the lower end of the 95 % interval.",
        group=options.METHOD,
    ),
]


@dataclass(frozen=True)
class Budgets:
    """What is left may cost, an option each; the least cut that keeps to all of them is made."""

    max_params: _MaxParams = None
    max_macs: _MaxMacs = None
    max_size: _MaxSize = None
    max_latency: _MaxLatency = None
    min_speedup: _MinSpeedup = None


NO_BUDGET = Budgets()


def read_budgets(given: Budgets) -> list[Budget]:
    """The budgets that were set."""
    from benchmarks.budget import Budget

    limits: dict[Quantity, float | None] = {
        "parameters": given.max_params,
        "macs": given.max_macs,
        "bytes": given.max_size,
        "latency": given.max_latency,
        "speedup": given.min_speedup,
    }
    return [Budget(quantity, limit) for quantity, limit in limits.items() if limit is not None]
