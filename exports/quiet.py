"""Silence around libraries that warn, log and print whatever they do."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

STDOUT, STDERR = 1, 2


@contextmanager
def quiet() -> Iterator[None]:
    """Silence for what Python code warns, logs and prints inside the `with`; exceptions pass, with all they say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def silent(*descriptors: int) -> Iterator[None]:
    """Silence for what native code, and processes that it starts, write to these descriptors inside the `with`.

    Args:
        descriptors: `STDOUT`, `STDERR`; one that is closed stays so.
    """
    with ExitStack() as after:
        for descriptor in descriptors:
            try:
                kept = os.dup(descriptor)
            except OSError:  # there is none
                continue
            nowhere = os.open(os.devnull, os.O_WRONLY)
            after.callback(os.close, kept)
            after.callback(os.dup2, kept, descriptor)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
        yield
