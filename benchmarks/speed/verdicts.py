"""How often `edgepress benchmark` is wrong about latency on a busy machine: `python -m benchmarks.speed.verdicts`.

Pairs of one file with itself are timed and judged as that command does, in sessions opened anew and beside the noise
floor of the one that the other is held against, while one process a core does nothing but burn time: every "faster" or
"slower" is a false verdict. Pairs that do differ (the same network with a wider head) show what is seen all the same,
and bare loops, on a machine left alone, what the median is worth. Every comparison is appended to a journal; a script
that is run again goes on from there.
"""

from __future__ import annotations

import json
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
import typer

from benchmarks import script
from benchmarks.contender import Contender, named, open_contender
from benchmarks.derive import Derived, derive
from benchmarks.document import save
from benchmarks.measure.latency import Call, Clocks, Latency, measure
from benchmarks.protocol import Protocol
from benchmarks.raw import Raw
from benchmarks.timing import timed
from compress import evidence
from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.errors import DataError
from compress.files import check_target
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.text import counted
from exports import noise, ship

SCHEMA = "edgepress-speed-verdicts/2"
CLASSES = {"cnn-s": (10, 500), "torchvision:resnet18": (10, 2000)}
IMAGE = (1, 32, 32)
ALIKE, UNLIKE, BARE = "alike", "unlike", "bare"
OWN, OTHER, AGAIN = "own", "other", "again"  # the file, what it is held against, and that against itself
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

    @property
    def protocol(self) -> Protocol:
        """That of one comparison."""
        return Protocol(sessions=self.sessions, rounds=self.rounds, turn_ms=self.turn_ms, warmup_ms=self.warmup_ms)


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
        for name, classes in CLASSES.items():
            file, wider = (_contender(name, count, Path(folder)) for count in classes)
            for kind, other, count in ((ALIKE, file, plan.alike), (UNLIKE, wider, plan.unlike)):
                with _busy_cores(evidence.usable_cores()):
                    for _ in range(len(_read(journal, name, kind)), count):
                        _append(journal, {"network": name, "kind": kind, **_pair(file, other, plan, Path(folder))})
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
    """Count false verdicts on latency while every core is kept busy on purpose (about 80 minutes)."""
    if output is not None:
        check_target(output, force=force)
    result = compare(Plan(alike, unlike, bare), journal)
    for name, found in result["networks"].items():
        same, other, median = found["alike"], found["unlike"], found["median_over_bare"]
        typer.echo(
            f"{name}: {counted(same['false'], 'false verdict')} in {same['pairs']} pairs of a file with itself, beside "
            f"{same['unsure']} unsure and {same['noisy']} too noisy to judge, and would have seen "
            f"{100 * same['least']['median']:.2g} %; a true {other['value']:.3g}x: {other['right']} of "
            f"{other['pairs']} seen, {other['wrong']} wrong, {other['noisy']} too noisy to judge; median over that of "
            f"bare loops "
            f"{median['value']:.3f} [{median['low']:.3f}, {median['high']:.3f}]: {'met' if found['met'] else 'missed'}"
        )
    if output is not None:
        save(result, output, force=force)


def _contender(name: str, classes: int, folder: Path) -> Contender:
    """A network of random weights, exported, and opened as a benchmark opens a file."""
    channels, height, width = IMAGE
    architecture = Architecture(name, classes, channels, (height, width))
    see = Preprocessing((height, width), channels, (0.5,) * channels, (0.5,) * channels)
    card = Card(architecture, see, tuple(map(str, range(classes))))
    checkpoint = Checkpoint(build(architecture, seed=0), card)
    path = ship(checkpoint, folder / f"{name.replace(':', '-')}-{classes}.onnx", [noise(card)]).artefact.path
    return open_contender(named(path), folder)


def _pair(file: Contender, other: Contender, plan: Plan, folder: Path) -> dict[str, Any]:
    """One comparison as a benchmark makes it, `other` being its baseline: the medians of each session."""
    found = timed({0: file, 1: other}, plan.protocol, folder, baseline=1, say=lambda _: None).raws
    assert found[1].again is not None
    taken = {OWN: found[0].latency, OTHER: found[1].latency, AGAIN: found[1].again}
    return {name: _medians(one) for name, one in taken.items()} | {"cpu_counts": found[0].cpu_counts}


