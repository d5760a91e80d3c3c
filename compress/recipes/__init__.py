"""Every method, side by side: a recipe turns a lesson and a fit into a list of phases."""

from __future__ import annotations

from collections.abc import Mapping

from compress.recipes import method as methods
from compress.recipes.indistill import INDISTILL
from compress.recipes.method import Method, Recipe
from compress.recipes.side import SIMULTANEOUS
from compress.recipes.single import NO_TEACHER, OKD, PKT
from compress.recipes.stagewise import STAGEWISE, TRADITIONAL

__all__ = ["RECIPES", "Method", "Recipe", "read_method"]

_ALL = (NO_TEACHER, OKD, PKT, INDISTILL, STAGEWISE, TRADITIONAL, SIMULTANEOUS)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def read_method(name: str, settings: Mapping[str, str] | None = None) -> Method:
    """The method that words describe: "indistill", {"last": "pkt", "last.beta": "5"}.

    Raises:
        PlanError: A name is unknown, or a value cannot be read.
    """
    return methods.read_method(name, settings or {}, RECIPES)
