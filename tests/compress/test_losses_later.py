"""MKT, CRD, DKD, DIST and soft labels: by hand, by a naive twin in float64, gradients, what they do not see, shapes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from compress.losses import CRD, cross_entropy_loss, dist_loss, dkd_loss, kd_loss, mkt_loss
from compress.losses.logits import VOID


def _features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


LABELS = torch.tensor([0, 2, 1, 4, 3, 0])

# cross_entropy_loss of soft and of smoothed labels


def test_cross_entropy_of_soft_labels_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])
    expected = -0.6 * math.log(0.75) - 0.4 * math.log(0.25)
    assert cross_entropy_loss(logits, torch.tensor([[0.6, 0.4]])).item() == pytest.approx(expected)


def test_cross_entropy_of_soft_labels_that_are_sure_is_that_of_the_labels() -> None:
    logits = _features(6, 5)
    sure = torch.nn.functional.one_hot(LABELS, 5).float()
    for smoothing in (0.0, 0.1):
        hard = cross_entropy_loss(logits, LABELS, smoothing).item()
        assert cross_entropy_loss(logits, sure, smoothing).item() == pytest.approx(hard, rel=1e-6)


def test_cross_entropy_smoothed_naive_twin() -> None:
    logits, expected = _features(6, 5), 0.0
    for row, label in zip(logits.tolist(), LABELS.tolist(), strict=True):
        for number, p in enumerate(_softmax(row)):
            expected -= (0.2 / 5 + 0.8 * (number == label)) * math.log(p) / 6
    assert cross_entropy_loss(logits, LABELS, 0.2).item() == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_of_smoothed_masks_passes_over_void() -> None:
    logits, masks = _features(2, 3, 2, 2), torch.tensor([[[0, VOID], [1, 2]], [[VOID, VOID], [2, 0]]])
    asked = masks != VOID
    expected = cross_entropy_loss(logits.movedim(1, -1)[asked], masks[asked], 0.1).item()
    assert cross_entropy_loss(logits, masks, 0.1).item() == pytest.approx(expected, rel=1e-12)
    void = logits.clone().requires_grad_()
    loss = cross_entropy_loss(void, torch.full_like(masks, VOID), 0.1)
    loss.backward()
    assert loss.item() == 0.0
    assert void.grad is not None
    assert void.grad.abs().max() == 0


def test_cross_entropy_of_soft_labels_gradient() -> None:
    soft = _features(4, 3, seed=1).softmax(dim=1)
    assert torch.autograd.gradcheck(lambda s: cross_entropy_loss(s, soft, 0.1), (_features(4, 3).requires_grad_(),))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_cross_entropy_wrong_smoothing(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing is"):
        cross_entropy_loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), smoothing)


def test_cross_entropy_wrong_soft_labels() -> None:
    with pytest.raises(ValueError, match=r"labels \(2, 4\) of torch.float32"):
        cross_entropy_loss(torch.zeros(2, 3), torch.zeros(2, 4))


def test_kd_of_masks_is_that_of_all_pixels() -> None:
    student, teacher = _features(2, 3, 2, 4), _features(2, 3, 2, 4, seed=1)
    rows = (logits.permute(0, 2, 3, 1).reshape(-1, 3) for logits in (student, teacher))
    assert kd_loss(student, teacher, 2.0).item() == pytest.approx(kd_loss(*rows, 2.0).item(), rel=1e-12)


# mkt_loss


def test_mkt_by_hand() -> None:
    student = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    teacher = torch.tensor([[0.0], [2.0], [2.0]])
    expected = (abs(5 - 2) + abs(1 - 2) + abs(math.sqrt(18) - 0)) / 3
    assert mkt_loss(student, teacher).item() == pytest.approx(expected)


def test_mkt_naive_twin() -> None:
    student, teacher = _features(6, 2, 2), _features(6, 7, seed=1)
    s, t = student.flatten(1).tolist(), teacher.tolist()
    pairs = [(i, j) for i in range(6) for j in range(i)]
    expected = sum(abs(math.dist(s[i], s[j]) - math.dist(t[i], t[j])) for i, j in pairs) / len(pairs)
    assert mkt_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_mkt_gradient() -> None:
    assert torch.autograd.gradcheck(
        mkt_loss, (_features(5, 4).requires_grad_(), _features(5, 7, seed=1).requires_grad_())
    )


def test_mkt_sees_neither_shift_nor_turn_nor_order_of_images() -> None:
    student, teacher = _features(6, 4), _features(6, 7, seed=1)
    turn = torch.linalg.qr(_features(4, 4, seed=2)).Q
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    loss = mkt_loss(student, teacher).item()
    assert mkt_loss(student @ turn + 3, teacher - 1).item() == pytest.approx(loss, rel=1e-9)
    assert mkt_loss(student[order], teacher[order]).item() == pytest.approx(loss, rel=1e-12)
    assert mkt_loss(student, student @ turn).item() == pytest.approx(0.0, abs=1e-12)


def test_mkt_of_images_that_coincide_is_finite() -> None:
    student = torch.ones(4, 3, requires_grad=True)
    loss = mkt_loss(student, _features(4, 3).float())
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_mkt_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="4 images of the student and 3 of the teacher"):
        mkt_loss(torch.zeros(4, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="at least 2 images"):
        mkt_loss(torch.zeros(1, 2), torch.zeros(1, 2))


# dkd_loss


def test_dkd_by_hand() -> None:
    student = torch.tensor([[0.0, 0.0, 0.0]])
    teacher = torch.tensor([[math.log(6.0), math.log(3.0), 0.0]])  # 0.6, 0.3, 0.1
    tckd = 0.6 * math.log(0.6 / (1 / 3)) + 0.4 * math.log(0.4 / (2 / 3))
    nckd = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    loss = dkd_loss(student, teacher, torch.tensor([0]), 1.0, alpha=2.0, beta=3.0)
    assert loss.item() == pytest.approx(2 * tckd + 3 * nckd)


def test_dkd_naive_twin() -> None:
    student, teacher, expected = _features(6, 5), _features(6, 5, seed=1), 0.0
    for s, t, label in zip((student / 4).tolist(), (teacher / 4).tolist(), LABELS.tolist(), strict=True):
        q, p = _softmax(s), _softmax(t)
        tckd = p[label] * math.log(p[label] / q[label]) + (1 - p[label]) * math.log((1 - p[label]) / (1 - q[label]))
        ranks = [(p[c] / (1 - p[label]), q[c] / (1 - q[label])) for c in range(5) if c != label]
        expected += 16 * (tckd + 8 * sum(a * math.log(a / b) for a, b in ranks)) / 6
    assert dkd_loss(student, teacher, LABELS).item() == pytest.approx(expected, rel=1e-12)


def test_dkd_put_together_again_is_kd() -> None:
    student, teacher = _features(1, 5), _features(1, 5, seed=1)
    others = 1 - teacher.div(4).softmax(dim=1)[0, 2].item()
    loss = dkd_loss(student, teacher, torch.tensor([2]), 4.0, alpha=1.0, beta=others)
    assert loss.item() == pytest.approx(kd_loss(student, teacher, 4.0).item(), rel=1e-12)


def test_dkd_gradient() -> None:
    student, teacher = _features(6, 5).requires_grad_(), _features(6, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: dkd_loss(s, t, LABELS), (student, teacher))


def test_dkd_of_itself_is_zero_and_a_shift_is_not_seen() -> None:
    student, teacher = _features(6, 5), _features(6, 5, seed=1)
    assert dkd_loss(student, student + 3, LABELS).item() == pytest.approx(0.0, abs=1e-12)
    loss = dkd_loss(student, teacher, LABELS).item()
    assert dkd_loss(student - 1, teacher + 5, LABELS).item() == pytest.approx(loss, rel=1e-9)
    assert dkd_loss(student, teacher, torch.nn.functional.one_hot(LABELS, 5).double()).item() == loss


def test_dkd_of_masks_passes_over_void() -> None:
    student, teacher = _features(2, 3, 2, 2), _features(2, 3, 2, 2, seed=1)
    masks = torch.tensor([[[0, VOID], [1, 2]], [[VOID, VOID], [2, 0]]])
    rows = (logits.movedim(1, -1)[masks != VOID] for logits in (student, teacher))
    expected = dkd_loss(*rows, masks[masks != VOID]).item()
    assert dkd_loss(student, teacher, masks).item() == pytest.approx(expected, rel=1e-12)
    assert dkd_loss(student, teacher, torch.full_like(masks, VOID)).item() == 0.0


def test_dkd_of_sure_networks_is_finite() -> None:
    student = torch.tensor([[300.0, -300.0, 0.0]], requires_grad=True)
    loss = dkd_loss(student, torch.tensor([[-300.0, 300.0, 0.0]]), torch.tensor([0]), 1.0)
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_dkd_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"dkd_loss: student \(4, 3\) and teacher \(4, 2\)"):
        dkd_loss(torch.zeros(4, 3), torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected one label an image, or a pixel"):
        dkd_loss(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="tau is 0"):
        dkd_loss(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), 0.0)


# dist_loss


def test_dist_by_hand() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]])
    q = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.2, 0.3]])
    # of the images r is 1, and that of (5, -4, -1) and (-4, 5, -1) in thirtieths
    images = (1 + (-20 - 20 + 1) / (16 + 25 + 1)) / 2
    assert dist_loss(q.log(), p.log(), beta=2.0, gamma=0.0).item() == pytest.approx(2 * (1 - images))
    # of the classes the student's first does not vary, the second goes against the teacher's, the third with it
    assert dist_loss(q.log(), p.log(), beta=0.0, gamma=3.0).item() == pytest.approx(3 * (1 - (0 - 1 + 1) / 3))


def _pearson(first: list[float], second: list[float]) -> float:
    first, second = ([value - sum(row) / len(row) for value in row] for row in (first, second))
    norms = math.hypot(*first) * math.hypot(*second)
    return sum(a * b for a, b in zip(first, second, strict=True)) / norms if norms > 1e-6 else 0.0


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_dist_naive_twin(tau: float) -> None:
    student, teacher = _features(6, 5), _features(6, 5, seed=1)
    q, p = ([_softmax(row) for row in (logits / tau).tolist()] for logits in (student, teacher))
    images = sum(_pearson(a, b) for a, b in zip(q, p, strict=True)) / 6
    classes = (
        sum(_pearson(list(a), list(b)) for a, b in zip(zip(*q, strict=True), zip(*p, strict=True), strict=True)) / 5
    )
    expected = tau**2 * (2 * (1 - images) + 0.5 * (1 - classes))
    assert dist_loss(student, teacher, tau, beta=2.0, gamma=0.5).item() == pytest.approx(expected, rel=1e-10)


def test_dist_gradient() -> None:
    given = (_features(6, 5).requires_grad_(), _features(6, 5, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: dist_loss(s, t, 2.0), given)


def test_dist_of_itself_is_zero_and_order_is_not_seen() -> None:
    student, teacher = _features(6, 5), _features(6, 5, seed=1)
    loss, order = dist_loss(student, teacher).item(), torch.tensor([3, 0, 5, 1, 2, 4])
    assert dist_loss(student, student + 3).item() == pytest.approx(0.0, abs=1e-12)
    assert dist_loss(student[order], teacher[order]).item() == pytest.approx(loss, rel=1e-12)
    assert dist_loss(student.flip(1), teacher.flip(1)).item() == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("student", [torch.zeros(4, 3), torch.eye(3)[[0, 1, 2, 0]] * 200, torch.full((4, 3), 0.1)])
def test_dist_of_logits_that_do_not_vary_is_finite(student: Tensor) -> None:
    student = student.clone().requires_grad_()
    loss = dist_loss(student, _features(4, 3).float())
    loss.backward()
    assert loss.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 10


def test_dist_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"dist_loss: student \(4, 3\) and teacher \(4, 2\)"):
        dist_loss(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="tau is inf"):
        dist_loss(torch.zeros(4, 3), torch.zeros(4, 3), math.inf)


# CRD


def _crd(images: int = 10, negatives: int = 7, tau: float = 0.5) -> CRD:
    torch.manual_seed(0)
    return CRD(3, 5, images, negatives=negatives, tau=tau).double()


def _unit(rows: Tensor) -> list[list[float]]:
    return [[value / math.hypot(*row) for value in row] for row in rows.tolist()]


def _naive_crd(crd: CRD, student: Tensor, teacher: Tensor, index: list[int], drawn: list[int]) -> float:
    ours, theirs = _unit(crd.student_head(student)), _unit(crd.teacher_head(teacher))
    total = 0.0
    for anchors, partners, bank in (
        (ours, theirs, crd.teacher_bank.tolist()),
        (theirs, ours, crd.student_bank.tolist()),
    ):

        def likeness(first: list[float], second: list[float]) -> float:
            return math.exp(sum(a * b for a, b in zip(first, second, strict=True)) / crd.tau)

        all_of_them = [
            likeness(anchor, other)
            for anchor, partner in zip(anchors, partners, strict=True)
            for other in (partner, *(bank[n] for n in drawn))
        ]
        z = len(bank) * sum(all_of_them) / len(all_of_them)
        noise = len(drawn) / len(bank)
        for image, anchor, partner in zip(index, anchors, partners, strict=True):
            own = likeness(anchor, partner) / z
            total -= math.log(own / (own + noise)) / len(index)
            for other in (bank[n] for n in drawn if n != image):
                total -= math.log(1 - likeness(anchor, other) / z / (likeness(anchor, other) / z + noise)) / len(index)
    return total


def test_crd_by_hand() -> None:
    crd = CRD(1, 1, 2, negatives=1, tau=1.0).double().eval()
    for head in (crd.student_head, crd.teacher_head):
        head.weight.data.zero_()
        head.bias.data.zero_()
        head.bias.data[0] = 1.0  # every embedding is the first axis
    crd.student_bank.copy_(-torch.eye(128)[:2])
    crd.teacher_bank.copy_(crd.student_bank)
    # own: e^1, the one negative, row 0: e^-1; Z = 2 * (e + 1/e) / 2; K / M = 1/2
    z, e = math.e + 1 / math.e, math.e
    own, other = e / z / (e / z + 0.5), 1 / e / z / (1 / e / z + 0.5)
    expected = 2 * (-math.log(own) - math.log(1 - other))
    assert crd(torch.ones(1, 1).double(), torch.ones(1, 1).double(), torch.tensor([1])).item() == pytest.approx(
        expected
    )


def test_crd_naive_twin() -> None:
    crd, student, teacher = _crd(), _features(4, 3), _features(4, 5, seed=1)
    index = [2, 7, 1, 9]
    torch.manual_seed(5)
    drawn = torch.randint(10, (7,)).tolist()
    assert set(drawn) & set(index)
    expected = _naive_crd(crd, student, teacher, index, drawn)
    torch.manual_seed(5)
    assert crd(student, teacher, torch.tensor(index)).item() == pytest.approx(expected, rel=1e-5)


def test_crd_gradient() -> None:
    crd = _crd().eval()
    crd.scale.fill_(0.3)
    given = (_features(4, 3).requires_grad_(), _features(4, 5, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: crd(s, t, torch.arange(4)), given)


def test_crd_remembers_what_it_saw_and_the_constants_of_the_first_batch() -> None:
    crd, student, teacher, index = _crd(), _features(2, 3), _features(2, 5, seed=1), torch.tensor([4, 8])
    before = crd.student_bank.clone()
    crd(student, teacher, index)
    others = [n for n in range(10) if n not in (4, 8)]
    assert torch.equal(crd.student_bank[others], before[others])
    mixed = before[index] / 2 + torch.tensor(_unit(crd.student_head(student))) / 2
    assert torch.allclose(crd.student_bank[index], mixed / mixed.norm(dim=1, keepdim=True))
    assert torch.allclose(crd.teacher_bank.norm(dim=1), torch.ones(10).double())
    scale = crd.scale.clone()
    assert (scale != 0).all()
    crd(3 * student - 1, teacher, index)
    assert torch.equal(crd.scale, scale)


def test_crd_sees_no_scale_and_is_the_same_by_the_same_seed() -> None:
    losses = []
    for factor in (1.0, 4.0):
        crd = _crd()
        crd.student_head.bias.data.zero_()
        torch.manual_seed(1)
        losses.append(crd(factor * _features(4, 3), _features(4, 5, seed=1), torch.arange(4)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_crd_in_eval_mode_changes_nothing_and_draws_nothing() -> None:
    crd, given = _crd().eval(), (_features(4, 3), _features(4, 5, seed=1), torch.tensor([50, 60, 70, 80]))
    before, random = {key: value.clone() for key, value in crd.state_dict().items()}, torch.get_rng_state()
    assert crd(*given).item() == crd(*given).item()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in crd.state_dict().items())


def test_crd_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="1 images, 16384 negatives"):
        CRD(3, 5, 1)
    with pytest.raises(ValueError, match=r"teacher \(4, 6\) for 4 images; expected \(B, 5\)"):
        CRD(3, 5, 10)(torch.zeros(4, 3), torch.zeros(4, 6), torch.arange(4))
