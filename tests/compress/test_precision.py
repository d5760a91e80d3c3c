"""bfloat16 where the device has it: what computes in it, what does not, and where it is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plans import CE, make_guide, make_student
from torch import Tensor
from watch import close, same, state_of

from compress.data import Dataset
from compress.errors import PlanError
from compress.losses import kd_loss
from compress.phase import Fit, Phase, S, T, Term
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, facts, run
from compress.training.precision import check_precision

MakeFit = Callable[..., Fit]
BF16 = Run(CLASSIFICATION, precision="bf16")


@pytest.fixture
def on_bf16() -> None:
    """A processor that has it; elsewhere the test does not apply."""
    try:
        check_precision("bf16", torch.device("cpu"))
    except PlanError as error:
        pytest.skip(str(error))


@pytest.fixture
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor of an older make."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False}, raising=False)


def _kd_of_rounded(student: Tensor, teacher: Tensor) -> Tensor:
    """The divergence of logits in float32 that bfloat16 can hold; two images of the check are not computed so."""
    assert (student.dtype, teacher.dtype) == (torch.float32, torch.float32)
    if len(student) > 2:
        for logits in (student.detach(), teacher):
            assert torch.equal(logits, logits.bfloat16().float())
    return kd_loss(student, teacher, 4.0)


KD = Term(_kd_of_rounded, (S("logits"), T("logits")), 1.0, "kd")


@pytest.mark.usefixtures("on_bf16")
@pytest.mark.parametrize("data", ["digits", "varied_digits"])
def test_both_networks_compute_in_it_and_losses_weights_and_validation_do_not(
    data: str, request: pytest.FixtureRequest, make_fit: MakeFit
) -> None:
    """The teacher is looked up, or asked live."""
    images: Dataset = request.getfixturevalue(data)
    student, keys = make_student(), list(make_student().model.state_dict())
    reports = list(run([Phase("p", (KD, CE), make_fit(3))], student, images, BF16, teacher=make_guide()))
    assert reports[-1].losses["ce"] < reports[0].losses["ce"]
    assert list(student.model.state_dict()) == keys
    assert {value.dtype for value in student.model.state_dict().values()} == {torch.float32, torch.int64}
    if images.val is not None:
        val = next(images.val.batches(len(images.val)))
        with torch.no_grad():
            right = student.model(student.scale(val.image)).argmax(dim=1) == val.target
        assert reports[-1].score == pytest.approx(float(right.double().mean()), abs=1e-6)


@pytest.mark.usefixtures("on_bf16")
def test_it_trains_nearly_as_float32_does_and_is_another_run(digits: Dataset, make_fit: MakeFit) -> None:
    def trained(how: Run) -> Staged:
        student = make_student()
        list(run([Phase("p", (CE,), make_fit(2, rate=1e-3))], student, digits, how))
        return student

    exact, rounded = trained(Run(CLASSIFICATION)), trained(BF16)
    assert not same(state_of(exact), state_of(rounded))
    assert close(state_of(exact), state_of(rounded), within=0.1)
    assert same(state_of(trained(BF16)), state_of(rounded))


def test_it_is_a_fact_that_decides_a_run_and_float32_is_no_news(digits: Dataset, make_fit: MakeFit) -> None:
    plan = [Phase("p", (CE,), make_fit(1))]
    one, other = (facts(plan, make_student(), digits, how, None) for how in (Run(CLASSIFICATION), BF16))
    assert other == one | {"precision": "bf16"}


@pytest.mark.usefixtures("without_bf16")
def test_a_processor_without_it_refuses_in_words(digits: Dataset, make_fit: MakeFit) -> None:
    plan = [Phase("p", (CE,), make_fit(1))]
    with pytest.raises(
        PlanError, match=r"precision bf16: this cpu has no instructions for bfloat16.* leave it at fp32"
    ):
        run(plan, make_student(), digits, BF16)
    check_precision("fp32", torch.device("cpu"))
