"""All that a command prints, so that --quiet and --json are honoured and control characters escaped in one place."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import typer

from compress.text import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

OWN_MODULES = r"(benchmarks|cli|compress|exports)\b"


@dataclass(frozen=True)
class Manner:
    """How a command talks.

    Attributes:
        quiet: Only the result and errors.
        verbose: Also the warnings of libraries, and errors with their traceback.
        as_json: The result as one JSON object on stdout, all else on stderr.
    """

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False


_PLAIN = Manner()
_manner = ContextVar("_manner", default=_PLAIN)
_step: ContextVar[list[Mapping[str, Any]] | None] = ContextVar("_step", default=None)


@contextmanager
def manner(chosen: Manner) -> Iterator[None]:
    """A `with` in which everything is said in that manner, warnings of edgepress's own modules among it."""
    before = _manner.set(chosen)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default" if chosen.verbose else "ignore")
            warnings.filterwarnings("default", module=OWN_MODULES)
            warnings.showwarning = _show_warning
            yield
    finally:
        _manner.reset(before)


@contextmanager
def as_step() -> Iterator[list[Mapping[str, Any]]]:
    """A `with` whose results are shown on the way to a greater one, which may use what it gives: their facts."""
    facts: list[Mapping[str, Any]] = []
    before = _step.set(facts)
    try:
        yield facts
    finally:
        _step.reset(before)


def line(text: str, *, bold: bool = False) -> None:
    """Print one line of what happens on the way to the result."""
    if _talks():
        typer.secho(printable(text), bold=bold or None, err=_manner.get().as_json)


def notes(sentences: Iterable[str]) -> None:
    """Print what was decided on the way, a line each, on stderr."""
    for sentence in sentences:
        if _talks():
            typer.echo(f"note: {printable(sentence)}", err=True)


def warning(text: str) -> None:
    """Print one line on stderr about what makes the result doubtful."""
    if _talks():
        typer.echo(f"warning: {printable(text)}", err=True)


def error(text: str) -> None:
    """Print one line on stderr about why there is no result."""
    typer.echo(f"error: {printable(text)}", err=True)


def result(facts: Mapping[str, Any], *shown: str | RenderableType) -> None:
    """Print what the command was for.

    Args:
        facts: All of it, for --json.
        shown: The same for people: lines, or what `rich` can draw.
    """
    step = _step.get()
    if step is not None:
        step.append(facts)
        aside(*shown)
    elif _leads() and _manner.get().as_json:
        typer.echo(to_json(facts))
    elif _leads():
        _print(shown)


def aside(*shown: str | RenderableType) -> None:
    """Print lines or drawings on the way to the result."""
    if _talks():
        _print(shown)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> Table:
    """A table whose cells show exactly what they hold: no markup in them is obeyed, and a long one goes on below."""
    from rich.table import Column, Table
    from rich.text import Text

    columns = (Column(name, overflow="fold") for name in head)
    drawn = Table(*columns, title=None if title is None else Text(printable(title)), title_justify="left")
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    return drawn


def numbers(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of numbers, each below the other: of the first column, their names, a long one goes on below."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    for number, name in enumerate(head):
        drawn.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    return drawn


def to_json(facts: Mapping[str, Any]) -> str:
    """The facts as indented JSON in ASCII; what JSON has no word for (NaN, infinity) is null, a path its text."""
    text = json.dumps(_plain(facts), indent=2, allow_nan=False, default=str)
    return text.replace("\x7f", r"\u007f")


def console(*, err: bool = False) -> Console:
    """Where `rich` draws: on stdout, or on stderr."""
    from rich.console import Console

    return Console(stderr=err or _manner.get().as_json, highlight=False)


def at_length() -> bool:
    """Whether everything is to be said that is known."""
    return _manner.get().verbose


@contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """A `with` that shows a spinner where somebody watches; it gives what changes the words beside it."""
    if not on_terminal():
        yield lambda _text: None
        return
    from rich.text import Text

    with console(err=True).status(what) as status:
        yield lambda text: status.update(Text(printable(text)))


def on_terminal() -> bool:
    """Whether somebody watches what happens on the way."""
    return _talks() and sys.stderr.isatty()


def _leads() -> bool:
    """Whether this is the only process, or of those that `accelerate launch` started the one that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _talks() -> bool:
    return _leads() and not _manner.get().quiet


def _print(shown: Iterable[str | RenderableType]) -> None:
    for part in shown:
        if isinstance(part, str):
            typer.echo(printable(part), err=_manner.get().as_json)
        else:
            console().print(part)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _show_warning(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 - the signature of warnings.showwarning
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    warning(str(message))
