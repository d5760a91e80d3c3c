"""The CPUs that a measurement runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from compress.errors import DataError
from compress.evidence import usable_cores
from compress.text import counted


@contextmanager
def pinned(cpus: Sequence[int]) -> Iterator[None]:
    """A `with` in which the calling thread, and every thread and process that it starts, runs on these CPUs alone.

    Args:
        cpus: By the numbers of the system; none of them changes nothing.

    Raises:
        DataError: See `check_pin`.
    """
    check_pin(cpus)
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def check_cpus(threads: int, cpus: Sequence[int]) -> None:
    """Nothing, once this process may choose these CPUs, and there is one for each thread.

    Raises:
        DataError: See `check_pin`; or there are more threads, which would wait for each other.
    """
    check_pin(cpus)
    usable = usable_cores()
    if threads > usable:
        raise DataError(f"threads: {threads}, but this process may use {counted(usable, 'CPU')}; give no more")


def check_pin(cpus: Sequence[int]) -> None:
    """Nothing, once this process may choose these CPUs.

    Raises:
        DataError: The system lets no process choose, or this process may not run on one of them.
    """
    if not cpus:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise DataError("pin: this system lets no process choose its CPUs; leave --pin out")
    usable = sorted(os.sched_getaffinity(0))
    if strange := sorted(set(cpus) - set(usable)):
        told = ", ".join(map(str, strange))
        raise DataError(f"pin: CPU {told} is not usable here; usable are {', '.join(map(str, usable))}")
