"""How often `edgepress benchmark` is wrong about latency on a busy machine: `python -m benchmarks.speed.verdicts`.

Pairs of one file with itself, each of sessions opened anew, are timed while one process a core does nothing but burn
time: every "faster" or "slower" is a false verdict. Pairs that do differ (the same network with a wider head) show what
is seen all the same, and bare loops, on a machine left alone, what the median is worth. Every comparison is appended to
a journal; a script that is run again goes on from there.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import script
from benchmarks.bench import CPU, WALL
from benchmarks.document import save
from benchmarks.measure.latency import Call, Clocks, measure
from benchmarks.verdict import judge, ratio
from compress import evidence
from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.errors import DataError
from compress.files import check_target
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from exports import format_of, noise, ship

SCHEMA = "edgepress-speed-verdicts/1"
CLASSES = {"cnn-s": (10, 500), "torchvision:resnet18": (10, 2000)}
IMAGE = (1, 32, 32)
ALIKE, UNLIKE, BARE = "alike", "unlike", "bare"
GOAL_FALSE, GOAL_MEDIAN = 0.05, 0.03
BARE_CALLS_MS = 20.0
PIECES = 5
BURNS = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # and ends with who started it


@dataclass(frozen=True)
class Plan:
    """What is measured of each network: how many comparisons of each kind, and how long one is."""

    alike: int = 200
    unlike: int = 20
    bare: int = 20
    sessions: int = 8
    rounds: int = 10
    turn_ms: float = 3.0
    warmup_ms: float = 5.0


def compare(plan: Plan, journal: Path) -> dict[str, Any]:
    """The measurement as JSON-able data.

    Keys: `schema`, `machine`, `plan`, `burners` (processes that kept the cores busy), `networks` (see `_summary`),
    `goal_false`, `goal_median` and `met` (of every network).

    Args:
        plan: What is measured.
        journal: JSON lines of what was measured so far, of the same plan; made if it is missing.

    Raises:
        DataError: The journal is of another plan.
    """
    where = evidence.describe()
    _begin(journal, plan)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        files = {name: [_export(name, count, Path(folder)) for count in CLASSES[name]] for name in CLASSES}
        for name, (file, wider) in files.items():
            for kind, other, count in ((ALIKE, file, plan.alike), (UNLIKE, wider, plan.unlike)):
                with _busy_cores(evidence.usable_cores()) as burners:
                    for _ in range(len(_read(journal, name, kind)), count):
                        _append(journal, {"network": name, "kind": kind, **_pair(file, other, plan, burners)})
            for _ in range(len(_read(journal, name, BARE)), plan.bare):
                _append(journal, {"network": name, "kind": BARE, **_against_bare(file, plan)})
    networks = {name: _summary(name, journal) for name in CLASSES}
    return {
        "schema": SCHEMA,
        "machine": where,
        "plan": asdict(plan),
        "burners": evidence.usable_cores(),
        "networks": networks,
        "goal_false": GOAL_FALSE,
        "goal_median": GOAL_MEDIAN,
        "met": all(network["met"] for network in networks.values()),
    }


def main(
    journal: Annotated[Path, typer.Argument(help="JSON lines of what was measured; goes on from what is there.")],
    output: Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")] = None,
    alike: Annotated[int, typer.Option(min=1, help="Pairs of a file with itself, for each network.")] = Plan.alike,
    unlike: Annotated[int, typer.Option(min=1, help="Pairs of two files that differ.")] = Plan.unlike,
    bare: Annotated[int, typer.Option(min=1, help="Comparisons of the median with bare loops.")] = Plan.bare,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Count false verdicts on latency while every core is kept busy on purpose (about 25 minutes)."""
    if output is not None:
        check_target(output, force=force)
    result = compare(Plan(alike, unlike, bare), journal)
    for name, found in result["networks"].items():
        same, other, median = found["alike"], found["unlike"], found["median_over_bare"]
        typer.echo(
            f"{name}: {same['false']} false verdicts and {same['unsure']} unsure in {same['pairs']} pairs of a file "
            f"with itself, which would have seen {100 * same['least']['median']:.2g} %; a true {other['value']:.3g}x: "
            f"{other['right']} of {other['pairs']} seen, {other['wrong']} wrong; median over that of bare loops "
            f"{median['value']:.3f} [{median['low']:.3f}, {median['high']:.3f}]: {'met' if found['met'] else 'missed'}"
        )
    if output is not None:
        save(result, output, force=force)


def _export(name: str, classes: int, folder: Path) -> Path:
    channels, height, width = IMAGE
    architecture = Architecture(name, classes, channels, (height, width))
    see = Preprocessing((height, width), channels, (0.5,) * channels, (0.5,) * channels)
    card = Card(architecture, see, tuple(map(str, range(classes))))
    checkpoint = Checkpoint(build(architecture, seed=0), card)
    return ship(checkpoint, folder / f"{name.replace(':', '-')}-{classes}.onnx", [noise(card)]).artefact.path


def _open(file: Path) -> Call:
    image = torch.rand(1, *IMAGE, generator=torch.Generator().manual_seed(0))
    return format_of(file).read(file).bind(image)


