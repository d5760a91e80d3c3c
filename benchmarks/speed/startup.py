"""What `edgepress --help` takes more than an empty Python: `python -m benchmarks.speed.startup [--json PATH]`."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import script
from benchmarks.document import save
from benchmarks.measure import latency
from compress import evidence
from compress.files import check_target

SCHEMA = "edgepress-speed-startup/1"
GOAL_S = 0.25
COMMANDS = {"help": ("-m", "cli.main", "--help"), "empty": ("-c", "pass")}


def compare(*, rounds: int = 40) -> dict[str, Any]:
    """The measurement as JSON-able data.

    Keys: `schema`, `machine`, `rounds`, `help_ms` and `empty_ms` (summaries of the single starts), `more_s` (median,
    low and high: the middle 90 % of the differences, round by round), `goal_s` and `met` (the median is within it).

    Args:
        rounds: Turns of each of the two; a turn times one start, after one that is not timed.
    """
    where = evidence.describe()
    runs = {name: [partial(_start, arguments)] for name, arguments in COMMANDS.items()}
    samples = latency.measure(runs, rounds=rounds, turn_ms=0, warmup_ms=0)
    turns = {name: one.wall_ms[0, :, 0] for name, one in samples.items()}
    low, median, high = np.percentile((turns["help"] - turns["empty"]) / 1000, [5, 50, 95]).tolist()
    return {
        "schema": SCHEMA,
        "machine": where,
        "rounds": rounds,
        "help_ms": _summary(samples["help"]),
        "empty_ms": _summary(samples["empty"]),
        "more_s": {"median": median, "low": low, "high": high},
        "goal_s": GOAL_S,
        "met": median <= GOAL_S,
    }


def main(
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of each.")] = 40,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Time `edgepress --help` against `python -c pass`."""
    if json is not None:
        check_target(json, force=force)
    result = compare(rounds=rounds)
    more = result["more_s"]
    typer.echo(
        f"--help takes {more['median']:.3f} s more than an empty Python (90 % of rounds: {more['low']:.3f} to "
        f"{more['high']:.3f}); goal at most {GOAL_S} s: {'met' if result['met'] else 'missed'}"
    )
    if json is not None:
        save(result, json, force=force)


def _summary(taken: latency.Latency) -> dict[str, float]:
    """Median, 95th percentile and minimum in ms."""
    return {"median": taken.median_ms, "p95": taken.percentile_ms(95), "min": float(taken.wall_ms.min())}


def _start(arguments: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    script.run(main)
