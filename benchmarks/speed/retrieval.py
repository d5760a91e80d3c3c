"""What the evaluation of retrieval takes: `python -m benchmarks.speed.retrieval [--json PATH]`.

10,000 queries in a database of 50,000, ten classes, features of 64 and 128 that overlap as those of a half-trained
network do: CPU seconds of all eight scores on one thread, and the memory that they need beyond the features.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks import script
from benchmarks.document import save
from compress import evidence
from compress.files import check_target
from compress.metrics import retrieval_scores
from compress.training.memory import keep_memory

SCHEMA = "edgepress-speed-retrieval/1"
WIDTHS = (64, 128)
CLASSES = 10
GOAL_S, GOAL_MB = 25.0, 512.0


def compare(*, queries: int = 10_000, database: int = 50_000, rounds: int = 3) -> dict[str, Any]:
    """The measurement as JSON-able data.

    Keys: `schema`, `machine`, `threads` (of torch), `queries`, `database`, `classes`, `rounds`, `widths`: width to
    `cpu_s` (median, low, high: the range of the rounds), `peak_mb` (by how much the process's largest memory grew) and
    the `scores`; `goal_s`, `goal_mb` and `met` (of every width).

    Args:
        queries: How many.
        database: How many items.
        rounds: Evaluations of each width, in turn.
    """
    where = evidence.describe()
    keep_memory()
    sets = {width: (*_features(queries, width, seed=1), *_features(database, width, seed=0)) for width in WIDTHS}
    seconds: dict[int, list[float]] = {width: [] for width in WIDTHS}
    peaks: dict[int, float] = {}
    scores = {}
    for _ in range(rounds):
        for width, given in sets.items():
            before, start = _peak_mb(), time.process_time()
            scores[width] = retrieval_scores(*given)
            seconds[width].append(time.process_time() - start)
            peaks[width] = max(peaks.get(width, 0.0), _peak_mb() - before)
    widths = {
        str(width): {
            "cpu_s": {"median": float(np.median(taken)), "low": min(taken), "high": max(taken)},
            "peak_mb": peaks[width],
            "scores": scores[width],
        }
        for width, taken in seconds.items()
    }
    return {
        "schema": SCHEMA,
        "machine": where,
        "threads": torch.get_num_threads(),
        "queries": queries,
        "database": database,
        "classes": CLASSES,
        "rounds": rounds,
        "widths": widths,
        "goal_s": GOAL_S,
        "goal_mb": GOAL_MB,
        "met": all(one["cpu_s"]["median"] <= GOAL_S and one["peak_mb"] <= GOAL_MB for one in widths.values()),  # type: ignore[index, operator]
    }


def main(
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    queries: Annotated[int, typer.Option(min=1, help="How many.")] = 10_000,
    database: Annotated[int, typer.Option(min=CLASSES, help="How many items.")] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, help="Evaluations of each width.")] = 3,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Time the scores of retrieval."""
    if json is not None:
        check_target(json, force=force)
    torch.set_num_threads(1)
    result = compare(queries=queries, database=database, rounds=rounds)
    for width, one in result["widths"].items():
        taken = one["cpu_s"]
        typer.echo(
            f"width {width}: {taken['median']:.1f} CPU-s [{taken['low']:.1f}, {taken['high']:.1f}], "
            f"{one['peak_mb']:.0f} MB more than before"
        )
    verdict = "met" if result["met"] else "missed"
    typer.echo(f"goal at most {GOAL_S:g} CPU-s and {GOAL_MB:g} MB: {verdict}")
    if json is not None:
        save(result, json, force=force)


def _features(count: int, width: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Features (count, width) in clouds that overlap, and their classes in turn."""
    labels = torch.arange(count) % CLASSES
    centres = torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(width))
    return centres[labels] + 2 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), labels


def _peak_mb() -> float:
    """The largest memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    script.run(main)
