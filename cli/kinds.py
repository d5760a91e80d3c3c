"""The kinds of options: a whole number, a number, a size, a name; each says what came and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from compress import amounts
from compress.amounts import TIMES as TIMES
from compress.amounts import Amount

OF_FILES = (".html", ".md", ".json", ".csv")


def whole(flag: str, least: int, most: int | None = None, *, help: str, group: str | None = None) -> Any:
    """An option that takes a whole number from `least` to `most`, and else says what came and what is allowed."""
    allowed = f"at least {least}" if most is None else f"from {least} to {most}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < least or (most is not None and number > most):
            raise typer.BadParameter(f"got {str(text)!r:.60}; give a whole number, {allowed}")
        return number

    return typer.Option(flag, metavar="N", parser=parse, help=help, rich_help_panel=group)


def number(flag: str, low: float, high: float, ends: str, *, help: str, group: str | None = None) -> Any:
    """An option that takes a number of an interval, and else says what came and what is allowed.

    Args:
        flag: Its name.
        low: The lower end.
        high: The upper end.
        ends: Which of the two belong to it: "[]", "(]", "[)" or "()".
        help: What it is.
        group: Where the help lists it.
    """
    return amount(flag, amounts.within(low, high, ends), "X", help=help, group=group)


def measure(flag: str, units: Mapping[str, float], example: str, *, help: str, group: str) -> Any:
    """An option that takes a number above 0 with one of these units, and gives it in the first that counts 1.

    Args:
        flag: Such as "--max-macs".
        units: Lower case, to what they count: `TIMES`.
        example: For the message.
        help: One line.
        group: Under which `--help` shows it.
    """
    return amount(flag, amounts.measured(units, example), "N", help=help, group=group)


def amount(flag: str, kind: Amount, metavar: str, *, help: str, group: str | None = None) -> Any:
    """An option that takes an amount of a kind, and else says what came and what is allowed."""

    def parse(text: str) -> float:
        return _read(kind, text)

    return typer.Option(flag, metavar=metavar, parser=parse, help=help, rich_help_panel=group)


def most_parameters(group: str) -> Any:
    """The option --max-params, under a group of the help."""
    return amount("--max-params", amounts.PARAMETERS, "N", help="Parameters: 50k.", group=group)


def most_macs(group: str) -> Any:
    """The option --max-macs, under a group of the help."""
    about = "Multiply-accumulates of one image: 10M."
    return amount("--max-macs", amounts.MACS, "N", help=about, group=group)


def growth(flag: str, *, help: str, group: str) -> Any:
    """An option that takes by how much something may grow, such as +1%, and gives it as a share."""

    def parse(text: str) -> float:
        found = re.fullmatch(r"([+-]?\d{1,6}(?:\.\d{1,6})?) ?%", str(text).strip(), re.ASCII)
        if found is None or float(found[1]) <= -100:
            raise typer.BadParameter(f"got {str(text)!r:.60}; give a change in percent, such as +1% or 0%")
        return float(found[1]) / 100

    return typer.Option(flag, metavar="+X%", parser=parse, help=help, rich_help_panel=group)


def size(flag: str, usual: str, *, help: str, group: str | None = None) -> Any:
    """An option that takes a number of bytes, such as 500MB or 2GB, and else says what came and what is allowed.

    Of a budget, which has no usual value, 0 is not.
    """

    def parse(text: str) -> int:
        return int(_read(kind, text))

    kind = amounts.SIZE if usual else amounts.FILE_SIZE
    told = f"{help} [default: {usual}]" if usual else help
    return typer.Option(flag, metavar="SIZE", parser=parse, help=told, rich_help_panel=group, show_default=False)


def choice(flag: str, names: tuple[str, ...], *, help: str, group: str | None = None) -> Any:
    """An option that takes a name, of which the shell completes those that are known."""
    return typer.Option(flag, metavar="NAME", help=help, rich_help_panel=group, autocompletion=completed(names))


def words(flag: str, kind: str, *, help: str, group: str | None = None) -> Any:
    """An option that takes a text, of which the help says the kind: LIST, CHECKPOINT."""
    return typer.Option(flag, metavar=kind, help=help, rich_help_panel=group)


def switch(flag: str, *, help: str, group: str | None = None) -> Any:
    """An option that is either typed or not."""
    return typer.Option(flag, help=help, rich_help_panel=group)


def completed(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """What typer asks for the names that begin as the word that is being typed."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def file_name(text: str) -> Path:
    """The path of a file to write; an empty one is refused."""
    if not str(text):
        raise typer.BadParameter("got an empty name; give the name of a file to write")
    return Path(text)


def folder_name(text: str) -> Path:
    """The path of a folder to write; an empty one is refused, and one that would be called like a file."""
    if not str(text) or Path(text).suffix in OF_FILES:
        raise typer.BadParameter(f"got {str(text)!r:.60}; give the name of a folder, such as out")
    return Path(text)


def _read(kind: Amount, text: str) -> float:
    try:
        return kind.read(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
