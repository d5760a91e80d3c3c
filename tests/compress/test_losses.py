"""The losses: a value worked by hand, a naive twin in float64, gradients, degenerate batches, wrong shapes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from compress.losses import cosine_kernel, cross_entropy_loss, feature_loss, kd_loss, pkt_loss, student_t_kernel
from compress.losses.logits import VOID
from compress.losses.relations import Kernel


def _features(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


# cross_entropy_loss


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    expected = (math.log(2.0) + math.log(4.0)) / 2
    assert cross_entropy_loss(logits, torch.tensor([0, 1])).item() == pytest.approx(expected)


def test_cross_entropy_naive_twin() -> None:
    logits, labels = _features(7, 5), torch.tensor([0, 1, 2, 3, 4, 0, 1])
    expected = -sum(math.log(_softmax(row)[k]) for row, k in zip(logits.tolist(), labels.tolist(), strict=True)) / 7
    assert cross_entropy_loss(logits, labels).item() == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_gradient() -> None:
    assert torch.autograd.gradcheck(cross_entropy_loss, (_features(4, 3).requires_grad_(), torch.tensor([0, 1, 2, 0])))


def test_cross_entropy_of_masks_by_hand() -> None:
    logits = torch.tensor([[[[0.0, math.log(3.0), 5.0]], [[0.0, 0.0, 0.0]]]])
    expected = (math.log(2.0) + math.log(4.0)) / 2
    assert cross_entropy_loss(logits, torch.tensor([[[0, 1, VOID]]])).item() == pytest.approx(expected)


def test_cross_entropy_of_masks_is_that_of_the_pixels_that_are_not_void() -> None:
    logits, masks = _features(3, 4, 2, 5), torch.arange(30).view(3, 2, 5) % 4
    masks[:, 0, 1:3] = VOID
    asked = masks != VOID
    expected = cross_entropy_loss(logits.movedim(1, -1)[asked], masks[asked])
    assert cross_entropy_loss(logits, masks).item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.autograd.gradcheck(cross_entropy_loss, (logits.requires_grad_(), masks))


def test_cross_entropy_of_void_alone_is_0_and_teaches_nothing() -> None:
    logits = _features(2, 3, 2, 2).requires_grad_()
    loss = cross_entropy_loss(logits, torch.full((2, 2, 2), VOID))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ((4, 3), (3,)),
        ((4, 3), (4, 3)),
        ((4,), (4,)),
        ((4, 3, 2), (4,)),
        ((4, 3, 2, 5), (4, 5, 2)),
        ((4, 3, 2, 5), (4,)),
    ],
)
def test_cross_entropy_wrong_shapes(logits: tuple[int, ...], labels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, C\) and \(B,\)"):
        cross_entropy_loss(torch.zeros(logits), torch.zeros(labels, dtype=torch.int64))


# kd_loss


def test_kd_by_hand() -> None:
    student, teacher = torch.zeros(2, 2), torch.tensor([[2 * math.log(3.0), 0.0], [0.0, 0.0]])
    one_row = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kd_loss(student, teacher, 2.0).item() == pytest.approx(4 * one_row / 2)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_kd_naive_twin(tau: float) -> None:
    student, teacher = _features(6, 5), _features(6, 5, seed=1)
    expected = 0.0
    for s, t in zip((student / tau).tolist(), (teacher / tau).tolist(), strict=True):
        expected += tau**2 * sum(p * math.log(p / q) for p, q in zip(_softmax(t), _softmax(s), strict=True)) / 6
    assert kd_loss(student, teacher, tau).item() == pytest.approx(expected, rel=1e-12)


def test_kd_gradient() -> None:
    student, teacher = _features(4, 3).requires_grad_(), _features(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: kd_loss(s, t, 4.0), (student, teacher))


def test_kd_of_sure_networks_is_finite() -> None:
    student = torch.tensor([[300.0, -300.0]], requires_grad=True)
    loss = kd_loss(student, torch.tensor([[-300.0, 300.0]]), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(600.0)
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_kd_of_itself_is_zero() -> None:
    logits = _features(6, 5, dtype=torch.float32)
    assert kd_loss(logits, logits.clone(), 4.0).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
def test_kd_wrong_tau(tau: float) -> None:
    with pytest.raises(ValueError, match="tau"):
        kd_loss(torch.zeros(2, 3), torch.zeros(2, 3), tau)


def test_kd_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"student \(4, 3\) and teacher \(4, 2\)"):
        kd_loss(torch.zeros(4, 3), torch.zeros(4, 2), 4.0)


# feature_loss


def test_feature_by_hand() -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert feature_loss(student, teacher).item() == pytest.approx((4 + 9) / 4)


def test_feature_naive_twin() -> None:
    student, teacher = _features(3, 4, 2, 2), _features(3, 4, 2, 2, seed=1)
    pairs = zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True)
    assert feature_loss(student, teacher).item() == pytest.approx(sum((s - t) ** 2 for s, t in pairs) / 48, rel=1e-12)


def test_feature_gradient() -> None:
    assert torch.autograd.gradcheck(feature_loss, (_features(2, 3, 2).requires_grad_(), _features(2, 3, 2, seed=1)))


@pytest.mark.parametrize("teacher", [(2, 3, 4), (1, 3), (2, 1), (3,)])
def test_feature_wrong_shapes(teacher: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"student \(2, 3\) and teacher \("):
        feature_loss(torch.zeros(2, 3), torch.zeros(teacher))


# pkt_loss


def test_pkt_by_hand() -> None:
    student, teacher = torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.ones(2, 3)
    cosine, student_t = math.log(2.0) / 12, 5 * math.log(6.0) / 28
    assert pkt_loss(student, teacher, (cosine_kernel,)).item() == pytest.approx(cosine)
    assert pkt_loss(student, teacher, (student_t_kernel,)).item() == pytest.approx(student_t)
    assert pkt_loss(student, teacher).item() == pytest.approx(cosine + student_t)


def _naive_rows(rows: list[list[float]], kernel: str) -> list[list[float]]:
    def similarity(a: list[float], b: list[float]) -> float:
        if kernel == "student_t":
            return 1 / (1 + math.dist(a, b))
        norms = math.hypot(*a) * math.hypot(*b)
        cosine = sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0
        return (1 + cosine) / 2

    table = [[similarity(a, b) for b in rows] for a in rows]
    return [[value / sum(row) for value in row] for row in table]


def _naive_pkt(student: Tensor, teacher: Tensor) -> float:
    total = 0.0
    for kernel in ("cosine", "student_t"):
        q = _naive_rows(student.double().flatten(1).tolist(), kernel)
        p = _naive_rows(teacher.double().flatten(1).tolist(), kernel)
        cells = [(a, b) for pr, qr in zip(p, q, strict=True) for a, b in zip(pr, qr, strict=True)]
        total += sum((a - b) * (math.log(a) - math.log(b)) for a, b in cells) / len(cells)
    return total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_pkt_naive_twin(dtype: torch.dtype, offset: float) -> None:
    student = _features(9, 4, 2, 2, dtype=dtype) + offset
    teacher = _features(9, 33, seed=1, dtype=dtype).relu() + offset
    loss = pkt_loss(student, teacher)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(_naive_pkt(student, teacher), rel=1e-6 if dtype == torch.float32 else 1e-8)


def test_pkt_with_close_rows_is_accurate_in_float32() -> None:
    student = _features(16, 64, dtype=torch.float32).relu()
    student[1:8] = student[0] + 1e-4 * _features(7, 64, seed=2, dtype=torch.float32)
    teacher = _features(16, 64, seed=1, dtype=torch.float32)
    assert pkt_loss(student, teacher).item() == pytest.approx(_naive_pkt(student, teacher), rel=1e-6)


def test_pkt_of_nearly_equal_features_is_accurate_in_float32() -> None:
    student = _features(16, 64, dtype=torch.float32)
    teacher = student + 1e-3 * _features(16, 64, seed=1, dtype=torch.float32)
    assert pkt_loss(student, teacher).item() == pytest.approx(_naive_pkt(student, teacher), rel=1e-5)


def test_pkt_of_a_student_close_to_its_teacher_has_an_accurate_gradient_in_float32() -> None:
    student = _features(16, 64, dtype=torch.float32).relu().requires_grad_()
    teacher = student.detach() + 1e-3 * _features(16, 64, seed=1, dtype=torch.float32)
    exact = student.detach().double().requires_grad_()
    pkt_loss(student, teacher).backward()
    pkt_loss(exact, teacher.double()).backward()
    assert student.grad is not None
    assert exact.grad is not None
    assert (student.grad - exact.grad).norm() < 1e-6 * exact.grad.norm()


def test_pkt_gradient() -> None:
    assert torch.autograd.gradcheck(
        pkt_loss, (_features(5, 4).requires_grad_(), _features(5, 7, seed=1).requires_grad_())
    )


def test_pkt_of_itself_is_zero() -> None:
    features = _features(8, 16, dtype=torch.float32)
    assert pkt_loss(features, features.clone()).item() == 0.0
    assert pkt_loss(features, 3 * features, (cosine_kernel,)).item() == pytest.approx(0.0, abs=1e-12)


def _identical_rows() -> Tensor:
    features = _features(6, 8, dtype=torch.float32)
    features[1:4] = features[0]
    return features


@pytest.mark.parametrize(
    "student",
    [
        pytest.param(torch.zeros(6, 8), id="all zero"),
        pytest.param(
            _features(6, 8, dtype=torch.float32) * torch.tensor([0.0, 1, 1, 0, 1, 1])[:, None], id="some zero"
        ),
        pytest.param(_identical_rows(), id="identical rows"),
        pytest.param(torch.full((6, 8), 1e3) / 3, id="one point"),
        pytest.param(torch.tensor([[1.0], [-1.0]]).repeat(3, 8), id="opposite rows"),
        pytest.param(_features(6, 8, dtype=torch.float32) * 1e-30, id="tiny"),
        pytest.param(_features(6, 8, dtype=torch.float32) * 1e18, id="huge"),
    ],
)
def test_pkt_of_degenerate_features_is_finite(student: Tensor) -> None:
    student = student.clone().requires_grad_()
    loss = pkt_loss(student, _features(6, 16, seed=1, dtype=torch.float32))
    loss.backward()
    assert loss.isfinite()
    assert loss.item() > 0
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kernel", [cosine_kernel, student_t_kernel])
def test_pkt_hides_no_feature_that_is_not_finite(value: float, side: int, kernel: Kernel) -> None:
    for rows in (slice(2, 3), slice(None)):
        sides = [_features(6, 8, dtype=torch.float32), _features(6, 16, seed=1, dtype=torch.float32)]
        sides[side][rows, 3] = value
        assert not pkt_loss(sides[0], sides[1], (kernel,)).isfinite()
        assert not pkt_loss(sides[0], sides[1]).isfinite()


def test_pkt_gradient_ignores_the_direction_between_identical_rows() -> None:
    student = _identical_rows().requires_grad_()
    pkt_loss(student, _features(6, 16, seed=1, dtype=torch.float32), (student_t_kernel,)).backward()
    assert student.grad is not None
    assert student.grad.abs().max().item() < 0.1


def test_cosine_of_a_zero_vector_is_zero() -> None:
    similarity = cosine_kernel(torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
    assert torch.allclose(similarity, torch.tensor([[0.5, 0.5], [0.5, 1.0]]))


def test_pkt_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="4 images of the student and 3 of the teacher"):
        pkt_loss(torch.zeros(4, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="at least 2 images"):
        pkt_loss(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="no kernel"):
        pkt_loss(torch.zeros(2, 2), torch.zeros(2, 2), ())
