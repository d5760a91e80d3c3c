"""The criteria of pruning: each by hand, against a naive twin, and on channels of which it is known what they do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compress.errors import PlanError
from compress.losses import cross_entropy_loss
from compress.models import Architecture, build
from compress.pruning import CRITERIA, Calibration, Choice, score
from compress.pruning.importance import (
    by_chance,
    distances_to_others,
    filter_lengths,
    loss_changes,
    removal_errors,
    scale_sizes,
    shares_of_the_rest,
)
from compress.stages import Stage, Staged

CHANCE = torch.Generator().manual_seed(3)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=CHANCE, dtype=torch.float64)


# by hand


def test_filter_lengths_by_hand() -> None:
    weight = torch.tensor([[[[3.0]], [[-4.0]]], [[[0.0]], [[0.5]]]], requires_grad=True)
    assert filter_lengths(weight).tolist() == [5.0, 0.5]
    assert not filter_lengths(weight).requires_grad


def test_scale_sizes_by_hand() -> None:
    assert (
        scale_sizes(torch.tensor([0.5, -2.0])).tolist()
        == scale_sizes(torch.tensor([[0.5], [-2.0]])).tolist()
        == [0.5, 2.0]
    )


def test_distances_to_others_by_hand() -> None:
    weight = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    first, second, third = 5.0, 1.0, math.hypot(3.0, 3.0)
    torch.testing.assert_close(
        distances_to_others(weight), torch.tensor([first + second, first + third, second + third])
    )


def test_shares_of_the_rest_by_hand() -> None:
    torch.testing.assert_close(
        shares_of_the_rest(torch.tensor([3.0, 1.0, 4.0, 0.0])), torch.tensor([3 / 7, 1 / 8, 1.0, 0.0])
    )
    assert shares_of_the_rest(torch.tensor([2.0, 2.0])).tolist() == [0.5, 1.0]


def test_loss_changes_by_hand() -> None:
    assert loss_changes(torch.tensor([[1.0, -2.0], [3.0, 0.0]])).tolist() == [5.0, 2.0]


def test_removal_errors_by_hand() -> None:
    """The second channel is the opposite of half of the first: once one is gone, the other is worth more or less."""
    added = torch.tensor([[2.0, -1.0, 0.1], [0.0, 0.0, 3.0]])
    errors = removal_errors(added)
    whole = 1.1**2 + 3.0**2
    torch.testing.assert_close(errors[1], torch.tensor(1 / whole, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(errors[0], torch.tensor(1 / whole, dtype=torch.float64), atol=1e-6, rtol=0)
    assert errors.argsort().tolist() == [1, 0, 2]
    assert errors[2] == pytest.approx(1.0, abs=1e-6)


# naive twins


def _naive_distances(weight: Tensor) -> list[float]:
    rows = weight.flatten(1).tolist()
    return [sum(math.dist(row, other) for other in rows) for row in rows]


def _naive_shares(sizes: Tensor) -> list[float]:
    values = sizes.tolist()
    return [value / sum(other for other in values if other >= value) for value in values]


def _naive_changes(products: Tensor) -> list[float]:
    return [sum(value**2 for value in column) / len(column) for column in products.T.tolist()]


@pytest.mark.parametrize(
    ("fast", "naive", "given"),
    [
        (distances_to_others, _naive_distances, _random(7, 3, 3, 3)),
        (shares_of_the_rest, _naive_shares, _random(9).square()),
        (loss_changes, _naive_changes, _random(4, 6)),
        (filter_lengths, lambda w: [math.hypot(*row) for row in w.flatten(1).tolist()], _random(5, 2, 3, 3)),
        (scale_sizes, lambda scale: [abs(value) for value in scale.tolist()], _random(8)),
    ],
)
def test_as_in_a_naive_loop(
    fast: Callable[[Tensor], Tensor], naive: Callable[[Tensor], list[float]], given: Tensor
) -> None:
    torch.testing.assert_close(fast(given), torch.tensor(naive(given), dtype=torch.float64))


def test_removal_errors_as_in_a_naive_loop() -> None:
    added = _random(50, 6) + _random(50, 1)
    gone: list[int] = []
    while len(gone) < 6:
        left = [channel for channel in range(6) if channel not in gone]
        gone.append(min(left, key=lambda channel: float(added[:, [*gone, channel]].sum(dim=1).square().sum())))
    assert removal_errors(added).argsort().tolist() == gone


def test_chance_is_seeded() -> None:
    first, again = (by_chance(5)(torch.empty(9)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, by_chance(6)(torch.empty(9)))


# on a network


IMAGE = torch.zeros(1, 3, 16, 16)


class _Plain(nn.Module):
    """Two convolutions with batch-norms; the second in groups where that is said."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.two, self.last = nn.Conv2d(8, 8, 3, stride=2, dilation=2, groups=groups), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.last(self.two(self.norm(self.one(image)).relu()).relu().mean(dim=(2, 3)))
        return logits


