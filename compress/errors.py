"""The exceptions of edgepress: each knows the exit code its command ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CompressError(Exception):
    """Something the user can mend: the message says where, what came, what is allowed and what to do."""

    exit_code = 2


class DataError(CompressError):
    """A data set is missing, broken, or does not fit the network."""


class UnfitDataError(DataError):
    """A data set, or images at all, are not what a network takes: of other classes, or seen otherwise."""


class CheckpointError(CompressError):
    """A checkpoint cannot be read, or does not describe the network it claims to hold."""


class PlanError(CompressError):
    """A training plan cannot run as it stands; found before its first batch."""


class OutputError(CompressError):
    """A result cannot be written where it was asked for."""


class ExportError(CompressError):
    """A network cannot be written in an edge format, or an exported file cannot be read."""


class MissingExtraError(CompressError):
    """An optional dependency is missing; the message says how to install it."""

    exit_code = 4


class GateError(CompressError):
    """A result was made but does not hold what it must: parity, budget, a finite loss."""

    exit_code = 3


class DivergedError(GateError):
    """A loss became NaN or infinite."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is not in a table, with the nearest known one.

    Args:
        kind: What was looked up, e.g. "data set".
        name: What came.
        known: Every allowed name.
    """
    names = sorted(known)
    near = _nearest(name, names)
    hint = f" Did you mean {near!r}?" if near else ""
    shown = ", ".join(names) if len(names) <= 20 else ", ".join(names[:20]) + f" and {len(names) - 20} more"
    return f"unknown {kind} {name!r}.{hint} Known: {shown}"


def _nearest(name: str, names: list[str]) -> str | None:
    """The name that is most like another, if any is; where both begin alike up to a colon, by what follows."""
    prefix = name[: name.find(":") + 1]
    if not any(each.startswith(prefix) for each in names):
        prefix = ""
    ends = {each.removeprefix(prefix): each for each in names if each.startswith(prefix)}
    near = difflib.get_close_matches(name.removeprefix(prefix), ends, n=1, cutoff=0.5)
    return ends[near[0]] if near else None