def _medians(taken: Latency) -> dict[str, list[float]]:
    return {"wall": _list(taken.wall_medians_ms), "cpu": _list(taken.cpu_medians_ms)}


def _against_bare(file: Contender, plan: Plan) -> dict[str, float]:
    """The median of `measure` and that of the same sessions in loops of their own, in ms, on cores left alone.

    The two alternate in short pieces, so that a machine that slows down meanwhile slows both.
    """
    runs: list[Call] = [file.open(1).bind(file.image) for _ in range(plan.sessions)]
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
def _busy_cores(count: int) -> Iterator[None]:
    """As many processes that burn time meanwhile."""
    burners = [subprocess.Popen([sys.executable, "-c", BURNS]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _summary(name: str, journal: Path) -> dict[str, Any]:
    """What a network's comparisons came to.

    Keys: `alike` (pairs, false, unsure, same, noisy, least: median and range of the least differences they could have
    seen; false_by_wall, false_by_cpu: how many one clock alone would have called), `unlike` (pairs, right, wrong,
    unsure, same, noisy, value: the median ratio), `median_over_bare` (value, low, high, repeats: median and range) and
    `met`.
    """
    alike, unlike = ([_judged(line) for line in _read(journal, name, kind)] for kind in (ALIKE, UNLIKE))
    kinds, seen = _kinds(alike), _kinds(unlike)
    true = float(np.median([_value(one, "speedup") for one in unlike]))
    right, wrong = ("faster", "slower") if true > 1 else ("slower", "faster")
    over = [line["measured"] / line["bare"] for line in _read(journal, name, BARE)]
    middle, false = float(np.median(over)), kinds.count("faster") + kinds.count("slower")
    least = [_value(one, "least_speedup") - 1 for one in alike]
    return {
        ALIKE: {
            "pairs": len(kinds),
            "false": false,
            **_open_ended(kinds),
            "least": {"median": float(np.median(least)), "low": min(least), "high": max(least)},
            "false_by_wall": sum(_told_apart(one, "speedup") for one in alike),
            "false_by_cpu": sum(_told_apart(one, "speedup_cpu") for one in alike),
        },
        UNLIKE: {
            "pairs": len(seen),
            "right": seen.count(right),
            "wrong": seen.count(wrong),
            **_open_ended(seen),
            "value": true,
        },
        "median_over_bare": {"value": middle, "low": min(over), "high": max(over), "repeats": len(over)},
        "met": false <= GOAL_FALSE * len(kinds) and abs(middle - 1) <= GOAL_MEDIAN,
    }


def _judged(line: Mapping[str, Any]) -> Derived:
    """What a benchmark derives from a comparison of the journal: a session is one turn of one call, its median."""
    own, other, again = (_latency(line[name]) for name in (OWN, OTHER, AGAIN))
    counts = bool(line["cpu_counts"])
    return derive(Raw(own, counts), Raw(other, counts, again=again), ())


def _latency(medians_ms: Mapping[str, Sequence[float]]) -> Latency:
    return Latency(np.asarray(medians_ms["wall"])[:, None, None], np.asarray(medians_ms["cpu"])[:, None])


def _kinds(judged: Sequence[Derived]) -> list[str]:
    return [one.verdict.kind for one in judged if one.verdict is not None]


def _open_ended(kinds: Sequence[str]) -> dict[str, int]:
    """How many verdicts call neither file the faster."""
    return {kind: kinds.count(kind) for kind in ("unsure", "same", "noisy")}


def _told_apart(judged: Derived, quantity: str) -> bool:
    """Whether one clock alone would have called one of both the faster."""
    found = next((one for one in judged.records if one.quantity == quantity), None)
    return found is not None and found.low is not None and found.high is not None and not found.low <= 1 <= found.high


def _value(judged: Derived, quantity: str) -> float:
    return next(float(one.value) for one in judged.records if one.quantity == quantity and one.value is not None)


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
