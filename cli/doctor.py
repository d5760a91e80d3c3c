"""edgepress doctor"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from benchmarks.doctor import Ability, Fitness, Package
    from benchmarks.noise import Floor

_WIDTH = 13


def doctor(
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Measure the noise floor, which takes about 3 s.")
    ] = True,
) -> None:
    """Show what this machine can export, run and measure.

    Each format with its runtime, extras and how to install them, CPU and load, data sets, and the noise floor: a small
    file timed against itself. A benchmark says of each pair of files what it would have seen: more or less than that,
    by the spread of these two. Exit code 4 if something is installed and broken.

    Examples:
        edgepress doctor
        edgepress doctor --no-timing --json
    """
    from benchmarks.doctor import examine
    from cli import parse, say
    from compress.errors import MissingExtraError

    with say.doing("looking") as update:
        found = examine(timing=timing, say=update)
    records = [] if found.floor is None else parse.stamped(found.floor.records())
    say.result(
        found.to_dict() | {"records": records},
        *_machine(found.machine, found.packages),
        *_abilities(found.formats, found.extras),
        _row("data", ", ".join(name for name, path in found.sets.items() if path) or "none; see `edgepress data`"),
        *_verdict(found.floor, found.fitness),
    )
    if found.broken:
        raise MissingExtraError("; ".join(found.broken))


def _machine(machine: Mapping[str, Any], packages: Sequence[Package]) -> Iterator[str]:
    load = machine["load_average"]
    told = "not told" if load is None else ", ".join(f"{value:.1f}" for value in load)
    yield _row("CPU", f"{machine['cpu'] or 'not told'}; {', '.join(machine['flags']) or 'no instruction sets told'}")
    yield _row("int8", machine["int8"])
    yield _row("cores", f"{machine['cores_usable']} usable of {machine['cores_logical']}; load {told} (1, 5, 15 min)")
    yield _row("governor", _governor(machine["governor"]))
    yield _row("system", f"{machine['os']}, Python {machine['python']}, edgepress {machine['edgepress'] or 'source'}")
    yield _row("packages", ", ".join(map(str, packages)))


def _governor(governor: str | None) -> str:
    if governor is None:
        return "not told, as in most virtual machines"
    if governor == "performance":
        return governor
    return f"{governor}: the clock of the CPU changes while it measures; sudo cpupower frequency-set -g performance"


def _abilities(formats: Sequence[Ability], extras: Sequence[Ability]) -> Iterator[str]:
    for one in formats:
        packages = ", ".join(map(str, one.packages))
        able = "exports, runs" if one.verified else f"exports, is not verified: {one.reason}"
        yield _row(one.name, f"{able} ({packages})" if one.works else f"{one.reason}: {one.install}")
    for one in extras:
        yield _row(one.name, f"{one.what}: {', '.join(map(str, one.packages)) if one.works else one.reason}", one)


def _verdict(floor: Floor | None, fitness: Fitness) -> Iterator[str]:
    if floor is not None:
        yield _row("noise floor", floor.words)
    yield _row("verdict", fitness.words)


def _row(name: str, text: str, missing: Ability | None = None) -> str:
    return f"{name:<{_WIDTH}}{text}{f': {missing.install}' if missing and missing.install else ''}"
