"""What is left of a pruned network, fitted to what the whole one said; and batch-norm's statistics."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from watch import same, state_of

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.edits import Cut, Drop
from compress.graph import Uncuttable
from compress.models import Architecture, build
from compress.pruning import apply, enough, kept_channels, prune, reconstruct, reestimate
from compress.smaller import cut, looked_at, mended
from compress.stages import Stage, Staged
from compress.tasks import CLASSIFICATION

IMAGE = torch.zeros(1, 2, 6, 6)


def _staged(model: nn.Module, outputs: int) -> Staged:
    return Staged(model, (Stage("logits", "", ("3",), outputs),))


def _chain(groups: int = 1) -> Staged:
    torch.manual_seed(5)
    middle = nn.Conv2d(8, 8, 3, groups=groups)
    return _staged(nn.Sequential(nn.Conv2d(2, 8, 3), middle, nn.Flatten(), nn.Linear(32, 4)), 4)


def _batches(count: int = 3) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(40, 2, 6, 6) for _ in range(count)]


def test_kept_channels_are_those_that_were_not_cut() -> None:
    kept = kept_channels(_chain(), [Cut("0", True, (0, 3, 4)), Cut("1", True, (7,))], IMAGE)
    assert {name: channels.tolist() for name, channels in kept.items()} == {
        "0": [1, 2, 5, 6, 7],
        "1": [0, 1, 2, 3, 4, 5, 6],
        "3": [0, 1, 2, 3],
    }


def test_channels_that_others_can_stand_in_for_cost_little() -> None:
    """The outputs that go are sums of those that stay: what reads them can be fitted but for what holds the weights."""
    whole = _chain()
    first = whole.model.get_submodule("0")
    with torch.no_grad():
        for gone, (one, other) in {6: (0, 1), 7: (2, 3)}.items():
            first.weight[gone] = first.weight[one] + first.weight[other]
            first.bias[gone] = first.bias[one] + first.bias[other]
    cuts = [Cut("0", True, (6, 7))]
    small, batches = apply(whole, cuts, IMAGE), _batches()
    before = (small.model(batches[0]) - whole.model(batches[0])).abs().max()
    assert reconstruct(small, whole, kept_channels(whole, cuts, IMAGE), batches) == 3
    after = (small.model(batches[0]) - whole.model(batches[0])).abs().max()
    assert before > 0.1
    assert after < 0.05 * before


@pytest.mark.parametrize(("groups", "images"), [(1, 40), (2, 40), (1, 4), (2, 2)])
def test_a_layer_has_the_weights_of_a_naive_least_squares(groups: int, images: int) -> None:
    """With few images there are fewer equations than weights."""
    whole, batches = _chain(groups), [batch[:images] for batch in _batches()]
    cuts = [Cut("0", True, (0, 5))]
    small = apply(whole, cuts, IMAGE)
    start = copy.deepcopy(small.model)
    kept = kept_channels(whole, cuts, IMAGE)
    reconstruct(small, whole, {"1": kept["1"]}, batches)
    old, new = start.get_submodule("1"), small.model.get_submodule("1")
    with torch.no_grad():
        seen = torch.cat([start[0](batch) for batch in batches]).double()
        said = torch.cat([whole.model[:2](batch) for batch in batches]).double()[:, kept["1"]]
        for row in range(len(new.weight)):
            group = row // (len(new.weight) // groups)
            width = seen.shape[1] // groups
            rows = seen[:, group * width : (group + 1) * width].unfold(2, 3, 1).unfold(3, 3, 1)
            rows = rows.permute(0, 2, 3, 1, 4, 5).reshape(-1, width * 9)
            rows, wanted = rows - rows.mean(dim=0), said[:, row].flatten() - said[:, row].mean()
            held = 0.1 * (rows**2).sum(dim=0).mean()
            whole_rows = torch.cat([rows, held.sqrt() * torch.eye(rows.shape[1], dtype=torch.float64)])
            at_least = torch.cat([wanted, held.sqrt() * old.weight[row].flatten().double()])
            found = torch.linalg.lstsq(whole_rows, at_least).solution
            assert torch.allclose(new.weight[row].flatten().double(), found, rtol=1e-3, atol=1e-5)
        assert torch.allclose(new(seen.float()).mean(dim=(0, 2, 3)).double(), said.mean(dim=(0, 2, 3)), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["cnn-a", "resnet10", "torchvision:mobilenet_v2", pytest.param("torchvision:densenet121", marks=pytest.mark.slow)],
)
def test_a_fitted_network_is_nearer_to_the_whole_one(name: str) -> None:
    whole = build(Architecture(name, 10, 1, (32, 32)), seed=4)
    torch.manual_seed(0)
    batches = [torch.rand(32, 1, 32, 32) for _ in range(2)]
    reestimate(whole.model, batches)
    image = batches[0][:1]
    small, cuts = prune(whole, image, 0.3)
    before = state_of(whole)

    def error(network: Staged) -> float:
        with torch.no_grad():
            return float((network.model.eval()(batches[1]) - whole.model.eval()(batches[1])).square().mean())

    lost = error(small)
    assert reconstruct(small, whole, kept_channels(whole, cuts, image), batches) > 4
    assert error(small) < 0.5 * lost
    assert same(state_of(whole), before)
    assert not any(module.training for module in small.model.modules())


def test_what_stands_around_a_removed_block_makes_up_for_it() -> None:
    whole = build(Architecture("resnet18", 10, 1, (32, 32)), seed=4)
    torch.manual_seed(0)
    batches = [torch.rand(32, 1, 32, 32) for _ in range(2)]
    reestimate(whole.model, batches)
    blocks = [name for name, _ in whole.model.named_modules() if name.endswith("layer2.1")]
    edits = [Drop(blocks[0]), Cut(f"{blocks[0].replace('layer2.1', 'layer3.0')}.conv1", True, (0, 1, 2))]
    small = apply(whole, edits, batches[0][:1])
    kept = kept_channels(whole, edits, batches[0][:1])
    with torch.no_grad():
        expected = whole.model.eval()(batches[1])
        lost = float((small.model.eval()(batches[1]) - expected).square().mean())
        assert reconstruct(small, whole, kept, batches) == 20
        assert float((small.model(batches[1]) - expected).square().mean()) < 0.5 * lost


class Fickle(nn.Module):
    """What torch.fx cannot trace: its path depends on its values."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 4)."""
        feature = self.norm(self.first(image))
        if feature.sum() > 1e9:
            feature = feature * 2
        return self.last(feature.mean(dim=(2, 3)))


