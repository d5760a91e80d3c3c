"""When what an epoch left goes to the disk: its state by time, and whatever ends the run; its metrics at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from compress.training.journal import Journal, State

PATIENCE = 20  # of a run: writing states takes at most one part in so many of its time


class Keep(Protocol):
    """What an epoch tells of its state."""

    def __call__(self, state: State, *, now: bool) -> None:
        """Keep the metrics, and the state: on the disk where it must be `now` or enough time has passed."""


@contextmanager
def keeping(journal: Journal | None) -> Iterator[Keep]:
    """A `with` that gives what keeps the state of a run after each of its epochs.

    A state that is not written is kept in memory, for it is cheap to copy and dear to write; it is written when
    anything ends the `with` before its time: Ctrl-C, an error, a generator that is closed.

    Args:
        journal: Where; None keeps nothing.
    """
    if journal is None:
        yield lambda _state, now: None  # noqa: ARG005
        return
    pending: State | None = None
    written, took = time.perf_counter(), 0.0

    def keep(state: State, *, now: bool) -> None:
        nonlocal pending, written, took
        start = time.perf_counter()
        if now or start - written > PATIENCE * took:
            journal.write(state)
            pending, written = None, time.perf_counter()
            took = written - start
        else:
            pending = _copied(state)
        journal.note(state)  # behind its state, by which a run that is killed in between goes on

    try:
        yield keep
    except BaseException:
        if pending is not None:
            journal.write(pending)
        raise


def _copied(state: State) -> State:
    """The state as it is now; what trains on will not change it."""
    parts = ("model", "optimizer", "losses", "average")  # the best weights are a copy already
    return replace(state, history=list(state.history), **{part: _copy(getattr(state, part)) for part in parts})


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_copy, value))
    return value
