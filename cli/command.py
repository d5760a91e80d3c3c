"""How a command is mounted: plain help in groups with examples, the options that every command has, its errors."""

from __future__ import annotations

import functools
import inspect
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from cli import options, say
from cli.device import computing_on
from cli.interrupt import EXIT_CODE, stoppable
from cli.typed import as_typed, typed
from compress.code import naming

_ARGUMENTS, _OTHERS = "Arguments", "Options"
_EXAMPLES = "\nExamples:\n"
_OF_OPENING, _OF_COMPUTING = {"code": options.Code, "edited": options.Edited}, {"device": options.Device}
_EVERY = {"as_json": options.Json, "quiet": options.Quiet, "verbose": options.Verbose}


class Command(TyperCommand):
    """A command whose help lists its options in groups and ends in examples."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in (_ARGUMENTS, *options.GROUPS, _OTHERS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and parameter.param_type_name == "argument":
                groups[_ARGUMENTS].append((_argument_name(parameter), record[1]))
            elif record is not None:
                groups[getattr(parameter, "rich_help_panel", None) or _OTHERS].append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's signature
        if self.epilog:
            with formatter.section("Examples"):
                for example in self.epilog.splitlines():
                    formatter.write(f"  {example.strip()}\n")


def _argument_name(parameter: Any) -> str:
    """What an argument is called, without the Python type that some versions of typer put behind it."""
    return f"{parameter.metavar}{'' if parameter.nargs == 1 else '...'}"


class Group(TyperGroup):
    """The whole command line, whose help does not list how to install the completion of words."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        parameter: Any
        for parameter in self.params:
            if str(parameter.name).endswith("_completion"):
                parameter.hidden = True
        super().format_options(ctx, formatter)


def mount(app: typer.Typer, command: Callable[..., None], *, computes: bool = False, opens: bool = False) -> None:
    """Make the function a command of the app, by its name; its docstring is its help and ends in `Examples:`.

    Args:
        app: Where to mount it.
        command: Its parameters are the command's own arguments and options; one whose type is a dataclass of options
            stands for all of them.
        computes: It takes --device, too.
        opens: It takes --code and --edited, too: checkpoints, whose networks may come from files of code.
    """
    about, _, examples = (inspect.getdoc(command) or "").partition(_EXAMPLES)
    app.command(command.__name__, cls=Command, help=about, epilog=examples or None)(
        _dressed(command, (_OF_OPENING if opens else {}) | (_OF_COMPUTING if computes else {}) | _EVERY)
    )


def _dressed(command: Callable[..., None], added: dict[str, Any]) -> Callable[..., None]:
    """The command with the options that are added to it, whose errors end in one message."""
    bundles: dict[str, Any] = {
        name: one.annotation
        for name, one in inspect.signature(command, eval_str=True).parameters.items()
        if is_dataclass(one.annotation)
    }

    @functools.wraps(command)
    def dressed(
        ctx: typer.Context,
        *,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        device: str = "auto",
        code: list[Path] | None = None,
        edited: bool = False,
        **given: Any,
    ) -> None:
        verbose = verbose or bool(os.environ.get("EDGEPRESS_DEBUG"))
        manner, flags = say.manner(say.Manner(quiet, verbose, as_json)), typed(_flags_typed(ctx))
        told, named = _errors_told(with_traceback=verbose), naming(code or (), edited=edited)
        with manner, flags, told, stoppable(), computing_on(device), named:
            command(**_bundled(bundles, given))

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *parameters_of(command), *(_added(name, option) for name, option in added.items())]
    dressed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    dressed.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    return dressed


def parameters_of(command: Callable[..., None]) -> list[inspect.Parameter]:
    """The arguments and options of a command, those that a dataclass of them stands for one by one."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    return [part for one in own for part in (_parts(one.annotation) if is_dataclass(one.annotation) else [one])]


def _parts(bundle: Any) -> list[inspect.Parameter]:
    """The options that a dataclass of them stands for."""
    hints = get_type_hints(bundle, include_extras=True)
    return [one.replace(annotation=hints[name]) for name, one in inspect.signature(bundle).parameters.items()]


def _bundled(bundles: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the command takes, of the values of single options."""
    made = {
        name: bundle(**{part.name: given.pop(part.name) for part in _parts(bundle)}) for name, bundle in bundles.items()
    }
    return given | made


@contextmanager
def _errors_told(*, with_traceback: bool) -> Iterator[None]:
    """A `with` that ends the program with one message and an exit code where something the user can mend went wrong."""
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        from compress.errors import CompressError

        if not isinstance(error, CompressError | ValueError | OSError):
            raise
        if with_traceback:
            traceback.print_exc()
        say.error(as_typed(str(error)))
        raise typer.Exit(getattr(error, "exit_code", 2)) from error
    except KeyboardInterrupt as error:
        typer.echo("interrupted", err=True)
        raise typer.Exit(EXIT_CODE) from error


def _flags_typed(ctx: typer.Context) -> list[str]:
    """The long names of the options that the user typed, none of those that have their default."""
    typed_here = [one for one in ctx.command.params if _source(ctx, one.name) == "COMMANDLINE"]
    return [max(one.opts, key=len) for one in typed_here]


def _source(ctx: typer.Context, name: str | None) -> str:
    source = ctx.get_parameter_source(name or "")
    return source.name if source is not None else ""


def _added(name: str, annotation: Any) -> inspect.Parameter:
    default = {"device": "auto", "code": None}.get(name, False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