def test_a_network_that_cannot_be_followed_is_refused() -> None:
    whole = Staged(Fickle(2), (Stage("logits", "last", ("last",), 4),))
    small, cuts = prune(whole, IMAGE, 0.5)
    with pytest.raises(Uncuttable, match=r"torch.fx cannot trace it"):
        reconstruct(small, whole, kept_channels(whole, cuts, IMAGE), _batches())


def test_statistics_are_those_of_all_images() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    batches = _batches()
    assert reestimate(model, [*batches, batches[0][:5] + 100]) == 1
    with torch.no_grad():
        seen = torch.cat([model[0](batch) for batch in batches])
    assert torch.allclose(model[1].running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(model[1].running_var, seen.var(dim=(0, 2, 3)), rtol=0.02)
    assert model[1].momentum == 0.1
    assert not model[1].training


def test_a_mended_network_knows_more_and_says_what_it_looked_at(teacher: Checkpoint, digits: Dataset) -> None:
    small = cut(teacher, 0.5, "edgepress prune")
    images = looked_at(teacher, digits.train, 100)
    before = state_of(small.network)
    better, why = mended(small, teacher, images, "edgepress prune")
    assert why == ""
    assert same(state_of(small.network), before)
    worse, good, whole = (CLASSIFICATION.evaluate(one.network, digits)["top1"] for one in (small, better, teacher))
    assert whole - good < 0.5 * (whole - worse)
    step = better.card.lineage[-1]
    assert step["refitted_layers"] == 5
    assert step["calibration"]["images"] == 100
    assert better.card.edits == small.card.edits


def test_what_cannot_be_fitted_has_new_statistics(digits: Dataset, teacher: Checkpoint) -> None:
    fickle = Staged(Fickle(1), (Stage("logits", "last", ("last",), 4),))
    whole = replace(teacher, network=fickle)
    images = looked_at(teacher, digits.train, 64)
    small = replace(whole, network=copy.deepcopy(fickle))
    made, why = mended(small, whole, images, "edgepress prune")
    assert "torch.fx cannot trace it" in why
    assert made.card.lineage[-1]["new_statistics"] == 1
    assert not torch.equal(made.network.model.get_buffer("norm.running_mean"), torch.zeros(8))


def test_of_large_images_the_first_are_enough() -> None:
    batches = [torch.zeros(8, 1, 512, 512), torch.zeros(8, 1, 512, 512), torch.zeros(1, 1, 8, 8)]
    assert [len(batch) for batch in enough(batches)] == [8, 8]
    assert enough([torch.zeros(40, 1, 512, 512)])[0].shape[0] == 40
    assert len(enough([torch.zeros(64, 3, 64, 64)] * 4)) == 4