def _pair(file: Path, other: Path, plan: Plan, burners: list[subprocess.Popen[bytes]]) -> dict[str, Any]:
    """One comparison, as the medians of each session; the burners rest while sessions are opened."""
    runs: dict[str, list[Call]] = {"own": [], "other": []}
    for _ in range(plan.sessions):
        for sessions, path in zip(runs.values(), (file, other), strict=True):
            sessions.append(_open(path))
    for burner in burners:
        burner.send_signal(signal.SIGCONT)
    taken = measure(runs, rounds=plan.rounds, turn_ms=plan.turn_ms, warmup_ms=plan.warmup_ms)
    for burner in burners:
        burner.send_signal(signal.SIGSTOP)
    return {name: {"wall": _list(one.wall_medians_ms), "cpu": _list(one.cpu_medians_ms)} for name, one in taken.items()}


def _against_bare(file: Path, plan: Plan) -> dict[str, float]:
    """The median of `measure` and that of the same sessions in loops of their own, in ms, on cores left alone.

    The two alternate in short pieces, so that a machine that slows down meanwhile slows both.
    """
    runs = [_open(file) for _ in range(plan.sessions)]
    bare, measured = [_bare_ms(runs)], []
    rounds = max(plan.rounds // PIECES, 1)
    for _ in range(PIECES):
        taken = measure({"own": runs}, rounds=rounds, turn_ms=plan.turn_ms, warmup_ms=plan.warmup_ms)
        measured.append(taken["own"].median_ms)
        bare.append(_bare_ms(runs))
    between = [(one * next_one) ** 0.5 for one, next_one in pairwise(bare)]
    return {"measured": _middle(measured), "bare": _middle(between)}


def _bare_ms(runs: Sequence[Call]) -> float:
    return _middle([_bare_median_ms(run) for run in runs])


def _middle(values: Sequence[float]) -> float:
    """The geometric mean."""
    return float(np.exp(np.log(values).mean()))


def _bare_median_ms(run: Call) -> float:
    clock = Clocks().wall
    times: list[int] = []
    while sum(times) < 2 * BARE_CALLS_MS * 1e6:
        start = clock()
        run()
        times.append(clock() - start)
    return float(np.median(times[len(times) // 2 :])) / 1e6


@contextmanager
def _busy_cores(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """As many processes that burn time, stopped until they are told to go on."""
    burners = [subprocess.Popen([sys.executable, "-c", BURNS]) for _ in range(count)]
    try:
        for burner in burners:
            burner.send_signal(signal.SIGSTOP)
        yield burners
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _summary(name: str, journal: Path) -> dict[str, Any]:
    """What a network's comparisons came to.

    Keys: `alike` (pairs, false, unsure, same, least: median and range of the least differences they could have seen;
    false_by_wall, false_by_cpu: how many one clock alone would have called), `unlike` (pairs, right, wrong, unsure,
    same, value: the median ratio), `median_over_bare` (value, low, high, repeats: median and range) and `met`.
    """
    alike, unlike = ([_ratios(line) for line in _read(journal, name, kind)] for kind in (ALIKE, UNLIKE))
    kinds: list[str] = [judge(one).kind for one in alike]
    seen: list[str] = [judge(one).kind for one in unlike]
    true = float(np.median([one[WALL].value for one in unlike]))
    right, wrong = ("faster", "slower") if true > 1 else ("slower", "faster")
    over = [line["measured"] / line["bare"] for line in _read(journal, name, BARE)]
    middle = float(np.median(over))
    false = kinds.count("faster") + kinds.count("slower")
    least = [max(clock.least for clock in one.values()) for one in alike]
    return {
        ALIKE: {
            "pairs": len(kinds),
            "false": false,
            "unsure": kinds.count("unsure"),
            "same": kinds.count("same"),
            "least": {"median": float(np.median(least)), "low": min(least), "high": max(least)},
            "false_by_wall": sum(not one[WALL].spans_one for one in alike),
            "false_by_cpu": sum(not one[CPU].spans_one for one in alike),
        },
        UNLIKE: {
            "pairs": len(seen),
            "right": seen.count(right),
            "wrong": seen.count(wrong),
            "unsure": seen.count("unsure"),
            "same": seen.count("same"),
            "value": true,
        },
        "median_over_bare": {
            "value": float(np.median(over)),
            "low": min(over),
            "high": max(over),
            "repeats": len(over),
        },
        "met": false <= GOAL_FALSE * len(kinds) and abs(middle - 1) <= GOAL_MEDIAN,
    }


def _ratios(line: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: ratio(np.asarray(line["other"][clock]), np.asarray(line["own"][clock]))
        for name, clock in ((WALL, "wall"), (CPU, "cpu"))
    }


def _list(medians_ms: np.ndarray) -> list[float]:
    return [round(value, 7) for value in medians_ms.tolist()]


def _begin(journal: Path, plan: Plan) -> None:
    """Makes the journal, or checks that it is of this plan."""
    head = {"schema": SCHEMA, "plan": asdict(plan)}
    if not journal.exists():
        _append(journal, head)
    elif json.loads(journal.read_text(encoding="utf-8").partition("\n")[0]) != head:
        raise DataError(f"{journal}: is of another plan than {asdict(plan)}; name another journal")


def _append(journal: Path, line: Mapping[str, Any]) -> None:
    with journal.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _read(journal: Path, name: str, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()[1:]]
    return [line for line in lines if (line["network"], line["kind"]) == (name, kind)]


if __name__ == "__main__":
    script.run(main)
