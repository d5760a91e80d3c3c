"""The losses of every method on few digits, as recorded; another processor rounds otherwise, but learns alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from plans import make_guide, make_lesson, make_student

from compress.data import Dataset
from compress.phase import Fit
from compress.recipes import RECIPES, Method, read_method
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run

GOLDEN = {
    "no_teacher": [[2.294], [2.221], [2.185]],
    "okd": [[2.293, 0.02431], [2.244, 0.01264], [2.224, 0.00846]],
    "hints": [[2.294, 0.5117], [2.241, 0.437], [2.219, 0.3801]],
    "attention": [[2.295, 0.01146, 0.0314, 0.0], [2.24, 0.01147, 0.02377, 0.0], [2.218, 0.01163, 0.01735, 0.0]],
    "mkt": [[2.301, 1.587], [2.287, 1.186], [2.283, 0.9864]],
    "pkt": [[2.303, 0.002952], [2.293, 0.002482], [2.29, 0.002564]],
    "crd": [[2.307, 14.13], [2.289, 22.63], [2.285, 18.89]],
    "pkt_h_cr": [
        [2.307, 0.003203, 0.0002875, 0.004773, 0.007018],
        [2.301, 0.002589, 0.0002769, 0.004156, 0.0062],
        [2.298, 0.002717, 0.0002878, 0.004985, 0.006887],
    ],
    "indistill": [[1.145], [0.9688], [0.8433], [2.305, 0.02351], [2.259, 0.01205]],
    "stagewise": [[0.8574], [0.8264], [1.188], [2.31]],
    "traditional": [[0.836], [2.326], [2.269]],
    "simultaneous": [[2.3, 0.8591, 0.8435, 1.241], [2.263, 0.8369, 0.7769, 1.121], [2.249, 0.82, 0.7328, 1.051]],
    "fsp": [[0.1379, 0.7947], [2.297], [2.238]],
    "at": [[2.294, 0.0116, 0.03238, 0.0], [2.223, 0.01152, 0.03049, 0.0], [2.187, 0.01144, 0.02946, 0.0]],
    "dkd": [[2.294, 0.198], [2.243, 0.1023], [2.22, 0.06835]],
    "dist": [[2.304, 4.12], [2.286, 3.078], [2.29, 2.415]],
}
SETTINGS = {"indistill": {"a": "1", "b": "0", "last": "okd"}, "crd": {"negatives": "512"}}
EPOCHS = {"indistill": 5, "stagewise": 4}


@pytest.mark.parametrize("name", RECIPES)
def test_a_method_learns_as_recorded(name: str, digits: Dataset, make_fit: Callable[..., Fit]) -> None:
    student, method = make_student(), read_method(name, SETTINGS.get(name))
    shown = method.shown(make_student(9) if _takes_its_like(method) else make_guide(), student)
    phases = method.phases(make_lesson(student, shown), make_fit(EPOCHS.get(name, 3), rate=1e-3))
    found = [
        list(report.losses.values()) for report in run(phases, student, digits, Run(CLASSIFICATION), teacher=shown)
    ]
    assert found == [pytest.approx(losses, rel=2e-2) for losses in GOLDEN[name]]


def _takes_its_like(method: Method) -> bool:
    """Whether it can only learn maps of its own shapes from a teacher that nothing narrows."""
    return method.recipe.guide == "teacher" and bool({"equal shapes", "equal widths"} & set(method.recipe.needs))