def _staged(groups: int = 1) -> Staged:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _Plain(groups).eval()
    stages = (Stage("map", "two", ("one", "norm", "two"), 8), Stage("logits", "", ("last",), 4))
    return Staged(model, stages)


def _calibration(count: int = 3) -> Calibration:
    chance = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(8, 3, 16, 16, generator=chance), torch.randint(4, (8,), generator=chance)) for _ in range(count)
    ]
    return Calibration(batches, cross_entropy_loss)


def _scores(
    network: Staged, criterion: str, calibration: Calibration | None = None, *, seed: int = 0
) -> dict[str, Tensor]:
    scored = score(network, IMAGE, Choice(criterion, seed=seed), calibration or _calibration())
    return {layer.root: values for layer, values in scored.layers}


@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "random"])
def test_channels_that_do_nothing_go_first(criterion: str) -> None:
    network, idle = _staged(), [1, 4, 6]
    for name in ("one", "norm"):
        for parameter in network.model.get_submodule(name).parameters():
            parameter.data[idle] *= 1e-4
    network.model.get_submodule("two").weight.data[:, idle] *= 1e-4
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    values = _scores(network, criterion)["one"]
    least = values.argsort()[:3]
    assert sorted(least.tolist()) == idle
    assert all(torch.equal(before[key], value) for key, value in network.model.state_dict().items())
    assert all(parameter.grad is None for parameter in network.model.parameters())
    assert not any(module._forward_pre_hooks for module in network.model.modules())


