"""The command line: mounts the commands, and turns what the user can mend into a message and an exit code."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from cli.benchmark import benchmark
from cli.data import data
from cli.demo import demo
from cli.distill import distill
from cli.evaluate import evaluate
from cli.export import export
from cli.inspect import inspect
from cli.prune import prune
from cli.train import train
from cli.verify import verify

app = typer.Typer(
    name="edgepress",
    help="Distil, prune and export small vision networks, and prove on the shipped file what they cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich for its panels costs more than all the rest
)


def _show_version(asked: bool) -> None:
    from importlib.metadata import version

    if asked:
        typer.echo(f"edgepress {version('edgepress')}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")]


@app.callback()
def _edgepress(version: _Version = False) -> None:
    pass


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose errors end in one message; EDGEPRESS_DEBUG=1 shows the traceback instead."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise
        except Exception as error:
            from compress.errors import CompressError

            if os.environ.get("EDGEPRESS_DEBUG") or not isinstance(error, CompressError | ValueError | OSError):
                raise
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(getattr(error, "exit_code", 2)) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from error

    return guarded


for _command in (train, distill, prune, evaluate, export, verify, benchmark, inspect, data, demo):
    app.command(_command.__name__)(_guarded(_command))


if __name__ == "__main__":
    app()
