"""How much to cut off a network so that it fits a budget: of parameters, MACs, bytes of its file, or time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.measure.shipped import file_of, latencies
from benchmarks.verdict import ratio as ratio_of
from compress.checkpoint import Checkpoint
from compress.cost import network_census
from compress.errors import GateError, PlanError

Quantity = Literal["parameters", "macs", "bytes", "latency", "speedup"]

MOST = 0.98  # of the channels; a layer of a few keeps one of them
HALVINGS = 12
CLOSE = 0.05  # what is measured may stay below its budget by so much
WELL_USED = 0.7  # of a budget: below that it is said
TRIES = 6  # of what is measured
STRIDE = 0.1  # by which share the guess goes down at least from one that costs too much
_WANTED = 1 - CLOSE / 2
SESSIONS, ROUNDS = 4, 12
UNITS: Mapping[Quantity, str] = {
    "parameters": "parameters",
    "macs": "MACs",
    "bytes": "bytes as .onnx without lineage",
    "latency": "ms as .onnx in ONNX Runtime, one thread",
    "speedup": "times the speed as .onnx in ONNX Runtime, one thread",
}

Cut = Callable[[float], Checkpoint]


class BudgetError(GateError):
    """A network cannot be cut so that it fits a budget.

    Args:
        message: What a person reads.
        facts: The same as JSON-able data: the budget's quantity, limit and unit, and the ratio and value closest to it.
    """

    def __init__(self, message: str, facts: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.facts = facts


@dataclass(frozen=True)
class Budget:
    """What a network may cost at most; or, of the speed-up, what it has to gain at least.

    Attributes:
        quantity: What is counted or measured; latency is that of one image in milliseconds, and a speed-up counts by
            the lower end of its 95 % interval.
        limit: Above 0.
    """

    quantity: Quantity
    limit: float

    def __post_init__(self) -> None:
        if not self.limit > 0 or math.isinf(self.limit):
            raise ValueError(f"a budget of {self.limit} {UNITS[self.quantity]}; give a number above 0")

    @property
    def words(self) -> str:
        """The budget as a part of a sentence."""
        bound = "at least" if self.quantity == "speedup" else "at most"
        return f"{bound} {_amount(self.limit, 6)} {UNITS[self.quantity]}"

    def to_dict(self) -> dict[str, Any]:
        """The budget as JSON-able data."""
        return {"quantity": self.quantity, "limit": self.limit, "unit": UNITS[self.quantity]}


@dataclass
class _Tried:
    """Every cut that was made, by its ratio, and what it was found to cost."""

    cut: Cut
    whole: Checkpoint
    networks: dict[float, Checkpoint] = field(default_factory=dict)

    def at(self, ratio: float) -> Checkpoint:
        """The network with so much cut off; as it is at 0, or where the ratio is too small to cut anything."""
        if ratio not in self.networks:
            try:
                self.networks[ratio] = self.cut(ratio) if ratio else self.whole
            except PlanError:
                self.networks[ratio] = self.whole
        return self.networks[ratio]


@dataclass(frozen=True)
class _Price:
    """What a budget compares.

    Attributes:
        cost: The real thing, at most 1 where the budget is met.
        guess: What is cheap to count and grows with it; None where that is the cost itself.
    """

    cost: Callable[[Checkpoint], float]
    guess: Callable[[Checkpoint], float] | None = None


def fit_budgets(
    cut: Cut, whole: Checkpoint, budgets: Sequence[Budget], say: Callable[[str], None] = lambda _text: None
) -> float:
    """The least ratio at which a network fits all budgets.

    Parameters and MACs are counted, ratio by ratio. Bytes and time are those of the real file in the real runtime: the
    ratio is found by what grows with them and is cheap to count, weights and MACs, and then measured, a few times.

    Args:
        cut: Makes the network with a share of its channels cut off, in (0, 1); PlanError where that is none.
        whole: The network as it is.
        budgets: At least one.
        say: Is told what was tried.

    Returns:
        The ratio, 0 where the network fits as it is.

    Raises:
        BudgetError: One of them cannot be met; it has the closest that was found.
    """
    tried, least = _Tried(cut, whole), 0.0
    for budget in sorted(budgets, key=lambda one: one.quantity in ("latency", "speedup")):
        with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
            least = _fit(tried, budget, _price(budget, whole, Path(folder)), least, say)
    return least


def _fit(tried: _Tried, budget: Budget, price: _Price, least: float, say: Callable[[str], None]) -> float:
    costs: dict[float, float] = {}

    def cost(ratio: float) -> float:
        if ratio not in costs:
            costs[ratio] = price.cost(tried.at(ratio))
            say(f"{_at(ratio)}: {_shown(budget, costs[ratio])}, asked: {budget.words}")
        return costs[ratio]

    if cost(least) <= 1:
        return least
    if price.guess is None:
        cost(_least_ratio(lambda ratio: price.cost(tried.at(ratio)), 1.0, least))
    else:
        guess = price.guess
        _close_in(cost, lambda ratio: guess(tried.at(ratio)), least)
    met = [ratio for ratio, value in costs.items() if value <= 1]
    if not met and cost(MOST) <= 1:
        met = [MOST]
    if not met:
        closest = min(costs, key=costs.__getitem__)
        raise _missed(budget, closest, costs[closest])
    if cost(min(met)) < WELL_USED:
        say(f"{costs[min(met)]:.0%} of that is used, for widths go in steps; smaller ones (--round 1) come nearer")
    return min(met)


def _missed(budget: Budget, ratio: float, cost: float) -> BudgetError:
    said = f"{budget.words} cannot be met: the closest is {_shown(budget, cost)}, {_at(ratio)}; nothing was written"
    if ratio:
        said += f". To take it: --ratio {ratio:g}"
    closest = {"ratio": ratio, "value": _value(budget, cost)}
    return BudgetError(said, {**budget.to_dict(), "closest": closest})


def _close_in(cost: Callable[[float], float], guess: Callable[[float], float], least: float) -> None:
    """Measure one ratio after the other, between the last that costs too much and the first that does not.

    Where the next one lies is read off the costs of these two, as if their logarithm were linear in that of the guess.
    """
    low, high = (guess(least), cost(least)), None
    for _ in range(TRIES):
        aim = low[0] * _WANTED / low[1] if high is None else _between(low, high)
        aim = min(aim, low[0] * (1 - STRIDE))
        if high is not None and aim < high[0] * (1 + STRIDE / 2):
            return
        ratio = _least_ratio(guess, aim, least)
        found = (guess(ratio), cost(ratio))
        if 1 - CLOSE <= found[1] <= 1 or ratio == MOST:
            return
        low, high = (low, found) if found[1] <= 1 else (found, high)


def _between(low: tuple[float, float], high: tuple[float, float]) -> float:
    """The guess at which the cost should be just below 1: `low` costs more, `high` less."""
    share = (math.log(_WANTED) - math.log(high[1])) / (math.log(low[1]) - math.log(high[1]))
    return float(high[0] * (low[0] / high[0]) ** max(share, 0.1))


def _least_ratio(guess: Callable[[float], float], aim: float, least: float) -> float:
    """The least ratio at which the guess is no more than `aim`; `MOST` where none is found."""
    low, high = least, MOST
    for _ in range(HALVINGS):
        middle = round((low + high) / 2, 4)
        if middle in (low, high):
            break
        low, high = (low, middle) if guess(middle) <= aim else (middle, high)
    return high


def _price(budget: Budget, whole: Checkpoint, folder: Path) -> _Price:
    def counted(what: str) -> Callable[[Checkpoint], float]:

        def count(one: Checkpoint) -> float:
            return float(getattr(network_census(one.network, one.card.preprocessing.shape), what))

        return count

    match budget.quantity:
        case "parameters" | "macs":
            count = counted(budget.quantity)
            return _Price(lambda one: count(one) / budget.limit)
        case "bytes":
            return _Price(lambda one: _size(one, folder) / budget.limit, counted("weight_bytes"))
        case "latency":
            return _Price(lambda one: _latency(one, folder) / budget.limit, counted("macs"))
        case "speedup":
            reference = file_of(whole, folder, "whole")
            return _Price(lambda one: budget.limit / _speedup(one, reference, folder), counted("macs"))


def _shown(budget: Budget, cost: float) -> str:
    return f"{_amount(_value(budget, cost), 4)} {UNITS[budget.quantity]}"


def _value(budget: Budget, cost: float) -> float:
    return budget.limit / cost if budget.quantity == "speedup" else budget.limit * cost


def _amount(value: float, digits: int) -> str:
    return f"{value:,.0f}" if value >= 1e4 or value == round(value) else f"{value:,.{digits}g}"


def _at(ratio: float) -> str:
    """Where in the search; the ratio is what was asked for, and rounded widths leave more or less."""
    return f"at a ratio of {ratio:g}" if ratio else "as it is"


def _size(checkpoint: Checkpoint, folder: Path) -> int:
    return file_of(checkpoint, folder, "own").stat().st_size


def _latency(checkpoint: Checkpoint, folder: Path) -> float:
    return latencies({"own": file_of(checkpoint, folder, "own")}, sessions=SESSIONS, rounds=ROUNDS)["own"].median_ms


def _speedup(checkpoint: Checkpoint, whole: Path, folder: Path) -> float:
    """How many times as fast it is as the file of the whole network, by the lower end of the interval."""
    files = {"own": file_of(checkpoint, folder, "own"), "whole": whole}
    taken = latencies(files, sessions=SESSIONS, rounds=ROUNDS)
    return ratio_of(taken["whole"].wall_medians_ms, taken["own"].wall_medians_ms).low
