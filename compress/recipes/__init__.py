"""Methods: each a function from a lesson to phases, in one table by name."""

from __future__ import annotations

from collections.abc import Mapping

from compress.recipes import method as methods
from compress.recipes.indistill import INDISTILL, PKT_H_CR, for_recovery
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
