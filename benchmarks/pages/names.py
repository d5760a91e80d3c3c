"""What files are called where many stand one below the other: by what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from benchmarks.document import Document, short_names
from compress.text import printable

SEVERAL = 3  # files from which on what they share is said once
LEAST = 6  # letters that are worth leaving out


@dataclass(frozen=True)
class Called:
    """What files are called.

    Attributes:
        names: Of each file.
        shared: What their paths begin with, the baseline's apart: "dist/digits-*"; "" for nothing.
    """

    names: Sequence[str]
    shared: str


def called(paths: Sequence[str], baseline: int | None) -> Called:
    """Each file by the end of its path that tells it from the others.

    Args:
        paths: Of the files, as they were given.
        baseline: The place of the one that the others are held against.
    """
    names = short_names(paths)
    others = [at for at in range(len(paths)) if at != baseline]
    folder = _shared([PurePath(paths[at]).parent.parts for at in others])
    begin = "".join(_shared([names[at] for at in others]))
    begin = begin[: max(map(begin.rfind, "-_/")) + 1]
    short = [name.removeprefix(begin) for name in names]
    if len(paths) < SEVERAL or len(begin) < LEAST or not all(short) or len(set(short)) < len(set(names)):
        begin, short = "", names
    shared = f"{PurePath(*folder)}/{begin}" if folder else begin
    return Called(short, f"{shared}*" if shared else "")


def with_called(document: Document) -> dict[str, Any]:
    """The same benchmark, its files called as `called` says, also where something is claimed of them."""
    files = document["files"]
    paths = [file["name"] for file in files]
    found = called(paths, document["baseline"]).names
    names = dict(zip(paths, found, strict=True))
    claims = [_renamed(one, names.get(one["file"], one["file"])) for one in document["claims"]]
    files = [{**file, "name": name} for file, name in zip(files, found, strict=True)]
    return {**document, "files": files, "claims": claims}


def said_once(said: Iterable[tuple[str, str]], of: int) -> Iterator[str]:
    """Each sentence in a line of its own, after the names of all files that it is about.

    Args:
        said: The name of a file, and what is said of it; nothing where that is "".
        of: How many files there are; of a sentence on so many, "all".
    """
    about: dict[str, list[str]] = {}
    for name, sentence in said:
        if sentence:
            about.setdefault(sentence, []).append(printable(name))
    for sentence, names in about.items():
        yield f"{'all' if len(names) == of > 1 else ', '.join(names)}: {sentence}"


def told_of(warnings: Iterable[str], names: Mapping[str, str]) -> Iterator[str]:
    """Warnings, of which those that are alike for several files are said once.

    Args:
        warnings: Some of which begin with the name of a file.
        names: Of each file as they have it, to what it is called.
    """
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    split = [(warning, re.match(f"({known}): ", warning)) for warning in warnings]
    yield from (warning for warning, found in split if not found)
    yield from said_once(((names[found[1]], warning[found.end() :]) for warning, found in split if found), len(names))


def _renamed(claim: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What became of a claim, its file called so."""
    sentence = str(claim["sentence"]).removeprefix(f"{claim['file']}: ")
    return {**claim, "file": name, "sentence": f"{name}: {sentence}"}


def _shared(paths: Sequence[Sequence[str]]) -> list[str]:
    """The parts that all of them begin with."""
    parts = []
    for column in zip(*paths, strict=False):
        if len(set(column)) > 1:
            break
        parts.append(column[0])
    return parts
