"""Which options were typed: one that would be ignored is refused, and errors name them as they were typed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from compress.errors import PlanError

_NOTHING: frozenset[str] = frozenset()
_typed = ContextVar("_typed", default=_NOTHING)


@contextmanager
def typed(flags: Iterable[str]) -> Iterator[None]:
    """A `with` in which these options ("--epochs") are known to have been typed, and no others."""
    before = _typed.set(frozenset(flags))
    try:
        yield
    finally:
        _typed.reset(before)


def refuse(flags: Iterable[str], reason: str) -> None:
    """Nothing, unless one of the options was typed.

    Args:
        flags: Options that would be ignored.
        reason: Why, and what to do.

    Raises:
        PlanError: One of them was.
    """
    for flag in flags:
        if flag in _typed.get():
            raise PlanError(f"{flag}: {reason}")


def as_typed(message: str) -> str:
    """A message that begins with the name of an argument ("fps: ...") with the name of the option that it came from.

    Args:
        message: Of the library, which knows nothing of options; any other stays as it is.
    """
    name, colon, rest = message.partition(": ")
    flag = f"--{name.replace('_', '-').replace(' ', '-')}"
    return f"{flag}{colon}{rest}" if colon and flag in _typed.get() else message
