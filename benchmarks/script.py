"""How a benchmark script runs: a typed function as a command, and its errors without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from compress.errors import CompressError


def run(command: Callable[..., None]) -> NoReturn:
    """Never returns: `command` reads the command line, runs, and the process ends with the matching exit code."""
    try:
        typer.run(command)
    except (CompressError, OSError) as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(0)
