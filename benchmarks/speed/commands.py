"""How long commands take, beside their goals: `python -m benchmarks.speed.commands [--json PATH]`.

Each is a process of its own, and they take turns with an empty Python.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import script
from benchmarks.document import save
from benchmarks.measure import latency
from compress import evidence
from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.files import check_target
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from exports import noise, ship

SCHEMA = "edgepress-speed-commands/1"
COMMANDS = {"--help": "--help", "inspect": "inspect {0} --json", "benchmark": "benchmark {0} {1} --json"}
GOALS_S = {"--help": 0.25, "inspect": 1.5, "benchmark": 6.0}
EMPTY = "empty"


def compare(*, rounds: int = 10) -> dict[str, Any]:
    """The measurement as JSON-able data.

    Keys: `schema`, `machine`, `rounds`, `empty_s`, and under `commands`, by name: `command`, `seconds`, `goal_s`, and
    `met` (the median is within it). Seconds have `median`, `low` and `high` (the middle 90 % of the rounds); those of
    --help are what it takes more than an empty Python.

    Args:
        rounds: Turns of each; a turn times one start, after one that is not timed.
    """
    where = evidence.describe()
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        files = [_file(Path(folder), seed) for seed in (0, 1)]
        typed = {name: line.format(*files).split() for name, line in COMMANDS.items()}
        starts = {name: partial(_start, "-m", "cli.main", *words) for name, words in typed.items()}
        runs = {name: [start] for name, start in {EMPTY: partial(_start, "-c", "pass"), **starts}.items()}
        samples = latency.measure(runs, rounds=rounds, turn_ms=0, warmup_ms=0)
    taken = {name: one.wall_ms[0, :, 0] / 1000 for name, one in samples.items()}
    taken["--help"] = taken["--help"] - taken[EMPTY]
    told = {name: _told(name, taken[name]) for name in COMMANDS}
    return {
        "schema": SCHEMA,
        "machine": where,
        "rounds": rounds,
        "empty_s": _middle(taken[EMPTY]),
        "commands": told,
    }


def main(
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of each.")] = 10,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Time commands on cnn-s files."""
    if json is not None:
        check_target(json, force=force)
    result = compare(rounds=rounds)
    for one in result["commands"].values():
        took = one["seconds"]
        typer.echo(
            f"edgepress {one['command']}: {took['median']:.2f} s (90 % of rounds: {took['low']:.2f} to "
            f"{took['high']:.2f}); goal at most {one['goal_s']} s: {'met' if one['met'] else 'missed'}"
        )
    if json is not None:
        save(result, json, force=force)


def _file(folder: Path, seed: int) -> Path:
    """A cnn-s as .onnx, with random weights."""
    architecture = Architecture("cnn-s", 10, 1, (32, 32))
    card = Card(architecture, Preprocessing((32, 32), 1, (0.5,), (0.5,)), tuple("abcdefghij"))
    checkpoint = Checkpoint(build(architecture, seed=seed), card)
    return ship(checkpoint, folder / f"cnn-s-{seed}.onnx", [noise(card)]).artefact.path


def _told(name: str, seconds: np.ndarray[Any, Any]) -> dict[str, Any]:
    taken, goal = _middle(seconds), GOALS_S[name]
    line = COMMANDS[name].format("cnn-s-0.onnx", "cnn-s-1.onnx")
    return {"command": line, "seconds": taken, "goal_s": goal, "met": taken["median"] <= goal}


def _middle(seconds: np.ndarray[Any, Any]) -> dict[str, float]:
    low, median, high = np.percentile(seconds, [5, 50, 95]).tolist()
    return {"median": median, "low": low, "high": high}


def _start(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    script.run(main)
