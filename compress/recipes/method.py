"""A method: a recipe with its knobs set, by hand or by the words of a command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from compress.errors import PlanError, unknown_name
from compress.phase import Fit, Lesson, Phase
from compress.stages import Staged

Guide = Literal["nobody", "teacher", "auxiliary"]
Need = Literal["labels", "stages", "embedding", "equal shapes", "equal widths"]


def as_it_is(guide: Staged, student: Staged) -> Staged:
    """The guide itself: what most recipes learn from."""
    return guide


def one_epoch(student: Staged) -> int:
    """1: what most recipes need at least."""
    return 1


@dataclass(frozen=True)
class Recipe:
    """How a student learns.

    Attributes:
        name: To call it by.
        plan: (lesson, fit) and its knobs, keyword-only with defaults, to a list of phases.
        guide: Whom the student listens to.
        show: (guide, student), those knobs that it names, and the `seed` of the run where it names that, to what the
            student gets to see of its guide.
        fewest: (student) and those knobs that it names to the fewest epochs that a plan needs.
        about: What it does, in a line.
        paper: Where it comes from.
        needs: What must be there besides its guide: a task with labels, intermediate stages, an embedding, features of
            the same shape, or of the same number of channels, in guide and student.
    """

    name: str
    plan: Callable[..., list[Phase]]
    guide: Guide = "teacher"
    show: Callable[..., Staged] = as_it_is
    fewest: Callable[..., int] = one_epoch
    about: str = ""
    paper: str = ""
    needs: tuple[Need, ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether the student gets to see less than its whole guide."""
        return self.show is not as_it_is

    @property
    def matches(self) -> bool:
        """Whether it likens features of student and guide channel by channel."""
        return self.narrows or bool({"equal shapes", "equal widths"} & set(self.needs))

    @property
    def knobs(self) -> dict[str, Any]:
        """Every knob with its default."""
        return _knobs(self.plan)


@dataclass(frozen=True)
class Method:
    """A recipe and the knobs that differ from its defaults.

    Attributes:
        recipe: What is done.
        knobs: Knob to value; a knob may be a method itself.
    """

    recipe: Recipe
    knobs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return self.recipe.name

    @property
    def matches(self) -> bool:
        """Whether its recipe likens features channel by channel, or begins as if they were alike."""
        return self.recipe.matches or self.knobs.get("start") == "identity"

    def phases(self, lesson: Lesson, fit: Fit) -> list[Phase]:
        """The plan of the recipe; PlanError for a knob out of its range or a lesson it cannot give."""
        if self.recipe.guide != "nobody" and lesson.teacher is None:
            raise PlanError(f"{self.name}: learns from a teacher, and there is none")
        self._check_needs(lesson)
        return self.recipe.plan(lesson, fit, **self.knobs)

    def shown(self, guide: Staged, student: Staged, *, seed: int = 0) -> Staged:
        """What the student gets to see of its guide; the seed is that of the run, for what is drawn at random."""
        drawn = {"seed": seed} if "seed" in _knobs(self.recipe.show) else {}
        return self.recipe.show(guide, student, **self._knobs_of(self.recipe.show), **drawn)

    def fewest_epochs(self, student: Staged) -> int:
        """The fewest epochs of which the recipe makes a plan for this student."""
        return self.recipe.fewest(student, **self._knobs_of(self.recipe.fewest))

    def _check_needs(self, lesson: Lesson) -> None:
        needs, name = self.recipe.needs, self.name
        if "labels" in needs and not lesson.task.terms:
            raise PlanError(f"{name}: task {lesson.task.name!r} has no loss of its own; take the task classification")
        if "stages" in needs and not lesson.student.body:
            raise PlanError(
                f"{name}: the student has no intermediate stages; take cnn-s or resnet10, or the method okd"
            )
        for side, network in (("student", lesson.student), ("teacher", lesson.teacher)):
            names = [stage.name for stage in network.stages] if network else ["embedding"]
            if "embedding" in needs and "embedding" not in names:
                has = ", ".join(names)
                raise PlanError(
                    f"{name}: the {side} has no embedding, only {has}; take a method of stages or of logits, such as "
                    "stagewise or okd"
                )

    def _knobs_of(self, function: Callable[..., Any]) -> dict[str, Any]:
        return {name: self.knobs[name] for name in _knobs(function) if name in self.knobs}


def read_method(name: str, settings: Mapping[str, str], recipes: Mapping[str, Recipe]) -> Method:
    """The method that words describe: {"last": "pkt", "last.beta": "5"} sets a knob of a knob.

    Args:
        name: Of a recipe.
        settings: Knob to its value as text; it is read as the type of the knob's default.
        recipes: Those there are.

    Raises:
        PlanError: A name is unknown, or a value cannot be read.
    """
    if name not in recipes:
        raise PlanError(unknown_name("method", name, recipes))
    recipe = recipes[name]
    own = {knob: text for knob, text in settings.items() if "." not in knob}
    inner = {knob: text for knob, text in settings.items() if "." in knob}
    for knob in (*own, *(knob.partition(".")[0] for knob in inner)):
        if knob not in recipe.knobs:
            known = unknown_name("knob", knob, recipe.knobs) if recipe.knobs else f"unknown knob {knob!r}: it has none"
            raise PlanError(f"{name}: {known}")
    knobs: dict[str, Any] = {}
    for knob, default in recipe.knobs.items():
        deeper = {key.partition(".")[2]: text for key, text in inner.items() if key.partition(".")[0] == knob}
        if isinstance(default, Method):
            if knob in own or deeper:
                knobs[knob] = _inner(f"{name}.{knob}", own.get(knob, default.name), deeper, recipes)
        elif deeper:
            raise PlanError(f"{name}: {knob} is {_KIND[type(default)]}, not a method; it has no knobs to set")
        elif knob in own:
            knobs[knob] = _value(f"{name}: {knob}", own[knob], type(default))
    return Method(recipe, knobs)


def _inner(where: str, name: str, settings: Mapping[str, str], recipes: Mapping[str, Recipe]) -> Method:
    try:
        return read_method(name, settings, recipes)
    except PlanError as error:
        raise PlanError(f"{where}: {error}") from error


def _value(where: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise PlanError(f"{where} is {text!r}; it must be {_KIND[kind]}") from error


def _knobs(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


_KIND = {int: "a whole number", float: "a number", str: "a text"}
