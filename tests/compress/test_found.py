"""Stages found by following an image: on torchvision's families, and on what a user may write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.card import Card
from compress.checkpoint import Checkpoint, blank_image, load, save
from compress.code import naming
from compress.data import Dataset
from compress.errors import CheckpointError, CompressError
from compress.models import Architecture, build, named, outline
from compress.models.found import overruled
from compress.named import Named
from compress.opening import new_network, paired
from compress.preprocessing import Preprocessing
from compress.pruning import prune
from compress.stages import Stage, Staged, feature_shapes, owned, tapped

FILE = Path(__file__).parent / "my_model.py"

# Network, side of its images, the size of each map, what the last of them comes out of, and its head.
BATTERY = (
    ("squeezenet1_1", 64, (31, 15, 7, 3), "features", "classifier.1"),
    ("mobilenet_v2", 64, (32, 16, 8, 4, 2), "features", "classifier.1"),
    ("efficientnet_b0", 64, (32, 16, 8, 4, 2), "features", "classifier.1"),
    ("vgg11_bn", 32, (32, 16, 8, 4, 2), "features.27", "classifier.6"),
    ("densenet121", 64, (32, 16, 8, 4, 2), "features", "classifier"),
    ("convnext_tiny", 64, (16, 8, 4, 2), "features", "classifier.2"),
    ("swin_t", 64, (16, 8, 4, 2), "permute", "head"),
    ("vit_b_16", 32, (2,), "conv_proj", "heads.head"),
    ("googlenet", 64, (32, 16, 8, 4, 2), "inception5b", "fc"),
    ("shufflenet_v2_x0_5", 64, (32, 8, 4, 2), "conv5", "fc"),
    ("regnet_y_400mf", 64, (32, 16, 8, 4, 2), "trunk_output", "fc"),
    ("mnasnet0_5", 64, (32, 16, 8, 4, 2), "layers", "classifier.1"),
    ("inception_v3", 96, (45, 20, 9, 4, 1), "Mixed_7c", "fc"),
    ("maxvit_t", 224, (112, 56, 28, 14, 7), "blocks.3", "classifier.5"),
)
SLOW = ("maxvit_t", "inception_v3", "densenet121", "regnet_y_400mf", "googlenet")


@pytest.fixture(autouse=True)
def _nothing_stays_named() -> Iterator[None]:
    with naming():
        yield


def _own(factory: str, told: dict[str, str] | None = None, channels: int = 1) -> Staged:
    return build(named(f"{FILE}:{factory}", 10, channels, (24, 24)), told=told)


def _owners(network: Staged, path: str) -> int:
    return sum(network.owns([stage.name], path) for stage in network.stages)


@pytest.mark.parametrize(
    ("name", "side", "sizes", "last", "head"),
    [pytest.param(*row, marks=[pytest.mark.slow] * (row[0] in SLOW), id=row[0]) for row in BATTERY],
)
def test_a_family_shows_the_last_map_at_each_resolution(
    name: str, side: int, sizes: tuple[int, ...], last: str, head: str
) -> None:
    network = outline(Architecture(name, 10, 3, (side, side)))
    shapes = feature_shapes(network, torch.zeros(1, 3, side, side, device="meta"))
    assert [shapes[stage][1:] for stage in network.body] == [(size, size) for size in sizes]
    assert list(network.body) == [f"map{number}" for number in range(1, len(sizes) + 1)]
    assert network.stage(network.body[-1]).tap == last
    assert network.stage("logits").owns == (head,)
    assert (network.stage("embedding").tap, network.stage("embedding").before) == (head, True)
    assert {stage.name: shapes[stage.name][0] for stage in network.stages} == {
        stage.name: stage.width for stage in network.stages
    }
    paths = [path for path, _ in network.model.named_parameters()]
    assert {path: _owners(network, path) for path in paths} == dict.fromkeys(paths, 1)
    assert sum(owned(network, stage) for stage in network.stages) == sum(p.numel() for p in network.model.parameters())
    assert all(owned(network, network.stage(stage)) for stage in network.body)


def test_the_blocks_of_mobilenet_are_not_opened() -> None:
    network = outline(Architecture("mobilenet_v2", 10, 3, (64, 64)))
    assert [network.stage(name).tap for name in network.body] == [
        "features.1",
        "features.3",
        "features.6",
        "features.13",
        "features",
    ]
    assert [network.width(name) for name in network.body] == [16, 24, 32, 96, 1280]


def test_what_is_found_does_not_depend_on_the_weights() -> None:
    architecture = Architecture("mobilenet_v3_small", 10, 3, (64, 64))
    assert build(architecture, seed=1).stages == build(architecture, seed=2).stages == outline(architecture).stages


def test_maps_whose_channels_come_last_are_shown_as_all_others() -> None:
    network = _own("Last")
    first = network.stage("map1")
    assert (first.tap, first.channels_last, first.width) == ("mix", True, 6)
    assert feature_shapes(network, torch.zeros(1, 1, 24, 24)) == {
        "map1": (6, 12, 12),
        "map2": (8, 6, 6),
        "embedding": (8,),
        "logits": (10,),
    }
    image = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    with tapped(network, ["map1"]) as taps, torch.no_grad():
        answer = network.model(image)
    assert torch.equal(
        taps["map1"], network.model.mix(network.model.stem(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    )
    with torch.no_grad():
        assert torch.equal(answer, network.model(image))


def test_parameters_that_no_pass_uses_belong_to_a_stage_too() -> None:
    network = _own("Last")
    assert _owners(network, "unused.weight") == _owners(network, "unused.bias") == 1


def test_a_head_that_is_called_by_keyword_is_read() -> None:
    network = _own("build")
    assert network.stage("embedding").tap == "fc"
    image = torch.randn(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    with tapped(network, ["embedding", "logits"]) as taps, torch.no_grad():
        taps.read(network.model.eval(), image)
    assert torch.allclose(network.model.fc(taps["embedding"]), taps["logits"])


def test_a_module_called_twice_is_no_tap_but_belongs_to_one_stage() -> None:
    network = _own("Shared")
    assert [(stage.name, stage.tap, stage.before, stage.owns) for stage in network.stages] == [
        ("map1", "pool", True, ("stem", "twice")),
        ("embedding", "head", True, ()),
        ("logits", "", False, ("head",)),
    ]


def test_a_network_for_masks_has_maps_and_no_embedding() -> None:
    network = _own("Masks")
    shapes = feature_shapes(network, torch.zeros(1, 1, 24, 24))
    assert shapes == {"map1": (4, 12, 12), "map2": (4, 24, 24), "logits": (10, 24, 24)}
    assert network.stage("logits").owns == ("head",)


def test_a_map_that_is_changed_in_place_later_is_read_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(inplace=True), nn.Flatten())
    model.append(nn.Linear(4 * 36, 10))
    from compress.models.found import find_stages

    network, answer = find_stages(model, torch.zeros(2, 1, 24, 24))
    assert answer == (2, 10)
    assert [stage.tap for stage in network.stages] == ["0", "2", "4", ""]


def test_stages_go_where_they_are_told() -> None:
    network = _own("build", {"map1": "first.0", "embedding": "drop"})
    assert [(stage.name, stage.tap, stage.before) for stage in network.stages] == [
        ("map1", "first.0", False),
        ("embedding", "drop", False),
        ("logits", "", False),
    ]
    assert network.stage("map1").owns == ("first.0",)
    assert network.stage("embedding").owns == ("first.1", "second")
    assert _own("build", {"embedding": "drop"}).body == ("map1", "map2")
    heads = _own("TwoHeads", {"embedding": "pool"})
    assert (heads.body, set(heads.stage("logits").owns)) == (("map1",), {"one", "other"})


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"map1": "frist"}, "--stage map1=frist: Net has no module 'frist'"),
        ({"map1": "0"}, r"no module '0'; there are first\.0, second\.0"),
        ({"map1": ""}, "no module ''"),
        ({"map1": "fc"}, r"'map1' \(fc\) fires behind 'embedding'"),
    ],
)
def test_a_stage_that_cannot_be_there_is_refused(told: dict[str, str], message: str) -> None:
    with pytest.raises(CompressError, match=message):
        _own("build", told)


def test_a_stage_at_a_module_that_is_called_twice_is_refused() -> None:
    with pytest.raises(CompressError, match=r"--stage map1=twice: that module is called 2 times"):
        _own("Shared", {"map1": "twice"})


def test_a_stage_at_a_module_that_is_never_called_is_refused() -> None:
    with pytest.raises(CompressError, match=r"that module is never called; name one that is called once"):
        _own("Spare", {"map1": "spare"})


def test_networks_of_ours_take_other_stages_too_and_keep_them(digits: Dataset, tmp_path: Path) -> None:
    made = new_network(Named("resnet10", told={"middle": "encoder.layer3"}), digits, seed=1)
    assert [stage.name for stage in made.network.stages] == ["middle", "embedding", "logits"]
    again = load(save(made, tmp_path / "net.safetensors")).network
    assert again.stages == made.network.stages
    back = overruled(again, torch.zeros(1, 1, 24, 24), {"low": "encoder.layer1", "high": "encoder.layer4"})
    assert back.body == ("low", "high")


def test_a_checkpoint_from_before_maps_were_found_keeps_its_stages(tmp_path: Path) -> None:
    architecture = Architecture("mobilenet_v3_small", 2, 3, (32, 32))
    card = Card(architecture, Preprocessing((32, 32), 3, (0.5,) * 3, (0.5,) * 3), ("a", "b"))
    network, rest = build(architecture), ("features", "classifier.0")
    before = (
        Stage("embedding", "classifier.3", rest, 1024, before=True),
        Stage("logits", "", ("classifier.3",), 2),
    )
    path = save(Checkpoint(replace(network, stages=before), card), tmp_path / "old.safetensors")
    assert load(path).network.stages == before
    small, cuts = prune(load(path).network, torch.zeros(1, 3, 32, 32), 0.5)
    again = load(save(Checkpoint(small, replace(card, edits=cuts)), tmp_path / "cut.safetensors"))
    assert again.network.stages == small.stages
    assert [stage.name for stage in small.stages] == ["embedding", "logits"]


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Stage("embedding", "nowhere", (), 1024), "its stage 'embedding' names 'nowhere'"),
        (Stage("embedding", "features", ("nowhere",), 576), "its stage 'embedding' names 'nowhere'"),
        (Stage("embedding", "features", ("features",), 575), "its stage 'embedding' is 575 wide"),
    ],
)
def test_stages_on_a_card_are_checked(tmp_path: Path, stage: Stage, message: str) -> None:
    architecture = Architecture("mobilenet_v3_small", 2, 3, (32, 32))
    card = Card(architecture, Preprocessing((32, 32), 3, (0.5,) * 3, (0.5,) * 3), ("a", "b"))
    network = build(architecture)
    with pytest.raises(CheckpointError, match=message):
        save(Checkpoint(replace(network, stages=(stage, network.stages[-1])), card), tmp_path / "x.safetensors")


def _names(network: Staged) -> dict[str, tuple[int, ...]]:
    shapes = feature_shapes(network, torch.zeros(1, 3, 64, 64))
    return {name: shapes[name][1:] for name in network.body}


def test_teacher_and_student_of_two_families_pair_by_resolution() -> None:
    image = torch.zeros(1, 3, 64, 64)
    mobile, residual, ours = (
        build(Architecture(name, 10, 3, (64, 64)))
        for name in ("mobilenet_v3_small", "torchvision:resnet18", "resnet10")
    )
    assert _names(paired(residual, mobile, image)) == _names(mobile)
    assert _names(paired(mobile, residual, image)) == _names(residual)
    assert _names(paired(mobile, ours, image)).items() >= _names(ours).items()


def test_teacher_and_student_of_one_family_keep_their_names(teacher: Checkpoint, student: Checkpoint) -> None:
    assert paired(teacher.network, student.network, blank_image(student.card)) is teacher.network


def test_of_two_maps_of_one_size_the_last_is_paired() -> None:
    deep, shallow = (build(Architecture("cnn-s", 10, 3, (32, 32), {"depth": depth, "width": 2})) for depth in (5, 3))
    image = torch.zeros(1, 3, 32, 32)
    shown = paired(deep, shallow, image)
    assert {name: shown.stage(name).tap for name in shallow.body} == {
        "map1": deep.stage("map1").tap,
        "map2": deep.stage("map3").tap,
        "map3": deep.stage("map5").tap,
    }


def test_stages_without_a_partner_stay_apart() -> None:
    student, teacher = _own("build"), _own("Shared")
    shown = paired(teacher, student, torch.zeros(1, 1, 24, 24))
    assert shown.body == ("map1",)


class _Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Conv2d(1, 4, 3, 2, 1), nn.Linear(4, 10)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.body(image)
        maps[:, :2] = maps[:, :2].relu()
        return self.fc(maps.mean((2, 3)))


def test_values_that_are_changed_through_a_view_are_followed() -> None:
    from compress.models.found import find_stages

    network, _ = find_stages(_Odd(), torch.zeros(2, 1, 24, 24))
    assert [stage.tap for stage in network.stages][-2:] == ["fc", ""]
    assert network.stage("embedding").owns in ((), ("body",))