def test_taylor_is_the_change_of_the_loss_when_a_gate_closes() -> None:
    """To first order: the loss's slope where all that a batch-norm gives for a channel is scaled down together."""
    network, calibration = _staged(), _calibration(2)
    wanted = torch.zeros(8)
    for images, targets in calibration.batches:
        gate = torch.ones(8, requires_grad=True)
        norm = network.model.get_submodule("norm")
        hook = norm.register_forward_hook(lambda _m, _a, out, g=gate: out * g.view(1, -1, 1, 1))
        cross_entropy_loss(network.model(images), targets).backward()
        hook.remove()
        assert gate.grad is not None
        wanted += gate.grad.square() / 2
    network.model.zero_grad(set_to_none=True)
    torch.testing.assert_close(_scores(network, "taylor", calibration)["one"], wanted)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_what_a_channel_adds_to_the_next_layer(groups: int) -> None:
    """All that is added, summed over channels, varies as the next layer's outputs do."""
    from compress.pruning.calibration import contributions

    network = _staged(groups)
    images = torch.randn(400, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    added = contributions(network, {"two", "last"}, Calibration([(images, torch.zeros(400))]), 0)
    model = network.model
    assert isinstance(model, _Plain)
    with torch.no_grad():
        two = model.two(model.norm(model.one(images)).relu())
        seen = {"two": two, "last": model.last(two.relu().mean(dim=(2, 3)))}
    for name, values in added.items():
        bias = model.get_submodule(name).bias.detach()
        outputs = seen[name] - bias.view(-1, *[1] * (seen[name].ndim - 2))
        assert values.shape[1] == 8
        torch.testing.assert_close(values.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
        assert values.sum(dim=1).var() == pytest.approx(float(outputs.var()), rel=0.15)
        if name == "two":
            assert (values != values[0]).sum(dim=1).max() <= 8


def test_coupled_layers_share_a_score() -> None:
    """Of a residual stream the channel goes that is idle in all of its layers, not one that is idle in one of them."""
    network = build(Architecture("resnet10", 10, 3, (32, 32)), seed=0)
    layers = ("encoder.layer2.0.conv2", "encoder.layer2.0.downsample.0")
    with torch.no_grad():
        for number, name in enumerate(layers):
            network.model.get_submodule(name).weight[[5, 7 + number]] *= 1e-3
    for criterion in ("l1", "l2", "lamp", "fpgm"):
        scored = score(network, torch.zeros(1, 3, 32, 32), Choice(criterion))
        (values,) = (values for layer, values in scored.layers if set(layers) <= set(layer.makers))
        assert int(values.argmin()) == 5, criterion


def test_random_scores_are_seeded() -> None:
    first, again, other = (_scores(_staged(), "random", seed=seed)["one"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_batch_norm_scales_leave_alone_what_has_no_batch_norm() -> None:
    assert _scores(_staged(), "bn-scale").keys() == {"one"}


@pytest.mark.parametrize(
    ("criterion", "calibration", "message"),
    [
        ("taylor", Calibration(), "asks for images, labels and the loss of a task"),
        ("taylor", Calibration(_calibration().batches), "asks for images, labels and the loss of a task"),
        ("reconstruction", Calibration(), "asks for images to look at"),
    ],
)
def test_what_a_criterion_looks_at_is_asked_for(criterion: str, calibration: Calibration, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        _scores(_staged(), criterion, calibration)


def test_units_that_never_fire_go_first_where_there_are_images() -> None:
    network = build(Architecture("cnn-s", 10, 3, (32, 32), {"width": 8}), seed=0)
    layer, norm = (network.model.get_submodule(f"blocks.0.{name}") for name in ("conv", "norm"))
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    dead = [1, 4, 6]
    with torch.no_grad():
        layer.weight[dead] *= 100  # the largest by far, but silent
        norm.weight[dead], norm.bias[dead] = 1e-3, -1e3
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = Calibration([(images, torch.zeros(8, dtype=torch.long))])
    for criterion in ("l1", "l2", "lamp", "fpgm"):
        choice = Choice(criterion, multiple=1)
        gone = {cut.module: cut.channels for cut in score(network, images[:1], choice, seen).at(3 / 8)}
        assert gone["blocks.0.conv"] == tuple(dead)
        blind = {cut.module: cut.channels for cut in score(network, images[:1], choice).at(3 / 8)}
        assert blind["blocks.0.conv"] != tuple(dead)
    chance = Choice("random", multiple=1, seed=1)
    assert score(network, images[:1], chance, seen).at(0.5) == score(network, images[:1], chance).at(0.5)


class _ByKeyword(nn.Module):
    """A convolution, another that is called by keyword, and one of one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.third, self.head = nn.Conv1d(8, 8, 3), nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.second(input=self.first(images).relu()).relu()
        return self.head(self.third(maps.flatten(2)).relu().mean(2))


def test_what_reads_unseen_leaves_the_scores_as_they_are() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # where each of its units fires on some image
        network = Staged(_ByKeyword(), (Stage("logits", "head", ("head",), 10),))
    images = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    seen = Calibration([(images, torch.zeros(4, dtype=torch.long))])
    choice = Choice(multiple=1)
    assert score(network, images[:1], choice, seen).at(0.5) == score(network, images[:1], choice).at(0.5)
