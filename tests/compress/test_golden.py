"""The losses of every method on few digits, as recorded; another processor rounds otherwise, but learns alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from plans import make_guide, make_lesson, make_student

from compress.data import Dataset
from compress.phase import Fit
from compress.recipes import RECIPES, read_method
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run

GOLDEN = {
    "no_teacher": [[2.294], [2.221], [2.185]],
    "okd": [[2.293, 0.02431], [2.244, 0.01264], [2.224, 0.00846]],
    "pkt": [[2.303, 0.002952], [2.293, 0.002482], [2.29, 0.002564]],
    "indistill": [[0.7776], [0.7565], [1.334], [2.303, 0.02192], [2.259, 0.01119]],
}
SETTINGS = {"indistill": {"a": "1", "b": "0", "last": "okd"}}
EPOCHS = {"indistill": 5}


@pytest.mark.parametrize("name", RECIPES)
def test_a_method_learns_as_recorded(name: str, digits: Dataset, make_fit: Callable[..., Fit]) -> None:
    student, guide = make_student(), make_guide()
    method = read_method(name, SETTINGS.get(name))
    shown = method.shown(guide, student)
    phases = method.phases(make_lesson(student, shown), make_fit(EPOCHS.get(name, 3), rate=1e-3))
    found = [
        list(report.losses.values()) for report in run(phases, student, digits, Run(CLASSIFICATION), teacher=shown)
    ]
    assert found == [pytest.approx(losses, rel=2e-2) for losses in GOLDEN[name]]
