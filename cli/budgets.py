"""What a pruned network may cost: the options, and the budgets that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cli import options
from compress.amounts import LATENCY

if TYPE_CHECKING:
    from benchmarks.budget import Budget, Quantity


_MaxParams = Annotated[float | None, options.most_parameters(options.METHOD)]
_MaxMacs = Annotated[float | None, options.most_macs(options.METHOD)]
_MaxSize = Annotated[
    int | None,
    options.size("--max-size", "", help="Bytes of the .onnx file, its lineage apart: 100KB.", group=options.METHOD),
]
_MaxLatency = Annotated[
    float | None,
    options.amount(
        "--max-latency",
        LATENCY,
        "N",
        help="Of one image: the .onnx file in ONNX Runtime on this machine, one thread: 1ms.",
        group=options.METHOD,
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


def read_budgets(given: Budgets, *, timed: bool) -> list[Budget]:
    """The budgets that were set.

    Args:
        given: What may be left.
        timed: Whether time may be measured.

    Raises:
        PlanError: It may not, but one of them is about time.
    """
    from benchmarks.budget import Budget
    from compress.errors import PlanError

    times = {"--max-latency": given.max_latency, "--min-speedup": given.min_speedup}
    asked = [name for name, limit in times.items() if limit is not None]
    if asked and not timed:
        raise PlanError(f"--no-timing: {' and '.join(asked)} cannot be kept without measuring time; leave one out")
    limits: dict[Quantity, float | None] = {
        "parameters": given.max_params,
        "macs": given.max_macs,
        "bytes": given.max_size,
        "latency": given.max_latency,
        "speedup": given.min_speedup,
    }
    return [Budget(quantity, limit) for quantity, limit in limits.items() if limit is not None]
