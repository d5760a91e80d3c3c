"""Ctrl-C answered in one line from the first moment on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 130
_LOADS = "_find_and_load"  # of importlib: a module is new; a name taken from one that is there is no such moment
_SHOW_CURSOR = b"\x1b[?25h"
_PROGRAMS = ("edgepress", "-m")  # the second is what sys.argv starts with while `python -m cli.main` is looked up


def listen() -> None:
    """Until a command begins, Ctrl-C ends the program at once; only where edgepress is the program that runs."""
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0] if sys.argv else ""  # noqa: PTH119, PTH122 - no imports yet
    if name in _PROGRAMS and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


@contextmanager
def stoppable() -> Iterator[None]:
    """A `with` in which Ctrl-C is a KeyboardInterrupt, but the end at once in an import, which could swallow it."""
    if signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    if os.isatty(2):
        os.write(2, _SHOW_CURSOR)  # a spinner may have hidden it
    os.write(2, b"interrupted\n")
    os._exit(EXIT_CODE)


def _stop(number: int, frame: FrameType | None) -> None:
    outer = frame
    while outer is not None:
        if outer.f_code.co_name == _LOADS and outer.f_code.co_filename.startswith("<frozen importlib"):
            _leave(number, frame)
        outer = outer.f_back
    raise KeyboardInterrupt
