"""What an interrupted run would do otherwise is told in words, with the old value and the new one."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from compress.losses import kd_loss
from compress.phase import OPTIMIZERS, Fit, Phase, S, T, Term, describe
from compress.training.differences import differences

FIT = Fit(2, OPTIMIZERS["adam"](1e-3), (1.0, 1.0))
KD = Term(partial(kd_loss, tau=4.0), (S("logits"), T("logits")), 0.9, "kd")
PHASE = Phase("okd", (KD,), FIT)


def _plan(*phases: Phase) -> dict[str, str]:
    return {"plan": json.dumps(describe(phases)), "seed": "0", "data": "a"}


@pytest.mark.parametrize(
    ("phases", "told"),
    [
        ((replace(PHASE, fit=replace(FIT, batch_size=64)),), "phase 'okd', batch_size: 128, now 64"),
        ((replace(PHASE, train=("logits",)),), "phase 'okd', train: None, now logits"),
        ((replace(PHASE, terms=(replace(KD, weight=0.5),)),), "phase 'okd', term 'kd', weight: 0.9, now 0.5"),
        (
            (replace(PHASE, terms=(replace(KD, loss=partial(kd_loss, tau=2.0)),)),),
            "phase 'okd', term 'kd', loss: compress.losses.logits.kd_loss(tau=4.0), now compress.losses.logits.kd_loss("
            "tau=2.0)",
        ),
        ((replace(PHASE, terms=(KD, replace(KD, name="more"))),), "phase 'okd', terms: kd, now kd + more"),
        ((PHASE, replace(PHASE, name="then")), "phases: okd, now okd, then"),
    ],
)
def test_the_place_and_both_values_are_told(phases: tuple[Phase, ...], told: str) -> None:
    assert differences(_plan(PHASE), _plan(*phases)) == [f"plan ({told})"]


def test_many_differences_are_counted() -> None:
    many = [replace(PHASE, name=f"p{number}") for number in range(9)]
    others = [replace(phase, fit=replace(FIT, batch_size=7)) for phase in many]
    (told,) = differences(_plan(*many), _plan(*others))
    assert told.count("now 7") == 4
    assert told.endswith("; and 5 more)")


@pytest.mark.parametrize("old", ["0f" * 32, "[1]", '{"a": 1}', "[" * 10_000, '[{"name": 3}]'])
def test_a_plan_that_cannot_be_read_is_named(old: str) -> None:
    assert differences(_plan(PHASE) | {"plan": old}, _plan(PHASE)) == ["plan"]


def test_digests_are_named_and_numbers_shown() -> None:
    assert differences(_plan(PHASE), _plan(PHASE)) == []
    other = _plan(PHASE) | {"seed": "7", "data": "b"}
    assert differences(_plan(PHASE), other) == ["data", "seed (0, now 7)"]
    precise = _plan(PHASE) | {"precision": "bf16"}
    assert differences(_plan(PHASE), precise) == ["precision (the usual, now bf16)"]
