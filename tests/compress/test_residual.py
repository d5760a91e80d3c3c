"""ResNets and U-Nets: the Stagewise paper's sizes and maps; tracing, folding and cutting them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from watch import same, state_of

from compress.cost import MacCounter
from compress.errors import CompressError
from compress.models import Architecture, build, outline
from compress.models.ours import LAYERS
from compress.models.resnet import ConcatPool, resnet
from compress.models.unet import nearest_size, unet
from compress.pruning import prune
from compress.stages import Staged, feature_shapes, tapped
from compress.training.features import folded

RESNETS = {
    "resnet10": 5_170_762,
    "resnet14": 11_072_074,
    "resnet18": 11_441_482,
    "resnet20": 12_622_154,
    "resnet26": 17_712_202,
    "resnet34": 21_549_642,
}
UNETS = {
    "unet-resnet10": 8_059_084,
    "unet-resnet14": 13_960_396,
    "unet-resnet18": 14_329_804,
    "unet-resnet20": 15_510_476,
    "unet-resnet26": 20_600_524,
    "unet-resnet34": 24_437_964,
}
ENCODER = ["stem", "layer1", "layer2", "layer3", "layer4"]


def _image(channels: int, height: int, width: int, count: int = 1) -> Tensor:
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(7))


def _trained(name: str, size: tuple[int, int], channels: int = 3) -> Staged:
    """A network whose batch-norms have statistics as after training."""
    network = build(Architecture(name, 7, channels, size), seed=1)
    random = torch.Generator().manual_seed(1)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                assert values is not None
                values.uniform_(0.5, 1.5, generator=random)
    network.model.eval()
    return network


def _parameters(network: Staged) -> int:
    return sum(parameter.numel() for parameter in network.model.parameters())


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_have_the_papers_parameters(name: str) -> None:
    with torch.device("meta"):
        assert _parameters(resnet(Architecture(name, 10, 3, (32, 32)))) == RESNETS[name]


@pytest.mark.parametrize("name", UNETS)
def test_unets_have_the_papers_parameters(name: str) -> None:
    with torch.device("meta"):
        assert _parameters(unet(Architecture(name, 12, 3, (32, 32)))) == UNETS[name]


@pytest.mark.parametrize(
    ("name", "size", "millions"),
    [
        ("resnet10", (32, 32), 18.4),
        ("resnet14", (32, 32), 27.8),
        ("resnet18", (64, 64), 148.3),
        ("resnet20", (32, 32), 42.0),
        ("resnet26", (32, 32), 56.2),
        ("resnet34", (64, 64), 299.3),
        ("unet-resnet10", (128, 96), 805),
        ("unet-resnet34", (128, 96), 1485),
    ],
)
def test_what_a_forward_pass_costs(name: str, size: tuple[int, int], millions: float) -> None:
    model = outline(Architecture(name, 12 if name.startswith("unet") else 10, 3, size)).model.eval()
    with torch.no_grad(), MacCounter() as counter:
        model(torch.zeros(1, 3, *size, device="meta"))
    assert counter.macs / 1e6 == pytest.approx(millions, abs=0.5 if millions > 500 else 0.05)


@pytest.mark.parametrize("size", [224, 64, 32])
def test_the_trunk_shows_the_papers_maps(size: int) -> None:
    sides = {224: (112, 56, 28, 14, 7), 64: (32, 16, 8, 4, 2), 32: (16, 8, 4, 2, 1)}[size]
    maps = {n: (c, s, s) for n, c, s in zip(ENCODER, (64, 64, 128, 256, 512), sides, strict=True)}
    blank = outline(Architecture("resnet10", 10, 3, (size, size)))
    shapes = feature_shapes(blank, torch.zeros(1, 3, size, size, device="meta"))
    assert list(shapes.items()) == [*maps.items(), ("embedding", (256,)), ("logits", (10,))]


def test_the_decoder_mirrors_the_trunk_of_an_oblong_image() -> None:
    blank = outline(Architecture("unet-resnet10", 12, 3, (96, 128)))
    shapes = feature_shapes(blank, torch.zeros(1, 3, 96, 128, device="meta"))
    assert list(shapes)[:5] == ENCODER
    assert list(shapes.items())[5:] == [
        ("up1", (256, 6, 8)),
        ("up2", (128, 12, 16)),
        ("up3", (64, 24, 32)),
        ("up4", (32, 48, 64)),
        ("up5", (16, 96, 128)),
        ("logits", (12, 96, 128)),
    ]


@pytest.mark.parametrize("name", ["resnet10", "unet-resnet10"])
def test_every_stage_but_the_logits_is_read_after_a_relu(name: str) -> None:
    network = _trained(name, (32, 64))
    names = [stage.name for stage in network.stages]
    with torch.no_grad(), tapped(network, names) as taps:
        taps.read(network.model, _image(3, 32, 64))
        least = {name: taps[name].min() for name in names}
    assert least.pop("logits") < 0
    assert all(value >= 0 for value in least.values())


def test_the_pool_gives_the_maxima_first() -> None:
    maps = torch.tensor([[[[1.0, 5.0], [2.0, 0.0]], [[-4.0, -1.0], [-2.0, -1.0]]]])
    assert ConcatPool()(maps).tolist() == [[5.0, -1.0, 2.0, -2.0]]


def test_the_stem_is_read_before_the_max_pool() -> None:
    network, image = _trained("resnet10", (32, 32)), _image(3, 32, 32)
    trunk = network.model.get_submodule("encoder")
    with torch.no_grad(), tapped(network, ["stem"]) as taps:
        taps.read(network.model, image)
        assert torch.equal(taps["stem"], trunk.bn1(trunk.conv1(image)).relu())  # type: ignore[operator]


def test_upsampling_repeats_each_value() -> None:
    network, image = _trained("unet-resnet10", (32, 32)), _image(3, 32, 32)
    seen: list[Tensor] = []
    first = network.model.get_submodule("up5.0")
    hook = first.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.no_grad(), tapped(network, ["up4"]) as taps:
        taps.read(network.model, image)
        assert torch.equal(seen[0], taps["up4"].repeat_interleave(2, 2).repeat_interleave(2, 3))
    hook.remove()


def test_a_unet_and_a_resnet_share_the_names_of_their_trunk() -> None:
    def trunk(name: str) -> dict[str, torch.Size]:
        state = outline(Architecture(name, 7, 2, (64, 64))).model.state_dict()
        return {key: value.shape for key, value in state.items() if key.startswith("encoder.")}

    assert trunk("resnet26") == trunk("unet-resnet26")
    assert {"encoder.conv1.weight", "encoder.bn1.running_mean", "encoder.layer4.2.bn2.bias"} < trunk("resnet26").keys()


def test_keys_beside_the_trunk() -> None:
    def rest(name: str) -> list[str]:
        state = outline(Architecture(name, 7, 2, (64, 64))).model.state_dict()
        return [key for key in state if not key.startswith(("encoder.", "up2.", "up3.", "up4.", "up5."))]

    head = ["embedding.0.weight", "embedding.0.bias", "classifier.weight", "classifier.bias"]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    first, second = ([f"up1.{conv}.weight", *(f"up1.{conv + 1}.{key}" for key in norm)] for conv in (0, 3))
    assert rest("resnet10") == head
    assert rest("unet-resnet10") == [*first, *second, "classifier.weight", "classifier.bias"]


@pytest.mark.parametrize("name", ["resnet14", "unet-resnet14"])
def test_it_can_be_traced_and_folded_and_answers_the_same(name: str) -> None:
    network, images = _trained(name, (64, 32), channels=2), _image(2, 64, 32, count=2)
    smaller = folded(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in smaller.model.modules())
    with torch.no_grad():
        logits = network.model(images)
        assert torch.equal(fx.symbolic_trace(network.model)(images), logits)
        torch.testing.assert_close(smaller.model(images), logits, rtol=1e-3, atol=1e-4 * float(logits.abs().max()))


@pytest.mark.parametrize(("name", "widths"), [("resnet10", [128]), ("unet-resnet10", [128, 64, 32, 16, 8])])
def test_it_can_be_cut_in_half(name: str, widths: list[int]) -> None:
    network, image = _trained(name, (32, 64)), _image(3, 32, 64)
    before = state_of(network)
    less, cuts = prune(network, image, 0.5)
    assert same(state_of(network), before)
    assert cuts
    assert [stage.width for stage in less.stages] == [32, 32, 64, 128, 256, *widths, 7]
    assert 0.24 < _parameters(less) / _parameters(network) < 0.26
    assert less.model(image).shape == network.model(image).shape


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((96, 128), (96, 128)),
        ((100, 130), (96, 128)),
        ((112, 111), (128, 96)),
        ((1, 4096), (32, 4096)),
        ((360, 480), (352, 480)),
    ],
)
def test_the_nearest_size_of_a_unet(size: tuple[int, int], nearest: tuple[int, int]) -> None:
    assert nearest_size(size) == nearest


def test_a_size_that_a_unet_cannot_take_says_the_nearest() -> None:
    with pytest.raises(CompressError, match=r"'unet-resnet10' cannot be built: .*100x130 is not.*--size 96x128$"):
        build(Architecture("unet-resnet10", 12, 3, (100, 130)))


def test_the_least_image_goes_through_a_unet() -> None:
    network = build(Architecture("unet-resnet10", 2, 1, (32, 32)))
    assert network.model.eval()(_image(1, 32, 32)).shape == (1, 2, 32, 32)


def test_the_table_of_layers_is_that_of_the_names() -> None:
    assert [sum(layers) * 2 + 2 for layers in LAYERS.values()] == [int(name.removeprefix("resnet")) for name in LAYERS]
