"""Networks: the paper's sizes, the stages of each, and arguments that make none."""

from __future__ import annotations

import pytest
import torch

from compress.errors import CompressError
from compress.models import MODELS, Architecture, build, model_names
from compress.stages import Staged, feature_shapes, tapped


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
        ("resnet18", 3, 32, 10, 11_181_642),
        ("resnet18", 1, 32, 10, 11_175_370),
        ("resnet18", 3, 32, 30, 11_191_902),
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
            "resnet18",
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
        (1, {"map1": (8, 15, 15)}),
        (2, {"map1": (8, 15, 15), "map2": (16, 6, 6)}),
        (5, {"map1": (8, 15, 15), "map2": (16, 6, 6), "map3": (32, 2, 2), "map4": (32, 2, 2), "map5": (32, 2, 2)}),
    ],
)
def test_depth_is_the_number_of_maps(depth: int, shapes: dict[str, tuple[int, ...]]) -> None:
    network = _build("cnn-s", depth=depth)
    found = feature_shapes(network, torch.zeros(1, 3, 32, 32))
    assert {name: found[name] for name in network.body} == shapes


@pytest.mark.parametrize(("size", "depth"), [(21, 3), (9, 2), (3, 1), (21, 8)])
def test_an_input_too_small_for_the_blocks_is_an_error(size: int, depth: int) -> None:
    with pytest.raises(CompressError, match=f"'cnn-s' cannot be built: an input of {size}x{size} pixels is too small"):
        _build("cnn-s", size=size, depth=depth)
    assert _parameters(_build("cnn-s", size=size + 1, depth=depth)) > 0


def test_the_paper_kernels_start_at_48_pixels() -> None:
    assert [p.shape[-1] for p in _build("cnn-s", size=47).model.parameters() if p.ndim == 4] == [3, 3, 3]
    assert [p.shape[-1] for p in _build("cnn-s", size=48, depth=4).model.parameters() if p.ndim == 4] == [
        9,
        5,
        5,
        3,
    ]


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture("resnet81", 10, 3, (32, 32)), "unknown network 'resnet81'. Did you mean 'resnet18'"),
        (
            Architecture("cnn-s", 10, 3, (32, 32), {"widht": 4}),
            "'cnn-s': unknown option 'widht'; it takes: width, depth",
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
    assert model_names()[:2] == ("cnn-s", "cnn-a")
    assert {"resnet18", "resnet50", "mobilenet_v3_small", "efficientnet_b0", "vit_b_16"} < set(MODELS)
    assert not any(name.startswith(("fcn", "deeplab", "fasterrcnn", "raft", "r3d")) for name in MODELS)
