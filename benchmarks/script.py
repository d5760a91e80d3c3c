"""How a benchmark script runs: a typed function as a command, and its errors without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

import typer

from compress.errors import CompressError, DataError, unknown_name


def run(command: Callable[..., None]) -> NoReturn:
    """Never returns: `command` reads the command line, runs, and the process ends with the matching exit code."""
    try:
        typer.run(command)
    except (CompressError, OSError) as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(0)


def chosen(option: str, asked: list[str] | None, known: Iterable[str]) -> list[str]:
    """What an option names that may be given several times; all that is known where it was left out.

    Raises:
        DataError: It names something else.
    """
    for name in asked or []:
        if name not in known:
            raise DataError(unknown_name(f"--{option}", name, known))
    return asked or list(known)
