"""What a recipe says of a knob out of its range."""

from __future__ import annotations

import math
from collections.abc import Iterable

from compress.errors import PlanError, unknown_name


def check_positive(method: str, **knobs: float) -> None:
    """Nothing, once every knob is above 0 and finite; PlanError otherwise."""
    for name, value in knobs.items():
        if not 0 < value < math.inf:
            raise PlanError(f"{method}: {name} is {value}; it must be above 0")


def check_share(method: str, **knobs: float) -> None:
    """Nothing, once every knob is in [0, 1]; PlanError otherwise."""
    for name, value in knobs.items():
        if not 0 <= value <= 1:
            raise PlanError(f"{method}: {name} is {value}; allowed is 0 to 1")


def check_choice(method: str, kind: str, value: str, known: Iterable[str]) -> None:
    """Nothing, once a knob that takes one of some words has one of them; PlanError otherwise."""
    known = tuple(known)
    if value not in known:
        raise PlanError(f"{method}: {unknown_name(kind, value, known)}")
