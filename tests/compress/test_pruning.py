"""Pruning: the choice of channels, the cuts and their replay, and taps that show only some channels."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor, nn
from watch import same, state_of

from compress.edits import Cut
from compress.errors import CompressError, PlanError
from compress.models import Architecture, build
from compress.pruning import Choice, apply, filter_norms, largest, narrow_taps, prune, shares_left
from compress.stages import Stage, Staged, feature_shapes, tapped

EXACT = Choice(multiple=1)  # widths as they are asked for


def _image(channels: int, size: int, count: int = 1) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(7))


def _network(name: str, size: int = 32, channels: int = 3, *, seed: int = 0) -> Staged:
    """A network whose batch-norms have statistics, scales and shifts as after training."""
    network = build(Architecture(name, 10, channels, (size, size)), seed=seed)
    random = torch.Generator().manual_seed(seed)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                assert values is not None
                values.uniform_(0.5, 1.5, generator=random)
    network.model.eval()
    return network


def _parameters(network: Staged) -> int:
    return sum(parameter.numel() for parameter in network.model.parameters())


# importance


def test_filter_norms_by_hand() -> None:
    weight = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]], [[[0.0, 0.5]], [[-0.5, 0.0]]]], requires_grad=True)
    norms = filter_norms(weight)
    assert norms.tolist() == [6.0, 1.0]
    assert not norms.requires_grad


def test_filter_norms_of_a_linear_layer() -> None:
    assert filter_norms(torch.tensor([[1.0, -1.0], [0.0, 3.0]])).tolist() == [2.0, 3.0]


def test_filter_norms_needs_filters() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        filter_norms(torch.zeros(3))


def test_largest_keeps_the_order_and_takes_the_first_of_equals() -> None:
    assert largest(torch.tensor([1.0, 5.0, 3.0, 5.0]), 2).tolist() == [1, 3]
    assert largest(torch.tensor([2.0, 1.0, 2.0, 2.0, 3.0]), 3).tolist() == [0, 2, 4]
    assert largest(torch.zeros(100), 40).tolist() == list(range(40))


@pytest.mark.parametrize("count", [0, -1, 4])
def test_largest_of_too_few(count: int) -> None:
    with pytest.raises(ValueError, match="allowed are 1 to 3"):
        largest(torch.zeros(3), count)


def test_largest_of_a_matrix() -> None:
    with pytest.raises(ValueError, match=r"expected \(N,\)"):
        largest(torch.zeros(3, 2), 1)


# cuts as data


def test_a_cut_survives_json() -> None:
    cut = Cut("layer1.0.conv1", True, (0, 3, 17))
    assert Cut.from_list(json.loads(json.dumps(cut.to_list()))) == cut


@pytest.mark.parametrize(
    "data",
    [
        None,
        "abc",
        [],
        ["a", True],
        ["a", True, [1], 2],
        ["", True, [1]],
        [3, True, [1]],
        ["a", 1, [1]],
        ["a", True, 1],
        ["a", True, []],
        ["a", True, [-1]],
        ["a", True, [1.0]],
        ["a", True, [True]],
        ["a", True, ["1"]],
        ["a", True, [1, 1]],
        ["a", True, [2, 1]],
    ],
)
def test_a_damaged_cut_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="cut"):
        Cut.from_list(data)


# prune and apply

SIZES = {
    "cnn-s": 32,
    "torchvision:resnet18": 32,
    "mobilenet_v3_small": 32,
    "squeezenet1_1": 32,
    "efficientnet_b0": 32,
    "resnext50_32x4d": 32,
    "convnext_tiny": 32,
    "googlenet": 32,
    "mobilenet_v2": 32,
    "mnasnet0_5": 32,
    "densenet121": 32,
    "regnet_y_400mf": 32,
    "resnet50": 32,
    "inception_v3": 96,
}
FEW = 8  # of them in the normal run; each of the others takes seconds


@pytest.mark.parametrize(
    "name", [*list(SIZES)[:FEW], *(pytest.param(name, marks=pytest.mark.slow) for name in list(SIZES)[FEW:])]
)
def test_cuts_replayed_on_a_fresh_network_give_the_same_bits(name: str) -> None:
    network, image = _network(name, SIZES[name]), _image(3, SIZES[name])
    before = state_of(network)
    pruned, cuts = prune(network, image, 0.5)
    assert same(state_of(network), before)
    assert _parameters(pruned) < 0.35 * _parameters(network)

    written = json.loads(json.dumps([cut.to_list() for cut in cuts]))
    fresh = apply(_network(name, SIZES[name], seed=1), [Cut.from_list(data) for data in written], image)
    fresh.model.load_state_dict(pruned.model.state_dict())
    images = _image(3, SIZES[name], count=3)
    with torch.no_grad():
        logits = pruned.model(images)
        assert torch.equal(fresh.model(images), logits)
    assert logits.shape == (3, 10)
    assert fresh.stages == pruned.stages
    assert {s.name: s.width for s in pruned.stages} == {k: v[0] for k, v in feature_shapes(pruned, image).items()}


@pytest.mark.parametrize("name", ["cnn-s", "torchvision:resnet18", "mobilenet_v3_small"])
def test_weights_that_stay_keep_their_values(name: str) -> None:
    network = _network(name)
    pruned, _ = prune(network, _image(3, 32), 0.5)
    for key, value in pruned.model.state_dict().items():
        original = network.model.state_dict()[key].flatten()
        assert torch.isin(value.flatten(), original).all(), key


def test_pruning_is_silencing_the_channels_that_were_cut() -> None:
    network, image = _network("cnn-s"), _image(3, 32, count=4)
    pruned, cuts = prune(network, image[:1], 0.5)
    silent = copy.deepcopy(network.model)
    with torch.no_grad():
        for cut in cuts:
            layer = silent.get_submodule(cut.module)
            followers = [layer]
            if cut.module.endswith("conv"):
                followers.append(silent.get_submodule(cut.module.removesuffix("conv") + "norm"))
            for follower in followers:
                follower.weight[list(cut.channels)] = 0.0
                follower.bias[list(cut.channels)] = 0.0
        torch.testing.assert_close(pruned.model(image), silent(image))


def test_channels_with_the_least_l1_norm_go() -> None:
    network = _network("cnn-s")
    with torch.no_grad():
        for layer in (network.model.get_submodule("blocks.0.conv"), network.model.get_submodule("blocks.0.norm")):
            layer.weight[[1, 2, 6]] *= 1e-3
        network.model.get_submodule("blocks.1.conv").weight[:, [1, 2, 6]] *= 1e-3
    _, cuts = prune(network, _image(3, 32), 0.375, choice=EXACT)
    assert Cut("blocks.0.conv", True, (1, 2, 6)) in cuts


def test_resnet18_halved_has_a_quarter_of_its_parameters() -> None:
    network = _network("torchvision:resnet18")
    pruned, _ = prune(network, _image(3, 32), 0.5)
    assert _parameters(network) == 11_181_642
    assert _parameters(pruned) == 2_801_450
    assert [stage.width for stage in pruned.stages] == [32, 32, 64, 128, 256, 256, 10]


def test_cnn_a_halved_has_the_shape_of_cnn_s() -> None:
    pruned, _ = prune(_network("cnn-a", channels=1), _image(1, 32), 0.5)
    student = _network("cnn-s", channels=1)
    assert [stage.width for stage in pruned.stages] == [stage.width for stage in student.stages]
    assert _parameters(pruned) == _parameters(student) == 14_906


def test_vision_transformer_loses_as_much_of_every_head() -> None:
    network = _network("vit_b_32")
    pruned, cuts = prune(network, _image(3, 32), 0.5)
    (stream,) = (cut for cut in cuts if len(cut.channels) == 384)
    assert {sum(channel // 64 == head for channel in stream.channels) for head in range(12)} == {32}
    assert pruned.model(_image(3, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("width", "ratio", "kept"),
    [(8, 0.9, [1, 1, 3, 6]), (8, 0.99, [1, 1, 1, 1]), (10, 0.9, [1, 2, 4, 8]), (10, 0.7, [3, 6, 12, 24])],
)
def test_the_share_is_exact_and_one_channel_always_stays(width: int, ratio: float, kept: list[int]) -> None:
    network = build(Architecture("cnn-s", 10, 3, (32, 32), {"width": width}))
    pruned, _ = prune(network, _image(3, 32), ratio, choice=EXACT)
    assert [stage.width for stage in pruned.stages] == [*kept, 10]


class _Grouped(nn.Module):
    """A convolution in groups between two plain ones."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 1)
        self.grouped = nn.Conv2d(width, width, 1, groups=groups)
        self.last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.last(self.grouped(self.first(image).relu()).relu())
        return logits


