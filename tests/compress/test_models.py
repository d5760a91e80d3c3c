"""Networks: the paper's sizes, the stages of each, and arguments that make none."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss

from compress.edits import Cut
from compress.errors import CompressError
from compress.models import (
    MODELS,
    Architecture,
    build,
    canonical,
    known_name,
    model_names,
    outline,
)
from compress.pruning import apply, narrow_taps, prune
from compress.stages import Staged, feature_shapes, tapped

# The least of each family of torchvision's, with an image that it takes and a layer that could be cut; "" where none.
FAMILIES = (
    ("alexnet", 64, "features.0"),
    ("convnext_tiny", 64, "features.0.0"),
    ("densenet121", 64, "features.conv0"),
    ("efficientnet_b0", 64, "features.0.0"),
    ("googlenet", 64, "conv1.conv"),
    ("inception_v3", 75, "Conv2d_1a_3x3.conv"),
    ("maxvit_t", 224, ""),
    ("mnasnet0_5", 64, "layers.0"),
    ("mobilenet_v2", 64, "features.0.0"),
    ("mobilenet_v3_small", 64, "features.0.0"),
    ("regnet_x_400mf", 64, "stem.0"),
    ("torchvision:resnet18", 64, "conv1"),
    ("shufflenet_v2_x0_5", 64, ""),
    ("squeezenet1_1", 64, "features.0"),
    ("swin_t", 64, ""),
    ("swin_v2_t", 64, ""),
    ("vgg11", 64, "features.0"),
    ("vit_b_32", 64, "encoder.layers.encoder_layer_0.mlp.0"),
)


def _build(name: str, channels: int = 3, size: int = 32, classes: int = 10, **options: int) -> Staged:
    return build(Architecture(name, classes, channels, (size, size), options))


def _parameters(network: Staged) -> int:
    return sum(parameter.numel() for parameter in network.model.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "size", "classes", "parameters"),
    [
        ("cnn-s", 3, 32, 10, 15_050),
        ("cnn-a", 3, 32, 10, 57_994),
        ("cnn-s", 1, 32, 10, 14_906),
        ("cnn-a", 1, 32, 10, 57_706),
        ("cnn-s", 3, 48, 30, 28_318),
        ("cnn-a", 3, 48, 30, 104_990),
        ("torchvision:resnet18", 3, 32, 10, 11_181_642),
        ("torchvision:resnet18", 1, 32, 10, 11_175_370),
        ("torchvision:resnet18", 3, 32, 30, 11_191_902),
    ],
)
def test_the_papers_networks_have_the_papers_parameters(
    name: str, channels: int, size: int, classes: int, parameters: int
) -> None:
    assert _parameters(_build(name, channels, size, classes)) == parameters


@pytest.mark.parametrize(
    ("name", "size", "shapes"),
    [
        ("cnn-s", 32, {"map1": (8, 15, 15), "map2": (16, 6, 6), "map3": (32, 2, 2), "embedding": (64,)}),
        ("cnn-a", 32, {"map1": (16, 15, 15), "map2": (32, 6, 6), "map3": (64, 2, 2), "embedding": (128,)}),
        ("cnn-s", 48, {"map1": (8, 20, 20), "map2": (16, 8, 8), "map3": (32, 2, 2), "embedding": (64,)}),
        (
            "torchvision:resnet18",
            32,
            {
                "stem": (64, 16, 16),
                "layer1": (64, 8, 8),
                "layer2": (128, 4, 4),
                "layer3": (256, 2, 2),
                "layer4": (512, 1, 1),
                "embedding": (512,),
            },
        ),
    ],
)
def test_stages_show_the_papers_maps(name: str, size: int, shapes: dict[str, tuple[int, ...]]) -> None:
    network = _build(name, 3, size)
    found = feature_shapes(network, torch.zeros(1, 3, size, size))
    assert found == {**shapes, "logits": (10,)}
    assert list(found) == [*shapes, "logits"]


def test_maps_and_embedding_are_read_after_the_relu() -> None:
    network = _build("cnn-s")
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with tapped(network, ["map1", "map2", "map3", "embedding", "logits"]) as taps:
        network.model(image)
    for name in ("map1", "map2", "map3", "embedding"):
        assert taps[name].min() >= 0
    assert taps["logits"].min() < 0


def test_width_scales_every_stage() -> None:
    network = _build("cnn-s", width=3)
    assert [stage.width for stage in network.stages] == [3, 6, 12, 24, 10]
    assert _parameters(_build("cnn-s", width=16)) == _parameters(_build("cnn-a"))
    assert _parameters(_build("cnn-a", width=8)) == _parameters(_build("cnn-s"))


@pytest.mark.parametrize(
    ("depth", "shapes"),
    [
        (1, [(8, 2, 2)]),
        (2, [(8, 15, 15), (16, 2, 2)]),
        (4, [(8, 15, 15), (16, 6, 6), (16, 6, 6), (32, 2, 2)]),
        (5, [(8, 15, 15), (16, 6, 6), (16, 6, 6), (32, 2, 2), (64, 2, 2)]),
        (7, [(8, 15, 15), (16, 6, 6), (16, 6, 6), (32, 2, 2), (64, 2, 2), (64, 2, 2), (128, 2, 2)]),
    ],
)
def test_depth_is_the_number_of_maps(depth: int, shapes: list[tuple[int, ...]]) -> None:
    network = _build("cnn-s", depth=depth)
    found = feature_shapes(network, torch.zeros(1, 3, 32, 32))
    assert [found[name] for name in network.body] == shapes
    assert found["embedding"] == (2 * shapes[-1][0],)
    assert list(network.body) == [f"map{number}" for number in range(1, depth + 1)]


def test_blocks_behind_the_seventh_are_as_wide_as_it() -> None:
    blank = outline(Architecture("cnn-s", 10, 3, (32, 32), {"depth": 9, "width": 2}))
    assert [blank.width(name) for name in blank.body] == [2, 4, 4, 8, 16, 16, 32, 32, 32]


def test_the_networks_of_the_depth_study_span_what_the_paper_says() -> None:
    inputs = {"CIFAR-10": (10, 3, 32), "Fashion-MNIST": (10, 1, 32), "CUB-200": (30, 3, 48)}
    counts = {
        _parameters(outline(Architecture(name, classes, channels, (size, size), {"depth": depth})))
        for name in ("cnn-s", "cnn-a")
        for classes, channels, size in inputs.values()
        for depth in (2, 3, 5, 7)
    }
    assert (min(counts), max(counts)) == (3_706, 1_131_262)


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("depth", [2, 3, 5, 7])
def test_every_depth_of_the_study_learns_and_is_narrowed(depth: int, size: int) -> None:
    student, auxiliary = (_build(name, size=size, depth=depth) for name in ("cnn-s", "cnn-a"))
    image = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    shown = narrow_taps(auxiliary, {name: student.width(name) for name in student.body})
    with torch.no_grad(), tapped(shown, shown.body) as targets:
        targets.read(shown.model, image)
    before = [parameter.detach().clone() for parameter in student.model.parameters()]
    optimizer = torch.optim.SGD(student.model.parameters(), lr=0.1)
    with tapped(student, [*student.body, "logits"]) as taps:
        taps.read(student.model, image)
        assert {name: taps[name].shape for name in student.body} == {n: targets[n].shape for n in student.body}
        loss = sum((mse_loss(taps[name], targets[name]) for name in student.body), start=taps["logits"].square().mean())
    loss.backward()
    optimizer.step()
    assert not any(torch.equal(old, new) for old, new in zip(before, student.model.parameters(), strict=True))
    less, _ = prune(auxiliary, image[:1], 0.5)
    assert [stage.width for stage in less.stages] == [stage.width for stage in student.stages]
    assert _parameters(less) == _parameters(student)


def test_the_layout_of_the_first_version_can_still_be_built() -> None:
    old = _build("cnn-s", depth=5, layout=1)
    found = feature_shapes(old, torch.zeros(1, 3, 32, 32))
    assert [found[name] for name in old.body] == [(8, 15, 15), (16, 6, 6), *[(32, 2, 2)] * 3]
    assert _parameters(old) == 33_674
    assert _parameters(_build("cnn-s", depth=2, layout=1)) == 39_018
    assert _kinds(_build("cnn-a", layout=1)) == _kinds(_build("cnn-a"))


@pytest.mark.parametrize(("size", "depth"), [(21, 3), (3, 2), (21, 8)])
def test_an_input_too_small_for_the_blocks_is_an_error(size: int, depth: int) -> None:
    with pytest.raises(CompressError, match=f"'cnn-s' cannot be built: an input of {size}x{size} pixels is too small"):
        _build("cnn-s", size=size, depth=depth)
    assert _parameters(_build("cnn-s", size=size + 1, depth=depth)) > 0


def test_the_paper_kernels_start_at_48_pixels() -> None:
    assert [p.shape[-1] for p in _build("cnn-s", size=47).model.parameters() if p.ndim == 4] == [3, 3, 3]
    for depth, kernels in ((2, [9, 5]), (3, [9, 5, 5]), (5, [9, 7, 5, 3, 3])):
        network = _build("cnn-s", size=48, depth=depth)
        assert [p.shape[-1] for p in network.model.parameters() if p.ndim == 4] == kernels


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture("resnet81", 10, 3, (32, 32)), "unknown network 'resnet81'. Did you mean 'resnet18'"),
        (
            Architecture("cnn-s", 10, 3, (32, 32), {"widht": 4}),
            "'cnn-s': unknown option 'widht'; it takes: width, depth, layout",
        ),
        (Architecture("resnet18", 10, 3, (32, 32), {"width": 4}), "'resnet18': unknown option 'width'; it takes: none"),
        (Architecture("cnn-s", 10, 3, (32, 32), {"width": 0}), "width is 0; allowed are 1 to 1024"),
        (Architecture("cnn-s", 10, 3, (32, 32), {"depth": 33}), "depth is 33; allowed are 1 to 32"),
        (Architecture("cnn-s", 10, 3, (4096, 4096), {"width": 1024}), "'cnn-s' cannot be built.*weights; allowed are"),
        (Architecture("vit_b_16", 10, 3, (20, 20)), "'vit_b_16' cannot be built"),
    ],
)
def test_an_architecture_that_makes_no_network_is_an_error(architecture: Architecture, message: str) -> None:
    with pytest.raises(CompressError, match=message):
        build(architecture)


@pytest.mark.parametrize(
    "numbers", [(0, 3, 32), (10, 0, 32), (10, 3, 0), (-1, 3, 32), (100_001, 3, 32), (10, 1_025, 32), (10, 3, 4_097)]
)
def test_numbers_out_of_range_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="allowed are 1 to"):
        Architecture("cnn-s", *numbers[:2], (numbers[2], 32))


def test_the_names_are_the_papers_and_torchvisions() -> None:
    names = model_names()
    assert names[: len(MODELS)] == tuple(MODELS)
    trunks = ("resnet10", "resnet14", "resnet18", "resnet20", "resnet26", "resnet34")
    assert tuple(MODELS) == ("cnn-s", "cnn-a", *trunks, *(f"unet-{trunk}" for trunk in trunks))
    assert {"resnet18", "torchvision:resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0"} < set(names)
    assert len(set(names)) == len(names)
    assert not any(name.startswith(("fcn", "deeplab", "fasterrcnn", "raft", "r3d")) for name in names)


def test_a_known_name_says_whose_network_it_is() -> None:
    assert known_name("cnn-s") == "cnn-s"
    assert known_name("resnet18") == "resnet18"
    assert known_name("torchvision:resnet18") == "torchvision:resnet18"
    assert known_name("squeezenet1_1") == known_name("torchvision:squeezenet1_1") == "torchvision:squeezenet1_1"
    assert known_name("resnet50") == "torchvision:resnet50"
    assert all(known_name(known_name(name)) == known_name(name) == canonical(name) for name in model_names())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:cnn-s", "unknown network 'torchvision:cnn-s'"),
        ("torchvision:resnet10", "Did you mean 'torchvision:resnet1"),
        ("torchvision:resnet81", "Did you mean 'torchvision:resnet18'"),
        ("tim:resnet18", "unknown network 'tim:resnet18'"),
        ("unet-resnet50", "Did you mean 'unet-resnet"),
        ("resnet12", "Did you mean 'resnet1"),
        ("", "unknown network ''"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_of_its_kind(name: str, message: str) -> None:
    with pytest.raises(CompressError, match=message):
        known_name(name)


@pytest.mark.parametrize("name", ["torchvision:nope", "torchvision:zzzz"])
def test_a_name_that_is_like_none_behind_its_colon_gets_no_suggestion(name: str) -> None:
    with pytest.raises(CompressError, match=rf"unknown network '{name}'\. Known: "):
        known_name(name)


def test_the_two_networks_of_one_name_differ() -> None:
    ours, theirs = (outline(Architecture(name, 10, 3, (32, 32))) for name in ("resnet18", "torchvision:resnet18"))
    assert (_parameters(ours), _parameters(theirs)) == (11_441_482, 11_181_642)
    assert (ours.width("embedding"), theirs.width("embedding")) == (256, 512)
    assert _kinds(outline(Architecture("squeezenet1_1", 10, 3, (32, 32)))) == _kinds(
        outline(Architecture("torchvision:squeezenet1_1", 10, 3, (32, 32)))
    )


# outlines


def _kinds(network: Staged) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {key: (value.shape, value.dtype) for key, value in network.model.state_dict().items()}


@pytest.mark.parametrize(("name", "size"), [("cnn-s", 32), ("cnn-a", 48), *(family[:2] for family in FAMILIES)])
def test_an_outline_is_the_network_without_its_memory(name: str, size: int) -> None:
    blank = outline(Architecture(name, 10, 3, (size, size)))
    assert all(tensor.is_meta for tensor in (*blank.model.parameters(), *blank.model.buffers()))
    made = _build(name, size=size)
    assert _kinds(blank) == _kinds(made)
    assert blank.stages == made.stages
    assert [str(module) for module in blank.model.modules()] == [str(module) for module in made.model.modules()]


@pytest.mark.parametrize("name", model_names())
def test_every_network_has_an_outline(name: str) -> None:
    size = {"vit_h_14": 28, "maxvit_t": 224}.get(name, 96)
    blank = outline(Architecture(name, 7, 1, (size, size)))
    assert blank.width("logits") == 7
    assert all(tensor.is_meta for tensor in blank.model.state_dict().values())


@pytest.mark.parametrize("family", [family for family in FAMILIES if family[2]], ids=lambda family: family[0])
def test_an_outline_can_be_cut(family: tuple[str, int, str]) -> None:
    name, size, layer = family
    blank = outline(Architecture(name, 10, 3, (size, size)))
    less = apply(blank, (Cut(layer, True, (0, 1)),), torch.zeros(1, 3, size, size, device="meta"))
    assert _parameters(less) < _parameters(blank)
    assert all(tensor.is_meta for tensor in less.model.state_dict().values())


def test_an_outline_does_not_touch_the_random_state() -> None:
    before = torch.random.get_rng_state()
    outline(Architecture("resnet18", 10, 3, (32, 32)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_outline_that_makes_no_network_is_an_error() -> None:
    with pytest.raises(CompressError, match="'cnn-s' cannot be built: an input of 5x5 pixels is too small"):
        outline(Architecture("cnn-s", 10, 3, (5, 5)))
