"""Runs that are killed at random moments end with the same bytes: `python -m tests.endurance.kill --kills 60 --seed 0
[--json PATH]`.

A small `train` and a small `distill` run once without interruption. Then each is started again and again, with
`--resume`, and ended by SIGKILL: in turn at a random moment of its work, while a state is being written, while the
result is saved, and before its work has begun. When a run gets to its end all the same, or has had its share of kills
and is left to end, its outputs and metrics are held against those of the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.document import save
from compress import evidence
from compress.files import check_target

SCHEMA = "edgepress-endurance-kills/1"
ROOT = Path(__file__).parents[2]
TEACHER = "train cnn-a --data digits --size 24 --fraction 0.2 --epochs 2 --batch-size 32 -o teacher.safetensors"
KINDS = ("work", "state write", "work", "final save", "work", "state write", "start")
TIMES = ("images_per_s", "seconds_left", "cpu_s")
WRITE_S = 0.004
POLL_S = 0.0002

Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Work:
    """A command that is killed.

    Attributes:
        command: As typed, without `edgepress`.
        outputs: The checkpoints it makes, without their suffix; the last one is made last.
        start_s: How long it takes until it has its output to itself.
        work_s: How long it then takes when nothing comes between.
    """

    command: str
    outputs: tuple[str, ...]
    start_s: float = 0.0
    work_s: float = 0.0


WORKS = (
    Work("train cnn-s --width 4 --data digits --size 24 --batch-size 32 --epochs 12 -o net.safetensors", ("net",)),
    Work(
        "distill teacher.safetensors --data digits --fraction 0.5 --val-fraction 0.2 --keep best --augment crop "
        "--batch-size 32 --student cnn-s --width 4 --depth 2 --method indistill --set a=1 --set b=1 --epochs 8 "
        "--auxiliary-epochs 3 -o student.safetensors",
        ("student.auxiliary", "student"),
    ),
)


def test(kills: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """The result as JSON-able data, and a line for every difference.

    Keys: `schema`, `machine`, `seed`, `kills`, `works` (the command, its kills, those of each kind, the runs that came
    to their end and the differences) and `met` (there is no difference).

    Args:
        kills: How many, over all commands.
        seed: Of the moments.
    """
    where, folder = evidence.describe(), Path(tempfile.mkdtemp(prefix="edgepress-kill-"))
    whole = folder / "whole"
    whole.mkdir()
    _finish(_start(TEACHER, whole))
    chance, works, different = random.Random(seed), [], []
    for number, work in enumerate(WORKS):
        share = kills // len(WORKS) + (number < kills % len(WORKS))
        lines = [_differences(work, whole, life) for life in _lives(_timed(work, whole), share, whole, chance)]
        different += [line for of_life in lines for line in of_life]
        works.append(
            {
                "command": f"edgepress {work.command}",
                "kills": share,
                "kinds": dict(Counter(KINDS[done % len(KINDS)] for done in range(share))),
                "ended": len(lines),
                "differences": sum(map(len, lines)),
            }
        )
    if not different:
        shutil.rmtree(folder)
    found = {"schema": SCHEMA, "machine": where, "seed": seed, "kills": kills, "works": works, "met": not different}
    return found, different


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many, over both commands.")] = 60,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Kill runs at random moments, resume them, and compare what they end with."""
    if json is not None:
        check_target(json, force=force)
    result, different = test(kills, seed)
    ended = sum(work["ended"] for work in result["works"])
    typer.echo(f"{kills} kills, {ended} runs to their end, {len(different)} differences")
    for line in different:
        typer.echo(line, err=True)
    if json is not None:
        save(result, json, force=force)
    if different:
        raise typer.Exit(1)


