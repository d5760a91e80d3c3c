"""Networks of timm: built, seen, kept; and what is said where there is no timm."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from watch import same, state_of

from compress.checkpoint import load, save
from compress.data import Dataset
from compress.errors import CheckpointError, CompressError, MissingExtraError
from compress.models import Architecture, build, known_name, outline
from compress.named import Named
from compress.opening import new_network
from compress.stages import feature_shapes, owned

with_timm = pytest.mark.extra("timm")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:timm.*", "ignore::FutureWarning:timm.*")

FAMILIES = (
    ("timm:mobilenetv4_conv_small", 64, (32, 16, 8, 4, 2), "classifier"),
    ("timm:resnet10t", 64, (32, 16, 8, 4, 2), "fc"),
    ("timm:convnext_atto", 64, (16, 8, 4, 2), "head.fc"),
    ("timm:efficientvit_b0", 64, (32, 16, 8, 4, 2), "head.classifier.4"),
    ("timm:vit_tiny_patch16_224", 32, (2,), "head"),
    ("timm:swin_tiny_patch4_window7_224", 224, (56, 28, 14, 7), "head.fc"),
)


@with_timm
@pytest.mark.parametrize(("name", "side", "sizes", "head"), FAMILIES, ids=[row[0] for row in FAMILIES])
def test_a_family_of_timm_shows_its_maps(name: str, side: int, sizes: tuple[int, ...], head: str) -> None:
    network = build(Architecture(name, 10, 3, (side, side)))
    shapes = feature_shapes(network, torch.zeros(1, 3, side, side))
    assert [shapes[stage][1:] for stage in network.body] == [(size, size) for size in sizes]
    assert {stage.name: stage.width for stage in network.stages} == {name: shape[0] for name, shape in shapes.items()}
    assert network.stage("logits").owns == (head,)
    assert sum(owned(network, stage) for stage in network.stages) == sum(p.numel() for p in network.model.parameters())


@with_timm
def test_a_network_of_timm_comes_back_from_its_file(digits: Dataset, tmp_path: Path) -> None:
    made = new_network(Named("timm:resnet10t", options={"drop_rate": 0.25}), digits, seed=1)
    assert made.network.model.drop_rate == 0.25
    assert made.network.model.get_submodule("conv1.0").in_channels == digits.see.channels
    again = load(save(made, tmp_path / "net.safetensors"))
    assert same(state_of(again.network), state_of(made.network))
    assert again.network.stages == made.network.stages
    assert (again.card.architecture.name, dict(again.card.architecture.options)) == (
        "timm:resnet10t",
        {"drop_rate": 0.25},
    )


@with_timm
def test_buffers_that_a_network_of_timm_keeps_to_itself_come_back_too(digits: Dataset, tmp_path: Path) -> None:
    made = new_network(Named("timm:swin_tiny_patch4_window7_224", options={"window_size": 3}), digits, seed=1)
    again = load(save(made, tmp_path / "net.safetensors"))
    image = torch.randn(1, *digits.see.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(made.network.model.eval()(image), again.network.model(image))


@with_timm
def test_its_rule_is_that_of_its_weights() -> None:
    import timm

    from compress.models.from_timm import rule_of

    rule = rule_of(timm.get_pretrained_cfg("mobilenetv4_conv_small"))
    assert (rule.size, rule.channels, rule.crop) == ((224, 224), 3, 0.875)
    assert rule.mean == pytest.approx((0.485, 0.456, 0.406))


@with_timm
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm:resnet10", {}, "unknown network 'timm:resnet10'. Did you mean 'timm:resnet10t'"),
        ("timm:resnet10t", {"in_chans": 4}, "--arg in_chans: the data and --size say that"),
        ("timm:resnet10t", {"widht": 4}, "'timm:resnet10t' cannot be built: TypeError"),
        ("timm:deit_tiny_distilled_patch16_224", {}, r"out of 2 layers at once \(head, head_dist\)"),
    ],
)
def test_what_makes_no_network_of_timm_is_refused(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(CompressError, match=message):
        outline(Architecture(name, 10, 3, (32, 32), options))


@with_timm
@pytest.mark.slow  # the hub tries again for most of a minute
def test_weights_that_cannot_be_had_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from compress.models.pretrained import pretrained

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"weights of 'timm:resnet10t' cannot be had from timm/resnet10t"):
        pretrained("timm:resnet10t")


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_it_says_how_to_install_it() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'edgepress\[timm\]'"):
        known_name("timm:resnet10t")
