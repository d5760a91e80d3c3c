"""Recipes: the exact phases of each method, and methods by name."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from plans import CE, alike, kd, make_guide, make_lesson, make_student, pkt

from compress.errors import PlanError
from compress.losses import dist_loss, dkd_loss, mkt_loss
from compress.phase import LABELS, OPTIMIZERS, Fit, Lesson, Phase, S, T, Term
from compress.recipes import RECIPES, Method, read_method
from compress.recipes.method import Recipe
from compress.schedule import Schedule
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, Task

FIT = Fit(70, OPTIMIZERS["adam"](1e-3), Schedule("step", 70), "best score", 64)


@pytest.fixture(scope="module")
def student() -> Staged:
    return make_student()


@pytest.fixture(scope="module")
def teacher() -> Staged:
    return make_guide()


def _plan(
    student: Staged, teacher: Staged | None, name: str, *, task: Task = CLASSIFICATION, fit: Fit = FIT, **settings: str
) -> list[Phase]:
    words = {knob.replace("_", "."): text for knob, text in settings.items()}
    return read_method(name, words).phases(make_lesson(student, teacher, task), fit)


# one phase


def test_no_teacher_is_the_task(student: Staged, teacher: Staged) -> None:
    assert _plan(student, teacher, "no_teacher") == _plan(student, None, "no_teacher") == [Phase("task", (CE,), FIT)]


def test_okd_weighs_task_and_divergence(student: Staged, teacher: Staged) -> None:
    ce = replace(CE, weight=0.1)
    assert alike(_plan(student, teacher, "okd"), Phase("okd", (ce, kd(4.0, 0.9)), FIT))
    ce = replace(CE, weight=0.75)
    assert alike(_plan(student, teacher, "okd", alpha="0.75", tau="2"), Phase("okd", (ce, kd(2.0, 0.25)), FIT))


def test_okd_weighs_a_task_whose_weight_changes_by_the_epoch(student: Staged, teacher: Staged) -> None:
    task = replace(CLASSIFICATION, terms=(replace(CE, weight=(4.0, 2.0)),))
    plan = _plan(student, teacher, "okd", task=task, fit=FIT.window(0, 2), alpha="0.25")
    assert [term.weight for term in plan[0].terms] == [(1.0, 0.5), 0.75]


def test_pkt_is_the_task_and_the_embedding(student: Staged, teacher: Staged) -> None:
    assert _plan(student, teacher, "pkt") == [Phase("embedding", (CE, pkt(1000.0)), FIT)]
    assert _plan(student, teacher, "pkt", beta="5") == [Phase("embedding", (CE, pkt(5.0)), FIT)]


def test_mkt_is_the_task_and_the_distances_of_the_embedding(student: Staged, teacher: Staged) -> None:
    term = Term(mkt_loss, (S("embedding"), T("embedding")), 1.0, "mkt")
    assert _plan(student, teacher, "mkt") == [Phase("embedding", (CE, term), FIT)]
    plan = _plan(student, teacher, "mkt", beta="5")
    assert plan == [Phase("embedding", (CE, replace(term, weight=5.0)), FIT)]


def test_dkd_is_the_task_and_two_parts_of_the_divergence(student: Staged, teacher: Staged) -> None:
    loss = partial(dkd_loss, tau=2.0, alpha=1.0, beta=8.0)
    term = Term(loss, (S("logits"), T("logits"), LABELS), 1.0, "dkd")
    assert alike(_plan(student, teacher, "dkd", tau="2"), Phase("dkd", (CE, term), FIT))


def test_dist_is_the_task_and_two_kinds_of_ranks(student: Staged, teacher: Staged) -> None:
    loss = partial(dist_loss, tau=1.0, beta=2.0, gamma=3.0)
    term = Term(loss, (S("logits"), T("logits")), 1.0, "dist")
    assert alike(_plan(student, teacher, "dist", gamma="3"), Phase("dist", (CE, term), FIT))


# every recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_uses_the_whole_schedule(student: Staged, teacher: Staged, name: str) -> None:
    plan = _plan(student, teacher, name)
    assert sum(phase.fit.epochs for phase in plan) == FIT.epochs
    anew = [phase.fit.schedule == FIT.over(phase.fit.epochs).schedule for phase in plan]
    rates = [phase.fit.rate(epoch) for phase in plan for epoch in range(phase.fit.epochs)]
    assert all(anew) or rates == [FIT.rate(epoch) for epoch in range(FIT.epochs)]
    assert {phase.fit.batch_size for phase in plan} == {64}
    assert plan[-1].fit.keep == "best score"


LISTENING = sorted(name for name, recipe in RECIPES.items() if recipe.guide != "nobody")


WITHOUT_LABELS = sorted(set(LISTENING) - {name for name, recipe in RECIPES.items() if "labels" in recipe.needs})


@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_retrieval_uses_no_labels(student: Staged, teacher: Staged, name: str) -> None:
    plan = _plan(student, teacher, name, task=RETRIEVAL)
    assert all(ref != LABELS for phase in plan for term in phase.terms for ref in term.args)
    assert all(sum(term.weight_at(0) for term in phase.terms) > 0.99 for phase in plan)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - set(WITHOUT_LABELS)))
def test_a_recipe_that_needs_labels_says_so(student: Staged, teacher: Staged, name: str) -> None:
    with pytest.raises(PlanError, match=f"{name}: task 'retrieval' has no loss of its own; take the task classif"):
        _plan(student, teacher, name, task=RETRIEVAL)


@pytest.mark.parametrize("name", LISTENING)
def test_whoever_listens_needs_a_teacher(student: Staged, name: str) -> None:
    with pytest.raises(PlanError, match=f"{name}: learns from a teacher, and there is none"):
        _plan(student, None, name)


def test_a_recipe_that_ends_in_another_needs_what_that_one_needs(student: Staged, teacher: Staged) -> None:
    with pytest.raises(PlanError, match="task 'retrieval' has no loss of its own"):
        _plan(student, teacher, "indistill", task=RETRIEVAL, last="no_teacher")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("okd", {"alpha": "1.01"}, "alpha is 1.01; allowed is 0 to 1"),
        ("okd", {"alpha": "-0.1"}, "alpha is -0.1"),
        ("okd", {"alpha": "nan"}, "alpha is nan"),
        ("okd", {"tau": "0"}, "tau is 0.0; it must be above 0"),
        ("okd", {"tau": "inf"}, "tau is inf"),
        ("mkt", {"beta": "0"}, "mkt: beta is 0.0; it must be above 0"),
        ("crd", {"tau": "0"}, "crd: tau is 0.0"),
        ("crd", {"negatives": "0"}, "crd: negatives is 0"),
        ("crd", {"momentum": "1"}, "crd: momentum is 1.0; allowed is 0 up to, not including, 1"),
        ("dkd", {"beta": "0"}, "dkd: beta is 0.0"),
        ("dist", {"tau": "-1"}, "dist: tau is -1.0"),
        ("pkt_h_cr", {"weight": "0"}, "pkt_h_cr: weight is 0.0"),
        ("pkt_h_cr", {"decay": "1.1"}, "pkt_h_cr: decay is 1.1; allowed is 0 to 1"),
        ("indistill", {"scheme": "wd"}, "indistill: unknown scheme 'wd'. Known: all, decay, l-cls"),
        ("indistill", {"channels": "l2"}, "indistill: unknown choice of channels 'l2'"),
        ("indistill", {"scheme": "decay", "decay": "-1"}, "indistill: decay is -1.0; allowed is 0 to 1"),
        ("pkt", {"beta": "-1"}, "beta is -1.0; it must be above 0"),
        ("pkt", {"beta": "nan"}, "beta is nan"),
        ("indistill", {"last_beta": "0"}, "pkt: beta is 0.0"),
        ("indistill", {"follow": "papers"}, "unknown source to follow 'papers'. Did you mean 'paper'"),
    ],
)
def test_a_knob_out_of_range_is_an_error(
    student: Staged, teacher: Staged, name: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        _plan(student, teacher, name, **settings)


# methods by name


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("indistil", {}, "unknown method 'indistil'. Did you mean 'indistill'. Known: "),
        ("okd", {"alfa": "1"}, "okd: unknown knob 'alfa'. Did you mean 'alpha'"),
        ("no_teacher", {"alpha": "1"}, "no_teacher: unknown knob 'alpha': it has none"),
        ("okd", {"alpha": "much"}, "okd: alpha is 'much'; it must be a number"),
        ("indistill", {"a": "2.5"}, "indistill: a is '2.5'; it must be a whole number"),
        ("indistill", {"last": "pkd"}, "indistill.last: unknown method 'pkd'. Did you mean 'pkt'"),
        ("indistill", {"last": "okd", "last.beta": "2"}, "indistill.last: okd: unknown knob 'beta'"),
        ("indistill", {"first.beta": "2"}, "indistill: unknown knob 'first'"),
        ("indistill", {"a.b": "2"}, "indistill: a is a whole number, not a method; it has no knobs to set"),
        ("indistill", {"beta": "2"}, "indistill: unknown knob 'beta'"),
    ],
)
def test_a_method_that_cannot_be_read_is_an_error_at_once(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(PlanError, match=message.replace("?", ".")):
        read_method(name, settings)


def test_knobs_have_the_types_of_their_defaults() -> None:
    assert read_method("okd", {"tau": "2"}) == Method(RECIPES["okd"], {"tau": 2.0})
    assert type(read_method("pkt", {"beta": "3"}).knobs["beta"]) is float
    assert read_method("indistill", {"b": "0"}).knobs == {"b": 0}
    assert read_method("indistill", {"last": "okd", "last.tau": "3"}).knobs == {
        "last": Method(RECIPES["okd"], {"tau": 3.0})
    }
    assert read_method("no_teacher").knobs == {}


def test_every_recipe_says_which_knobs_it_has() -> None:
    knobs = {name: recipe.knobs for name, recipe in RECIPES.items()}
    assert knobs["no_teacher"] == {}
    assert knobs["okd"] == {"alpha": 0.1, "tau": 4.0}
    assert knobs["stagewise"] == {"loss": "mse", "follow": "paper"}
    assert knobs["indistill"]["last"] == Method(RECIPES["pkt"])


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_does_and_how_many_epochs_it_needs(
    student: Staged, teacher: Staged, name: str
) -> None:
    recipe, method = RECIPES[name], Method(RECIPES[name])
    assert recipe.about
    assert recipe.paper or name == "no_teacher"
    lesson, fewest = make_lesson(student, teacher), method.fewest_epochs(student)
    assert sum(phase.fit.epochs for phase in method.phases(lesson, FIT.over(fewest))) == fewest
    if fewest > 1:
        with pytest.raises(PlanError, match=rf"{name}: .*give at least {fewest}"):
            method.phases(lesson, FIT.over(fewest - 1))


def test_a_recipe_of_ones_own_works_like_those_of_the_table(student: Staged) -> None:
    def twice(lesson: Lesson, fit: Fit, *, first: int = 1) -> list[Phase]:
        """The task, in two phases."""
        return [
            Phase("a", lesson.task.terms, fit.window(0, first)),
            Phase("b", lesson.task.terms, fit.window(first, fit.epochs)),
        ]

    method = Method(Recipe("twice", twice, "nobody"), {"first": 3})
    assert method.recipe.knobs == {"first": 1}
    assert [phase.fit.epochs for phase in method.phases(make_lesson(student, None), FIT)] == [3, 67]
    assert method.shown(student, student) is student


def test_only_some_ask_for_an_auxiliary() -> None:
    assert {name for name, recipe in RECIPES.items() if recipe.guide == "auxiliary"} <= {"indistill", "pkt_h_cr"}
    assert {name for name, recipe in RECIPES.items() if recipe.guide == "nobody"} == {"no_teacher"}
