"""What an interrupted run would do otherwise than the one that is asked for, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

PLAN = "plan"
TOLD = ("seed", "task", "precision")  # whose values say something; the others are digests
USUAL = "the usual"
MOST = 4
LONGEST = 100


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A few words on every fact that differs, with both values where they say something: "seed (0, now 1)".

    Args:
        before: The facts of the interrupted run, see `compress.training.engine.facts`.
        now: Of the one that is asked for.
    """
    found: list[str] = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name, ""), now.get(name, "")
        if old == new:
            continue
        if name == PLAN:
            found.append(f"plan ({_plan(old, new)})" if _plan(old, new) else name)
        else:
            found.append(f"{name} ({old or USUAL}, now {new or USUAL})" if name in TOLD else name)
    return found


def _plan(old: str, new: str) -> str:
    """What differs between two plans, as `compress.phase.describe` gives them; empty where that cannot be read."""
    try:
        found = list(_phases(json.loads(old), json.loads(new)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    return "; ".join(found[:MOST]) + (f"; and {len(found) - MOST} more" if len(found) > MOST else "")


def _phases(old: list[Any], new: list[Any]) -> Iterator[str]:
    names = [[phase["name"] for phase in plan] for plan in (old, new)]
    if names[0] != names[1]:
        yield f"phases: {_shown(', '.join(names[0]))}, now {_shown(', '.join(names[1]))}"
        return
    for one, other in zip(old, new, strict=True):
        where = f"phase {one['name']!r}, "
        yield from (where + text for text in _fields(one, other, but="terms"))
        for term, changed in zip_longest(one["terms"], other["terms"]):
            if term is None or changed is None or term["name"] != changed["name"]:
                yield f"{where}terms: {_names(one['terms'])}, now {_names(other['terms'])}"
                break
            yield from (f"{where}term {term['name']!r}, {text}" for text in _fields(term, changed))


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], but: str = "") -> Iterator[str]:
    for name in sorted((old.keys() | new.keys()) - {but}):
        if old.get(name) != new.get(name):
            yield f"{name}: {_shown(old.get(name))}, now {_shown(new.get(name))}"


def _names(terms: list[Any]) -> str:
    return " + ".join(term["name"] for term in terms)


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
