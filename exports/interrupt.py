"""Work in native code that Ctrl-C ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 2.0


def interruptible(work: Callable[[], T], stop: Callable[[], None]) -> T:
    """What `work` returns or raises, done in a thread of its own while this one waits for Ctrl-C.

    Native code keeps a signal waiting until it returns, which in a file of a stranger may be never.

    Args:
        work: What is done.
        stop: Asks the work to end; work that does not is left behind and dies with the process.

    Raises:
        KeyboardInterrupt: Ctrl-C came first.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=run, name="interruptible", daemon=True).start()
    try:
        while not outcome.done():
            wait([outcome], timeout=_POLL_SECONDS)
    except KeyboardInterrupt:
        stop()
        wait([outcome], timeout=_GRACE_SECONDS)
        raise
    return outcome.result()
