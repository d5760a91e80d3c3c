"""edgepress methods"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.recipes import Recipe


def methods() -> None:
    """List the methods.

    Each with what it does, its paper, what it needs, and its knobs (--set) with their defaults.

    Examples:
        edgepress methods
        edgepress methods --json
    """
    from cli import say
    from compress.recipes import RECIPES

    facts = {name: _facts(recipe) for name, recipe in RECIPES.items()}
    say.result({"methods": facts}, *(line for name, known in facts.items() for line in _lines(name, known)))


def _facts(recipe: Recipe) -> dict[str, Any]:
    from compress.recipes import Method

    guide = () if recipe.guide == "nobody" else (recipe.guide,)
    knobs = {name: value.name if isinstance(value, Method) else value for name, value in recipe.knobs.items()}
    return {"about": recipe.about, "paper": recipe.paper, "needs": [*guide, *recipe.needs], "knobs": knobs}


def _lines(name: str, facts: dict[str, Any]) -> list[str]:
    knobs = " ".join(f"{knob}={value}" if value != "" else f"{knob}=''" for knob, value in facts["knobs"].items())
    rest = {"paper": facts["paper"], "needs": ", ".join(facts["needs"]), "knobs": knobs}
    return [f"{name}: {facts['about']}", *(f"  {what}: {text}" for what, text in rest.items() if text)]
