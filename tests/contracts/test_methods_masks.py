"""What every method does where the targets are masks: it teaches, or says what it misses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from boxes import SEE, boxes
from torch import Tensor, nn
from watch import moved, same, state_of

from compress.data import Dataset
from compress.errors import PlanError
from compress.phase import Fit, Lesson, Phase
from compress.preprocessing import Scale
from compress.recipes import RECIPES, Method, read_method
from compress.stages import Stage, Staged
from compress.tasks import SEGMENTATION
from compress.training.engine import Run, run

MakeFit = Callable[..., Fit]

MARGIN = 0.25  # in mean IoU of three classes
KNOBS = {"indistill": {"a": "0", "last": "no_teacher"}}
WITHOUT_EMBEDDING = sorted(name for name, recipe in RECIPES.items() if "embedding" not in recipe.needs)
EPOCHS = 8


class _Masker(nn.Module):
    """A U-Net of one descent."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.layer1, self.up1 = _block(1, width, 1), _block(width, 2 * width, 2), _block(3 * width, width, 1)
        self.classifier = nn.Conv2d(width, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        stem = self.stem(image)
        deep = nn.functional.interpolate(self.layer1(stem), scale_factor=2.0)
        answer: Tensor = self.classifier(self.up1(torch.cat((stem, deep), dim=1)))
        return answer


def _block(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _masker(width: int, seed: int) -> Staged:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _Masker(width)
    widths = {"stem": width, "layer1": 2 * width, "up1": width, "logits": 3}
    taps = {name: "classifier" if name == "logits" else name for name in widths}
    stages = (Stage(name, taps[name], (taps[name],), width) for name, width in widths.items())
    return Staged(model, tuple(stages), scale=Scale(SEE.mean, SEE.std))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return replace(boxes(), val=None)


@pytest.fixture(scope="module")
def teachers(data: Dataset, make_fit: MakeFit) -> dict[int, Staged]:
    """A trained teacher by its width."""
    made = {width: _masker(width, 1) for width in (4, 8)}
    for network in made.values():
        list(run([Phase("task", SEGMENTATION.terms, make_fit(6, rate=2e-2))], network, data, Run(SEGMENTATION)))
    return made


def _plan(method: Method, student: Staged, guide: Staged | None, fit: Fit) -> list[Phase]:
    return method.phases(Lesson(student, guide, SEGMENTATION, 48, 3, 0), fit)


@pytest.mark.parametrize("name", WITHOUT_EMBEDDING)
def test_a_method_teaches_masks(name: str, data: Dataset, teachers: dict[int, Staged], make_fit: MakeFit) -> None:
    method, student = read_method(name, KNOBS.get(name)), _masker(4, 3)
    equal = {"equal shapes", "equal widths"} & set(method.recipe.needs) and method.recipe.guide == "teacher"
    guide = method.shown(teachers[4 if equal else 8], student)
    before, guide_before = state_of(student), state_of(guide)
    start = SEGMENTATION.evaluate(student, data)["miou"]
    fit = make_fit(EPOCHS + method.fewest_epochs(student), rate=2e-2, batch_size=12)
    list(run(_plan(method, student, guide, fit), student, data, Run(SEGMENTATION), teacher=guide))
    assert SEGMENTATION.evaluate(student, data)["miou"] > start + MARGIN
    changed = moved(before, state_of(student))
    assert {key.partition(".")[0] for key in changed} == {"stem", "layer1", "up1", "classifier"}
    assert same(state_of(guide), guide_before)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - set(WITHOUT_EMBEDDING)))
def test_a_method_of_embeddings_says_that_there_is_none(
    name: str, teachers: dict[int, Staged], make_fit: MakeFit
) -> None:
    with pytest.raises(PlanError, match=f"{name}: the student has no embedding, only stem, layer1, up1, logits; take"):
        _plan(read_method(name), _masker(4, 3), teachers[8], make_fit(20))


def test_indistill_says_what_its_last_method_misses(teachers: dict[int, Staged], make_fit: MakeFit) -> None:
    with pytest.raises(PlanError, match="pkt: the student has no embedding"):
        _plan(read_method("indistill"), _masker(4, 3), teachers[8], make_fit(20))
