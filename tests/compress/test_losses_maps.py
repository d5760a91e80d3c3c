"""The losses on maps: by hand, by a naive twin in float64, gradients, what they do not see, wrong shapes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from compress.losses import Hint, attention_loss, flow_matrix, fsp_loss


def _features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# attention_loss


def test_attention_by_hand() -> None:
    student = torch.tensor([[[[1.0, 0.0]], [[1.0, 2.0]]]])
    teacher = torch.tensor([[[[0.0, 3.0]]]])
    # squares: (1 + 1) / 2 and (0 + 4) / 2, as long as sqrt(5); the teacher looks at the second pixel alone
    first, second = 1 / math.sqrt(5), 2 / math.sqrt(5) - 1
    assert attention_loss(student, teacher).item() == pytest.approx((first**2 + second**2) / 2)


def _naive_attention(feature: Tensor) -> list[list[float]]:
    rows = []
    for image in feature.tolist():
        height, width = len(image[0]), len(image[0][0])
        energy = [
            sum(channel[y][x] ** 2 for channel in image) / len(image) for y in range(height) for x in range(width)
        ]
        rows.append([value / math.hypot(*energy) for value in energy])
    return rows


def test_attention_naive_twin() -> None:
    student, teacher = _features(3, 4, 2, 5), _features(3, 7, 2, 5, seed=1)
    pairs = zip(_naive_attention(student), _naive_attention(teacher), strict=True)
    errors = [(a - b) ** 2 for rows in pairs for a, b in zip(*rows, strict=True)]
    assert attention_loss(student, teacher).item() == pytest.approx(sum(errors) / len(errors), rel=1e-12)


def test_attention_of_a_larger_map_is_that_of_its_means() -> None:
    student, teacher = _features(2, 3, 2, 2), _features(2, 3, 4, 4, seed=1)
    energy = teacher.square().mean(dim=1)
    small = torch.stack([energy[:, y : y + 2, x : x + 2].mean(dim=(1, 2)) for y in (0, 2) for x in (0, 2)], dim=1)
    same = small.sqrt().view(2, 1, 2, 2)
    assert attention_loss(student, teacher).item() == pytest.approx(attention_loss(student, same).item(), rel=1e-12)


def test_attention_gradient() -> None:
    given = (_features(2, 3, 2, 2).requires_grad_(), _features(2, 4, 3, 2, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(attention_loss, given)


def test_attention_sees_neither_scale_nor_sign_nor_order_of_channels() -> None:
    student, teacher = _features(3, 4, 2, 5), _features(3, 7, 2, 5, seed=1)
    loss = attention_loss(student, teacher).item()
    assert attention_loss(-3 * student[:, [2, 0, 3, 1]], 0.1 * teacher.flip(1)).item() == pytest.approx(loss, rel=1e-12)
    assert attention_loss(student, 5 * student).item() == pytest.approx(0.0, abs=1e-30)


def test_attention_of_nothing_is_finite() -> None:
    student = torch.zeros(2, 3, 2, 2, requires_grad=True)
    attention_loss(student, _features(2, 3, 2, 2).float()).backward()
    assert student.grad is not None
    assert student.grad.abs().max() == 0


@pytest.mark.parametrize(("student", "teacher"), [((2, 3), (2, 3)), ((2, 3, 4, 4), (3, 3, 4, 4))])
def test_attention_wrong_shapes(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected maps \(B, C, H, W\) of one batch"):
        attention_loss(torch.zeros(student), torch.zeros(teacher))


# fsp_loss


def test_flow_by_hand() -> None:
    first = torch.tensor([[[[1.0, 2.0]], [[0.0, 1.0]]]])
    second = torch.tensor([[[[3.0, 4.0]]]])
    assert flow_matrix(first, second).tolist() == [[[(3 + 8) / 2], [4 / 2]]]


def test_fsp_by_hand() -> None:
    one = torch.ones(1, 1, 1, 1)
    assert fsp_loss(2 * one, 3 * one, one, one).item() == pytest.approx((6 - 1) ** 2)


def test_fsp_naive_twin() -> None:
    maps = [_features(2, 3, 4, 4, seed=n) if n % 2 == 0 else _features(2, 5, 2, 2, seed=n) for n in range(4)]
    matrices = []
    for first, second in (maps[:2], maps[2:]):
        small = [
            [
                [[sum(c[2 * y + i][2 * x + j] for i in (0, 1) for j in (0, 1)) / 4 for x in (0, 1)] for y in (0, 1)]
                for c in b
            ]
            for b in first.tolist()
        ]
        matrices.append(
            [
                sum(a[c][y][x] * b[d][y][x] for y in (0, 1) for x in (0, 1)) / 4
                for a, b in zip(small, second.tolist(), strict=True)
                for c in range(3)
                for d in range(5)
            ]
        )
    expected = sum((s - t) ** 2 for s, t in zip(*matrices, strict=True)) / (2 * 3 * 5)
    assert fsp_loss(*maps).item() == pytest.approx(expected, rel=1e-12)


def test_fsp_gradient() -> None:
    maps = [_features(2, 2, 4, 2, seed=n).requires_grad_() for n in (0, 1)]
    maps += [_features(2, 2, 2, 2, seed=n).requires_grad_() for n in (2, 3)]
    assert torch.autograd.gradcheck(fsp_loss, tuple(maps))


def test_fsp_sees_neither_the_place_of_a_pixel_nor_the_size_of_the_teacher() -> None:
    first, second = _features(2, 3, 2, 2), _features(2, 4, 2, 2, seed=1)
    assert fsp_loss(first, second, first.flip(2, 3), second.flip(2, 3)).item() == pytest.approx(0.0, abs=1e-30)
    larger = (each.repeat_interleave(2, 2).repeat_interleave(2, 3) for each in (first, second))
    assert fsp_loss(first, second, *larger).item() == pytest.approx(0.0, abs=1e-30)


def test_fsp_wrong_shapes() -> None:
    one, wide = torch.zeros(2, 3, 2, 2), torch.zeros(2, 4, 2, 2)
    with pytest.raises(ValueError, match=r"student \(2, 3, 2, 2\) and teacher \(2, 4, 2, 2\).*equally many channels"):
        fsp_loss(one, one, one, wide)


# Hint


def _hint(width: int, wide: int) -> Hint:
    torch.manual_seed(0)
    return Hint(width, wide).double()


def test_hint_by_hand() -> None:
    hint = _hint(2, 1)
    hint.regressor.weight.data = torch.tensor([[[[2.0]], [[-1.0]]]], dtype=torch.float64)
    hint.regressor.bias.data = torch.tensor([0.5], dtype=torch.float64)  # type: ignore[union-attr]
    student = torch.tensor([[[[1.0, 0.0]], [[0.0, 3.0]]]], dtype=torch.float64)
    teacher = torch.tensor([[[[2.0, 0.0]]]], dtype=torch.float64)
    assert hint(student, teacher).item() == pytest.approx((0.5**2 + 2.5**2) / 2)


def test_hint_naive_twin() -> None:
    hint, student, teacher = _hint(3, 5), _features(2, 3, 2, 2), _features(2, 5, 2, 2, seed=1)
    weight, bias = hint.regressor.weight[:, :, 0, 0].tolist(), hint.regressor.bias.tolist()  # type: ignore[union-attr]
    errors = []
    for image, target in zip(student.tolist(), teacher.tolist(), strict=True):
        for y, x, out in ((y, x, out) for y in (0, 1) for x in (0, 1) for out in range(5)):
            made = bias[out] + sum(w * image[c][y][x] for c, w in enumerate(weight[out]))
            errors.append((made - target[out][y][x]) ** 2)
    assert hint(student, teacher).item() == pytest.approx(sum(errors) / len(errors), rel=1e-12)


def test_hint_gradient() -> None:
    hint = _hint(2, 3)
    assert torch.autograd.gradcheck(hint, (_features(2, 2, 4, 4).requires_grad_(), _features(2, 3, 2, 2, seed=1)))


def test_hint_is_zero_where_the_regressor_makes_the_teacher_of_the_student() -> None:
    hint, student = _hint(3, 5), _features(2, 3, 4, 4)
    assert hint(student, hint.regressor(student)).item() == 0.0
    assert hint(student[:, :, 0, 0], hint.regressor(student)[:, :, 0, 0]).item() < 1e-30


def test_hint_wrong_shapes() -> None:
    for student, teacher in (((2, 4, 2, 2), (2, 5, 2, 2)), ((2, 3, 2, 2), (3, 5, 2, 2)), ((2, 3, 2), (2, 5, 2, 2))):
        with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\) and \(B, 5, H, W\)"):
            Hint(3, 5)(torch.zeros(student), torch.zeros(teacher))


def test_hint_of_the_same_channels_begins_with_their_difference() -> None:
    hint, student, teacher = Hint(3, 3, same=True).double(), _features(2, 3, 4, 4), _features(2, 3, 4, 4, seed=1)
    assert hint(student, teacher).item() == pytest.approx((student - teacher).square().mean().item(), rel=1e-12)
    with pytest.raises(ValueError, match="3 and 5 channels cannot be the same ones"):
        Hint(3, 5, same=True)