@pytest.mark.parametrize(
    ("places", "ratio", "kept"),
    [(8, 0.3, 6), (8, 0.75, 2), (7, 0.75, 2), (3, 0.5, 1), (5, 0.5, 2), (5, 0.3, 3), (3, 0.9, 1), (10, 0.7, 3)],
)
def test_of_a_layer_in_groups_the_nearest_number_stays_in_each(places: int, ratio: float, kept: int) -> None:
    model = _Grouped(4 * places, 4)
    stages = (Stage("map", "grouped", ("first", "grouped"), 4 * places), Stage("logits", "last", ("last",), 10))
    pruned, cuts = prune(Staged(model, stages), _image(3, 8), ratio, choice=EXACT)
    assert {pruned.width("map"), pruned.model.get_submodule("first").out_channels} == {4 * kept}
    for cut in cuts:
        assert [sum(channel // places == n for channel in cut.channels) for n in range(4)] == [places - kept] * 4


def test_the_shares_that_are_left_by_hand() -> None:
    whole = _network("cnn-s")
    pruned, _ = prune(whole, _image(3, 32), 0.75)
    shares = shares_left(whole, pruned)
    widths = {"blocks.0.conv": (8, 2), "blocks.1.conv": (16, 4), "blocks.2.conv": (32, 8), "embedding.1": (64, 16)}
    assert {name: share.channels for name, share in shares.layers.items()} == widths
    assert shares.layers["embedding.1"].channels_left == 0.25
    assert shares.channels_left == 0.25


def test_shares_of_two_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="pass a network and its cut"):
        shares_left(_network("cnn-s"), _network("torchvision:resnet18"))


def test_pruning_twice_replays_in_order() -> None:
    network, image = _network("cnn-s"), _image(3, 32)
    once, first = prune(network, image, 0.25)
    twice, second = prune(once, image, 0.25)
    assert same(state_of(apply(network, (*first, *second), image)), state_of(twice))


def test_modes_flags_and_gradients_stay_as_they_were() -> None:
    network = _network("torchvision:resnet18")
    network.model.train()
    network.model.get_submodule("layer1").eval()
    network.model.get_submodule("layer2").requires_grad_(False)
    modes = {name: module.training for name, module in network.model.named_modules()}
    flags = {name: parameter.requires_grad for name, parameter in network.model.named_parameters()}
    with torch.no_grad():
        pruned, _ = prune(network, _image(3, 32), 0.5)
    for model in (network.model, pruned.model):
        assert {name: module.training for name, module in model.named_modules()} == modes
        assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_ratio_out_of_range(ratio: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        prune(_network("cnn-s"), _image(3, 32), ratio)


def test_nothing_to_prune() -> None:
    network = build(Architecture("cnn-s", 10, 3, (32, 32), {"width": 1, "depth": 1}))
    logits = Stage("logits", "classifier", ("blocks", "embedding", "classifier"), 10)
    head = Staged(network.model, (logits,))
    with pytest.raises(PlanError, match="no layer that could lose a channel"):
        prune(head, _image(3, 32), 0.5)


def test_an_image_that_does_not_fit_is_named() -> None:
    with pytest.raises(CompressError, match=r"ConvNet fails on an image of 1x32x32: RuntimeError: .*expected input"):
        prune(_network("cnn-s"), _image(1, 32), 0.5)


def test_the_cause_is_named_where_a_network_takes_no_such_size() -> None:
    with pytest.raises(
        CompressError, match=r"VisionTransformer fails on an image of 3x32x64: .*Expected 32 but got 64"
    ):
        prune(_network("vit_b_32"), torch.zeros(1, 3, 32, 64), 0.5)


class _TwoHeads(nn.Module):
    """Two classifiers of one feature, given in one tensor, each at the end of a chain of layers, or apart."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head, self.other = nn.Linear(8, 6), nn.Linear(8, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, image: Tensor) -> object:
        feature = self.body(image)
        first, second = self.head(feature), self.other(feature)
        if self.form == "joined":
            return torch.cat([first, second], dim=1)
        if self.form == "normalised":
            return torch.cat([first, self.norm(second).relu()], dim=1)
        return {"pair": (first, second), "dict": {"logits": first}}[self.form]


def _two_heads(form: str) -> Staged:
    stages = (Stage("body", "body", ("body",), 8), Stage("logits", "", ("head",), 10))
    return Staged(_TwoHeads(form).eval(), stages)


@pytest.mark.parametrize("form", ["joined", "normalised"])
def test_every_layer_that_makes_the_output_keeps_its_outputs(form: str) -> None:
    pruned, cuts = prune(_two_heads(form), _image(3, 16), 0.5)
    assert [(cut.module, len(cut.channels)) for cut in cuts] == [("body.0", 4)]
    assert pruned.model(_image(3, 16)).shape == (1, 10)


@pytest.mark.parametrize(("form", "came"), [("pair", "2 outputs"), ("dict", "a dict")])
def test_a_network_of_several_outputs_is_refused(form: str, came: str) -> None:
    with pytest.raises(CompressError, match=f"_TwoHeads gives {came}; only a network with one output"):
        prune(_two_heads(form), _image(3, 16), 0.5)


def test_a_cut_of_the_outputs_is_refused() -> None:
    with pytest.raises(CompressError, match="leave 8 of the 10 outputs of ConvNet"):
        apply(_network("cnn-s"), [Cut("classifier", True, (1, 2))], _image(3, 32))


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (Cut("blocks.9.conv", True, (0,)), "does not have"),
        (Cut("blocks.0", True, (0,)), "no channels to cut"),
        (Cut("blocks.0.relu", True, (0,)), "no channels to cut"),
        (Cut("blocks.0.conv", True, (8,)), "removes channel 8 of 'blocks.0.conv', which has 8"),
        (Cut("blocks.1.conv", False, (8,)), "removes channel 8 of 'blocks.1.conv', which has 8"),
        (Cut("blocks.0.conv", True, tuple(range(8))), "without channels"),
    ],
)
def test_cuts_that_do_not_fit_are_refused(cut: Cut, message: str) -> None:
    network = _network("cnn-s")
    before = state_of(network)
    with pytest.raises(CompressError, match=message):
        apply(network, [cut], _image(3, 32))
    assert same(state_of(network), before)


def test_a_narrowed_network_is_not_cut() -> None:
    network = narrow_taps(_network("cnn-a"), {"map1": 8})
    with pytest.raises(PlanError, match="map1 are narrowed"):
        prune(network, _image(3, 32), 0.5)


# narrow_taps


def _naive_best(weight: Tensor, count: int) -> list[int]:
    norms = [sum(abs(value) for value in row.flatten().tolist()) for row in weight]
    best = sorted(range(len(norms)), key=lambda channel: -norms[channel])[:count]
    return sorted(best)


def test_narrow_taps_shows_the_best_filters_in_their_order() -> None:
    network, images = _network("cnn-a"), _image(3, 32, count=2)
    before = state_of(network)
    narrowed = narrow_taps(network, {"map1": 8, "map2": 16, "map3": 5})
    assert narrowed.model is network.model
    assert same(state_of(network), before)
    assert not network.keep
    names = ("map1", "map2", "map3")
    with torch.no_grad(), tapped(network, names) as wide:
        network.model(images)
    with torch.no_grad(), tapped(narrowed, names) as shown:
        narrowed.model(images)
    for number, (name, width) in enumerate(zip(names, (8, 16, 5), strict=True)):
        weight = network.model.get_submodule(f"blocks.{number}.conv").weight
        assert narrowed.width(name) == width
        assert torch.equal(shown[name], wide[name][:, _naive_best(weight, width)])


def test_narrow_taps_ranks_the_last_convolution_of_a_stage() -> None:
    network = _network("torchvision:resnet18")
    narrowed = narrow_taps(network, {"stem": 32, "layer2": 100})
    convolutions = {"stem": "conv1", "layer2": "layer2.1.conv2"}
    for name, path in convolutions.items():
        weight = network.model.get_submodule(path).weight
        assert narrowed.keep[name].tolist() == _naive_best(weight, narrowed.width(name))


def test_narrow_taps_by_another_score_and_over_again() -> None:
    network = narrow_taps(_network("cnn-a"), {"map1": 8, "map2": 16})
    again = narrow_taps(network, {"map1": 4}, score=lambda weight: -torch.arange(len(weight)))
    assert again.keep["map1"].tolist() == [0, 1, 2, 3]
    assert torch.equal(again.keep["map2"], network.keep["map2"])


def test_narrow_taps_keeps_more_of_the_norm_than_chance() -> None:
    network = _network("cnn-a")
    norms = filter_norms(network.model.get_submodule("blocks.2.conv").weight)
    kept = narrow_taps(network, {"map3": 32}).keep["map3"]
    assert 0.5 < (norms[kept].sum() / norms.sum()).item() < 0.6


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"map9": 4}, "unknown stage 'map9'"),
        ({"embedding": 4}, "owns no convolution"),
        ({"map1": 17}, "cannot show 17 of 16"),
        ({"map1": 0}, "cannot show 0 of 16"),
    ],
)
def test_narrow_taps_wrong_widths(widths: dict[str, int], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        narrow_taps(_network("cnn-a"), widths)


def test_narrow_taps_needs_a_feature_of_the_convolution() -> None:
    network = _network("torchvision:resnet18")
    stem = Stage("stem", "relu", ("conv1", "layer4.1"), 64)
    with pytest.raises(PlanError, match="its last convolution has 512 filters, its tap 64 channels"):
        narrow_taps(Staged(network.model, (stem, *network.stages[1:])), {"stem": 32})
