"""Methods: each a function from a lesson to phases, in one table by name."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from compress.recipes import method as methods
from compress.recipes.indistill import INDISTILL, PKT_H_CR
from compress.recipes.method import Method, Recipe
from compress.recipes.side import AT, ATTENTION, HINTS, SIMULTANEOUS
from compress.recipes.single import CONTRASTIVE, DIST, DKD, MKT, NO_TEACHER, OKD, PKT
from compress.recipes.stagewise import FSP, STAGEWISE, TRADITIONAL

__all__ = ["RECIPES", "Method", "Recipe", "for_recovery", "read_method", "usual_recovery"]

_SINGLE = (NO_TEACHER, OKD, HINTS, ATTENTION, MKT, PKT, CONTRASTIVE)
_AUXILIARY = (PKT_H_CR, INDISTILL)
_STAGES = (STAGEWISE, TRADITIONAL, SIMULTANEOUS, FSP, AT)
_LATER = (DKD, DIST)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (*_SINGLE, *_AUXILIARY, *_STAGES, *_LATER)}

# What a recipe's knobs are in a recovery where nobody set any of some: the network was trained, and knows its teacher.
RECOVERING: Mapping[str, tuple[Mapping[str, Any], Set[str]]] = {
    "attention": ({"beta": 10.0}, {"beta"}),
    "hints": ({"start": "identity"}, {"start", "teacher_stage"}),
    "indistill": ({"share": 0.5}, {"scheme", "a", "b", "share"}),
    "mkt": ({"beta": 0.1}, {"beta"}),
    "pkt_h_cr": ({"weight": 1.0}, {"weight"}),
}


def for_recovery(method: Method) -> Method:
    """A method as a network teaches what was cut from it, or rounded; see `RECOVERING`.

    The maps of `hints` begin as the same, channel by channel; the layers of `indistill` have their share of whatever
    epochs there are; the maps of `pkt_h_cr` count as much as its embedding, for the critical period is over; what
    `attention` and `mkt` liken is alike by then, and weighs less beside the task, or it undoes what was fitted.

    Args:
        method: Any; where its knobs decide this themselves, it stays as it is.
    """
    given, unless = RECOVERING.get(method.name, ({}, frozenset()))
    return method if method.knobs.keys() & unless else replace(method, knobs={**given, **method.knobs})


def usual_recovery(settings: Mapping[str, str] | None = None, *, task: str = "classification") -> Method:
    """What a pruned network is taught by where nobody says: the whole one's logits and those of its maps that are left.

    In retrieval it is PKT on the embedding: the logits of such a network may never have been taught anything.

    Args:
        settings: Of its knobs, where not all are as usual.
        task: What the network is for.
    """
    if task == "retrieval":
        return read_method("pkt", settings or {})
    return read_method("simultaneous", {"alpha": "0.1"} | dict(settings or {}))


def read_method(name: str, settings: Mapping[str, str] | None = None) -> Method:
    """The method that words describe: "indistill", {"last": "pkt", "last.beta": "5"}.

    Raises:
        PlanError: A name is unknown, or a value cannot be read.
    """
    return methods.read_method(name, settings or {}, RECIPES)