def _lives(work: Work, kills: int, whole: Path, chance: random.Random) -> Iterator[Path]:
    """The folder of every run that got to its end, for so many kills."""
    done = 0
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{work.outputs[-1]}-", dir=whole.parent))
        shutil.copy(whole / "teacher.safetensors", folder)
        while done < kills and _killed(work, folder, KINDS[done % len(KINDS)], chance):
            kept = ", ".join(f"{len(_records(folder, name))} of {name}" for name in work.outputs)
            typer.echo(f"{work.outputs[-1]}: kill {done + 1} ({KINDS[done % len(KINDS)]}), epochs kept: {kept}")
            done += 1
        _finish(_start(f"{work.command} --resume", folder))
        yield folder
        if done == kills:
            return


def _killed(work: Work, folder: Path, kind: str, chance: random.Random) -> bool:
    """Whether the run was killed before its end."""
    spans = {"start": work.start_s, "work": work.work_s, "state write": WRITE_S, "final save": WRITE_S}
    delay_s, writes = chance.uniform(0, spans[kind]), chance.randint(1, 4) if kind == "state write" else 1
    seen = _half_written(work, folder, kind)
    writes += len(seen)
    run = _start(f"{work.command} --resume", folder)
    while run.poll() is None:
        seen |= _half_written(work, folder, kind)
        if kind == "start" or (kind == "work" and _has_begun(work, folder, run)) or len(seen) >= writes:
            time.sleep(delay_s)
            break
        time.sleep(POLL_S)
    run.kill()
    return _finish(run) < 0


def _half_written(work: Work, folder: Path, kind: str) -> set[Path]:
    names = {
        "state write": [f"{name}.resume.pt" for name in work.outputs],
        "final save": [f"{work.outputs[-1]}.safetensors"],
    }
    return {path for name in names.get(kind, ()) for path in folder.glob(f".{name}-*.partial/{name}")}


def _has_begun(work: Work, folder: Path, run: Process) -> bool:
    lock = folder / f".{work.outputs[-1]}.safetensors.lock"
    try:
        return lock.read_text("ascii").strip() == str(run.pid)
    except FileNotFoundError:
        return False


def _timed(work: Work, folder: Path) -> Work:
    """The work, once it has been done without interruption, with its times."""
    run, start = _start(work.command, folder), time.monotonic()
    while not _has_begun(work, folder, run):
        time.sleep(POLL_S)
    begun = time.monotonic()
    _finish(run)
    return replace(work, start_s=begun - start, work_s=time.monotonic() - begun)


def _start(command: str, folder: Path) -> Process:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *shlex.split(command)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(run: Process) -> int:
    """The exit code of a run that ended well, or the negative number of the signal that ended it."""
    _, message = run.communicate()
    if run.returncode > 0:
        raise SystemExit(f"{shlex.join(map(str, run.args))}: exit code {run.returncode}: {message}")
    return run.returncode


def _differences(work: Work, whole: Path, folder: Path) -> list[str]:
    """A line for everything that an interrupted run left otherwise than the uninterrupted one."""
    lines = []
    for name in work.outputs:
        first, second = (hashlib.sha256((one / f"{name}.safetensors").read_bytes()) for one in (whole, folder))
        if first.digest() != second.digest():
            lines.append(f"{folder}: {name}.safetensors has other bytes")
        if _records(whole, name) != _records(folder, name):
            lines.append(f"{folder}: {name}.metrics.jsonl has other records")
    kept = {f"{name}.{suffix}" for name in work.outputs for suffix in ("safetensors", "metrics.jsonl")}
    left = {path.name for path in folder.iterdir()} - kept - {"teacher.safetensors"}
    return [*lines, *(f"{folder}: {name} is left" for name in sorted(left))]


def _records(folder: Path, name: str) -> list[dict[str, object]]:
    """The metrics so far, without those that depend on the clock."""
    path = folder / f"{name}.metrics.jsonl"
    lines = map(json.loads, path.read_text("utf-8").splitlines() if path.exists() else ())
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


if __name__ == "__main__":
    script.run(main)
