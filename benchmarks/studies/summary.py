"""What the seeds of a study say together: means, spreads, and differences to the baseline, paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.studies.gather import COSTS, cost, scores
from benchmarks.verdict import LEVEL, student_quantile

PLACE = ("student", "depth", "fraction", "method", "task", "ratio", "epochs", "control")
PAIRED = ("student", "depth", "fraction", "epochs")

Row = Mapping[str, Any]
Cell = dict[str, Any]


def cells(rows: Iterable[Row], baseline: str) -> list[Cell]:
    """One for each place of the grid, in the order of their first row, as JSON-able data.

    Keys: those of PLACE, `seeds` (that have a result), `failed` (seeds that have none), `train_images`, `parameters`,
    `size_bytes` and `cpu_s` (means over the seeds), `scores` (name to `mean`, `sd`, `least`, `most`, `n`), and
    `differences` and `differences_equal_epochs` (name to what `paired` gives): to the baseline with its own epochs, and
    to it with as many epochs as this one had. None stands for what is not known.

    Args:
        rows: See `benchmarks.studies.gather.gather`.
        baseline: Label of the method that the others are held against.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in _with_tasks(list(rows)):
        groups.setdefault(tuple(row[key] for key in PLACE), []).append(row)
    found = [_cell(place, runs) for place, runs in groups.items()]
    runs_of = {place: _scores(runs) for place, runs in groups.items()}
    bases = [place for place in groups if place[PLACE.index("method")] == baseline]
    for cell, (place, ours) in zip(found, runs_of.items(), strict=True):
        own = next((b for b in bases if _meets(b, place, PAIRED[:-1]) and not b[-1]), None)
        same = next((b for b in bases if _meets(b, place, PAIRED)), None)
        for name, base in (("differences", own), ("differences_equal_epochs", same)):
            cell[name] = {} if base in (None, place) else _differences(ours, runs_of[base])
    return found


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[str, Any]:
    """The mean difference over the seeds that both have, with Student's t interval where there are two or more.

    Keys: `mean`, `low`, `high` (None with fewer than two seeds), `sd` (likewise) and `n`.

    Args:
        ours: Seed to score.
        theirs: The same of what it is held against.
    """
    both = sorted(ours.keys() & theirs.keys())
    values = [ours[seed] - theirs[seed] for seed in both]
    if not values:
        return {"mean": None, "low": None, "high": None, "sd": None, "n": 0}
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None, "sd": None, "n": 1}
    sd = statistics.stdev(values)
    half = sd / math.sqrt(len(values)) * student_quantile((1 + LEVEL) / 2, len(values) - 1)
    return {"mean": mean, "low": mean - half, "high": mean + half, "sd": sd, "n": len(values)}


def spread_text(scores: Mapping[int, float]) -> str:
    """The mean in percent and, of two seeds or more, the standard deviation.

    Args:
        scores: Seed to score, a share.
    """
    values = [100 * value for value in scores.values()]
    spread = f" ±{statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}"


def _with_tasks(rows: Sequence[Row]) -> list[Row]:
    """The rows; one that failed before its task was known has that of the other seeds."""
    rest = [key for key in PLACE if key != "task"]
    known = {tuple(row[key] for key in rest): row["task"] for row in rows if row["task"]}
    return [{**row, "task": row["task"] or known.get(tuple(row[key] for key in rest), "")} for row in rows]


def _cell(place: tuple[Any, ...], runs: Sequence[Row]) -> Cell:
    good = [run for run in runs if not run["reason"]]
    first: Mapping[str, Any] = good[0] if good else {}
    costs = {name: [cost(run, name) for run in good] for name in COSTS}
    return {
        **dict(zip(PLACE, place, strict=True)),
        "seeds": [run["seed"] for run in good],
        "failed": [run["seed"] for run in runs if run["reason"]],
        "train_images": first.get("train_images"),
        **{name: _mean(values) for name, values in costs.items()},
        "scores": {name: _spread(list(values.values())) for name, values in _scores(runs).items()},
    }


def _scores(runs: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Score to seed to value."""
    found: dict[str, dict[int, float]] = {}
    for run in runs:
        for name, value in scores(run).items():
            found.setdefault(name, {})[run["seed"]] = value
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _spread(values: Sequence[float]) -> dict[str, Any]:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "least": min(values), "most": max(values), "n": len(values)}


def _meets(one: tuple[Any, ...], other: tuple[Any, ...], keys: Sequence[str]) -> bool:
    return all(one[PLACE.index(key)] == other[PLACE.index(key)] for key in keys)


def _differences(
    ours: Mapping[str, Mapping[int, float]], theirs: Mapping[str, Mapping[int, float]]
) -> dict[str, dict[str, Any]]:
    return {name: paired(values, theirs[name]) for name, values in ours.items() if name in theirs}
