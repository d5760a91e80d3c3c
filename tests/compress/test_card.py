"""Cards: the blueprint of a network as text, in every format, and the texts that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from watch import same, state_of

from compress.card import LONGEST, SEAL, Card, seal
from compress.checkpoint import KEY, Checkpoint, blank_image, load, save
from compress.data import DataOptions
from compress.data import load as load_data
from compress.edits import Cut
from compress.errors import CheckpointError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.stages import Stage
from compress.tasks import CLASSIFICATION, TASKS

Change = Callable[[dict[str, Any]], object]

FORMAT_1 = Path(__file__).with_name("format-1.safetensors")

FORMAT_2 = (
    '{"format": 2, "source": {"name": "resnet18", "options": {}}, "preprocessing": {"size": [32, 32], "channels": '
    '1, "mean": [0.5], "std": [0.25], "resize": "crop", "crop": 1.0, "border": 0}, "classes": ["a", "b"], "task": '
    '"classification", "edits": [], "stages": [["stem", "relu", ["conv1", "bn1"], 64, false], ["layer1", "layer1", '
    '["layer1"], 64, false], ["layer2", "layer2", ["layer2"], 128, false], ["layer3", "layer3", ["layer3"], 256, '
    'false], ["layer4", "layer4", ["layer4"], 512, false], ["embedding", "fc", [], 512, true], ["logits", "", '
    '["fc"], 2, false]], "weights": "", "lineage": [{"command": "edgepress train resnet18"}], "seal": '
    '"cb62fda86c21a05c51ab1661362e905cca61d3fe0cd62f2353ea8fc4fd96ec64"}'
)

CARD = Card(
    Architecture("cnn-s", 2, 3, (24, 32), {"width": 4, "depth": 2}),
    Preprocessing((24, 32), 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "stretch", crop=0.875, border=2),
    ("a cat", "数字 \x1b"),
    "retrieval",
    (Cut("blocks.0.conv", True, (0, 3)),),
    (Stage("map1", "blocks.0", ("blocks.0",), 2), Stage("logits", "", ("classifier",), 2, before=True)),
    "0" * 64,
    ({"command": "edgepress train", "metrics": {"top1": 0.1 + 0.2}, "none": None},),
)


def _resealed(card: Card, change: Change) -> str:
    data = json.loads(card.to_json())
    del data[SEAL]
    change(data)
    return json.dumps({**data, SEAL: seal(data)})


def _first_format(card: Card) -> dict[str, Any]:
    """The card as the first format had it."""
    shape, see = card.architecture, card.preprocessing
    return {
        "format": 1,
        "architecture": {
            "name": shape.name,
            "classes": shape.classes,
            "channels": shape.channels,
            "size": shape.size[0],
            "options": dict(shape.options),
        },
        "mean": list(see.mean),
        "std": list(see.std),
        "classes": list(card.classes),
        "task": card.task,
        "surgery": [],
        "lineage": [dict(step) for step in card.lineage],
    }


@pytest.fixture
def opened(student: Checkpoint, tmp_path: Path) -> Callable[[str], Checkpoint]:
    """The text of a card to the checkpoint that `load` makes of it and the weights of a cnn-s."""

    def read(text: str) -> Checkpoint:
        path = tmp_path / "network.safetensors"
        safetensors.torch.save_file(student.network.model.state_dict(), path, metadata={KEY: text})
        return load(path)

    return read


# there and back


def test_a_card_comes_back_whole() -> None:
    assert Card.from_json(CARD.to_json()) == CARD
    assert Card.from_json(CARD.to_json()).to_json() == CARD.to_json()


def test_the_card_of_the_damage_tests_is_good(student: Checkpoint, opened: Callable[[str], Checkpoint]) -> None:
    assert opened(_resealed(student.card, _with())).card == student.card
    assert opened(json.dumps(_first_format(student.card))).card == student.card


def test_the_input_of_a_card(teacher: Checkpoint) -> None:
    assert teacher.card.preprocessing.shape == (1, 24, 24)
    assert blank_image(teacher.card).shape == (1, 1, 24, 24)
    assert not blank_image(teacher.card).any()
    assert (teacher.card.scale.mean, teacher.card.scale.std) == ((0.3057,), (0.3762,))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_on_a_card(task: str) -> None:
    assert Card.from_json(replace(CARD, task=task).to_json()).task == task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("one",)}, "1 class names for 2 outputs"),
        ({"task": "clasification"}, "unknown task 'clasification'. Did you mean 'classification'"),
        ({"preprocessing": replace(CARD.preprocessing, size=(32, 24))}, r"\(3, 24, 32\), which it sees as \(3, 32, 24"),
        ({"architecture": replace(CARD.architecture, channels=1)}, r"\(1, 24, 32\), which it sees as \(3, 24, 32\)"),
    ],
)
def test_a_card_that_contradicts_itself_cannot_be_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CARD, **changes)


# the first format


def test_a_file_of_the_first_format_is_read() -> None:
    """It was trained, pruned and trained again by version 0.1.0, whose own score is in its lineage."""
    old = load(FORMAT_1)
    assert [cut.module for cut in old.card.edits] == ["embedding.1", "blocks.2.conv", "blocks.1.conv", "blocks.0.conv"]
    assert [stage.width for stage in old.network.stages] == [2, 4, 8, 16, 10]
    assert old.card.preprocessing == Preprocessing((24, 24), 1, (0.3057,), (0.3762,))
    digits = load_data("digits", DataOptions(size=(24, 24), augment=()))
    score = CLASSIFICATION.evaluate(old.network, digits)["top1"]
    assert score == pytest.approx(old.card.lineage[-1]["metrics"]["top1"], abs=1e-6)


@pytest.mark.parametrize(
    ("lineage", "border"),
    [
        ([], 0),
        ([{"command": "edgepress train", "data": {"name": "fashion-mnist"}}], 2),
        ([{"data": {"name": "fashion-mnist"}}, {"data": {"name": "digits"}}], 2),
        ([{"data": {"name": "digits"}}, {"data": {"name": "fashion-mnist"}}], 0),
        ([{"command": "edgepress prune"}, {"data": {"name": "fashion-mnist"}}], 2),
        ([{"data": "fashion-mnist"}, {"data": {}}], 0),
    ],
)
def test_the_border_of_the_first_format_is_that_of_its_data(lineage: list[dict[str, Any]], border: int) -> None:
    card = _first_format(replace(CARD, architecture=Architecture("cnn-s", 2, 3, (24, 24)), preprocessing=_square()))
    assert Card.from_json(json.dumps(card | {"lineage": lineage})).preprocessing == _square(border)


def _square(border: int = 0) -> Preprocessing:
    return Preprocessing((24, 24), 3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), border=border)


# the second format, whose torchvision networks had no prefix


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("resnet18", "torchvision:resnet18"),
        ("resnet34", "torchvision:resnet34"),
        ("squeezenet1_1", "torchvision:squeezenet1_1"),
        ("cnn-a", "cnn-a"),
    ],
)
def test_earlier_formats_mean_the_networks_of_their_time(number: int, before: str, now: str) -> None:
    card = Card(Architecture("cnn-s", 2, 3, (24, 24)), _square(), ("a", "b"))
    if number == 1:
        data = _first_format(card)
        data["architecture"]["name"] = before
        text = json.dumps(data)
    else:
        text = _resealed(card, _both(_with(format=2), _inside("source", name=before)))
    read = Card.from_json(text)
    assert read.architecture == Architecture(now, 2, 3, (24, 24))
    assert read.task == "classification"
    assert Card.from_json(read.to_json()) == read


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(("depth", "layout"), [(None, {}), (3, {}), (2, {"layout": 1}), (7, {"layout": 1})])
def test_earlier_formats_have_the_layouts_of_their_time(number: int, depth: int | None, layout: dict[str, int]) -> None:
    options = {"width": 4} if depth is None else {"width": 4, "depth": depth}
    card = Card(Architecture("cnn-s", 2, 3, (24, 24), options), _square(), ("a", "b"))
    text = json.dumps(_first_format(card)) if number == 1 else _resealed(card, _with(format=2))
    assert dict(Card.from_json(text).architecture.options) == options | layout


def test_in_this_format_the_name_alone_is_ours() -> None:
    card = Card(Architecture("resnet18", 2, 3, (24, 24)), _square(), ("a", "b"))
    assert json.loads(card.to_json())["format"] == 6
    assert json.loads(card.to_json())["source"] == {"name": "resnet18", "options": {}}
    assert Card.from_json(card.to_json()).architecture.name == "resnet18"


def test_a_card_says_whose_network_it_is() -> None:
    card = Card(Architecture("squeezenet1_1", 2, 3, (24, 24)), _square(), ("a", "b"))
    assert card.architecture.name == "torchvision:squeezenet1_1"
    assert card == replace(card, architecture=replace(card.architecture, name="torchvision:squeezenet1_1"))


def test_a_file_of_the_second_format_is_read(tmp_path: Path) -> None:
    """With the card that the version before this one wrote of torchvision's resnet18, to the letter."""
    network = build(Architecture("torchvision:resnet18", 2, 1, (32, 32)), seed=1)
    old = json.loads(FORMAT_2)
    assert old["seal"] == seal({key: value for key, value in old.items() if key != SEAL})
    safetensors.torch.save_file(network.model.state_dict(), tmp_path / "old.safetensors", metadata={KEY: FORMAT_2})
    made = load(tmp_path / "old.safetensors")
    assert made.card.architecture == Architecture("torchvision:resnet18", 2, 1, (32, 32))
    assert same(state_of(made.network), state_of(network))
    assert made.network.stages == network.stages
    assert made.card.lineage == ({"command": "edgepress train resnet18"},)
    again = load(save(made, tmp_path / "new.safetensors"))
    assert again.card.architecture == made.card.architecture
    assert same(state_of(again.network), state_of(network))


# damage


def _without(name: str) -> Change:
    return lambda card: card.pop(name)


def _with(**values: object) -> Change:
    return lambda card: card.update(values)


def _inside(part: str, **values: object) -> Change:
    return lambda card: card[part].update(values)


def _both(*changes: Change) -> Change:
    return lambda card: [change(card) for change in changes]


def _sized(*size: int) -> Change:
    return _inside("preprocessing", size=size)


STAGE = ["map1", "blocks.0", ["blocks.0"], 4, False]
FIELDS = ("format", "source", "preprocessing", "classes", "task", "edits", "stages", "weights", "lineage")
SEEING = ("size", "channels", "mean", "std", "resize", "crop", "border")
DAMAGE: dict[str, Change] = {
    **{f"no {name}": _without(name) for name in FIELDS},
    **{f"{name} null": _with(**{name: None}) for name in FIELDS},
    **{f"{name} a number": _with(**{name: 7}) for name in FIELDS},
    **{f"{name} a list of lists": _with(**{name: [[[]]]}) for name in FIELDS},
    **{f"{name} a mapping": _with(**{name: {"a": 1}}) for name in FIELDS},
    **{f"{name} null": _inside("preprocessing", **{name: None}) for name in SEEING},
    **{f"{name} a text": _inside("preprocessing", **{name: "1"}) for name in SEEING},
    **{f"{name} a list": _inside("preprocessing", **{name: [[1]]}) for name in SEEING},
    "format newer": _with(format=7),
    "name unknown": _inside("source", name="cnn-b"),
    "name a number": _inside("source", name=1),
    "name another network": _inside("source", name="resnet18"),
    "classes many": _with(classes=["a"] * 11),
    "classes few": _with(classes=["a"] * 9),
    "classes a million": _with(classes=["a"] * 10**6),
    "classes more than allowed": _with(classes=["a"] * 100_001),
    "classes none": _with(classes=[]),
    "classes numbers": _with(classes=list(range(10))),
    "classes a text": _with(classes="0123456789"),
    "channels true": _inside("preprocessing", channels=True),
    "channels other": _inside("preprocessing", channels=3, mean=[0.1] * 3, std=[0.1] * 3),
    "channels zero": _inside("preprocessing", channels=0, mean=[], std=[]),
    "size zero": _sized(0, 0),
    "size negative": _sized(-24, 24),
    "size small": _sized(5, 5),
    "size other": _sized(48, 48),
    "size huge": _sized(10**9, 10**9),
    "size of one side": _sized(24),
    "size a fraction": _inside("preprocessing", size=[24.0, 24.0]),
    "options null": _inside("source", options=None),
    "options a list": _inside("source", options=["width"]),
    "options a thousand": _inside("source", options={f"width{n}": 4 for n in range(1000)}),
    "option unknown": _inside("source", options={"height": 3}),
    "option a text": _inside("source", options={"width": "4"}),
    "option huge": _inside("source", options={"width": 10**6}),
    "option other": _inside("source", options={"width": 9}),
    "option large": _both(_inside("source", options={"width": 1024}), _sized(4096, 4096)),
    "mean short": _inside("preprocessing", mean=[]),
    "mean long": _inside("preprocessing", mean=[0.1, 0.2]),
    "mean nan": _inside("preprocessing", mean=[float("nan")]),
    "mean infinite": _inside("preprocessing", mean=[float("inf")]),
    "mean too large for a float": _inside("preprocessing", mean=[10**400]),
    "mean too long for a number": _inside("preprocessing", mean=["1" * 5000]),
    "std zero": _inside("preprocessing", std=[0.0]),
    "std negative": _inside("preprocessing", std=[-1.0]),
    "std infinite": _inside("preprocessing", std=[float("inf")]),
    "crop nan": _inside("preprocessing", crop=float("nan")),
    "crop zero": _inside("preprocessing", crop=0),
    "crop above one": _inside("preprocessing", crop=1.5),
    "resize unknown": _inside("preprocessing", resize="fit"),
    "border negative": _inside("preprocessing", border=-1),
    "task unknown": _with(task="detection"),
    "weights of another network": _with(weights="0" * 64),
    "lineage texts": _with(lineage=["train"]),
    "lineage pairs": _with(lineage=[[["command", "train"]]]),
    "stage short": _with(stages=[STAGE[:4]]),
    "stage width true": _with(stages=[[*STAGE[:3], True, False]]),
    "stage width other": _with(stages=[[*STAGE[:3], 5, False]]),
    "stage tap unknown": _with(stages=[["map1", "blocks.9", ["blocks.0"], 4, False]]),
    "stage tap a parameter": _with(stages=[["map1", "blocks.0.conv.weight", ["blocks.0"], 4, False]]),
    "stage tap not a name": _with(stages=[["map1", "..", ["blocks.0"], 4, False]]),
    "stage owns unknown": _with(stages=[["map1", "blocks.0", ["blocks.9"], 4, False]]),
    "stage never reached": _with(stages=[["map1", "blocks", ["blocks.0"], 4, False]] * 2),
    "stage twice": _with(stages=[STAGE, STAGE]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_card_is_refused(student: Checkpoint, opened: Callable[[str], Checkpoint], name: str) -> None:
    with pytest.raises(CheckpointError, match=r"network\.safetensors: "):
        opened(_resealed(student.card, DAMAGE[name]))


FIRST_FIELDS = ("architecture", "mean", "std", "classes", "task", "surgery", "lineage")
FIRST_DAMAGE: dict[str, Change] = {
    **{f"no {name}": _without(name) for name in FIRST_FIELDS},
    **{f"{name} null": _with(**{name: None}) for name in FIRST_FIELDS},
    **{f"{name} a number": _with(**{name: 7}) for name in FIRST_FIELDS},
    "size a pair": _inside("architecture", size=[24, 24]),
    "size huge": _inside("architecture", size=10**9),
    "classes many": _inside("architecture", classes=11),
    "classes a fraction": _inside("architecture", classes=10.0),
    "lineage texts": _with(lineage=["train"]),
    "surgery pairs": _with(surgery=[["blocks.0.conv", [0]]]),
}


@pytest.mark.parametrize("name", FIRST_DAMAGE)
def test_a_damaged_card_of_the_first_format_is_refused(
    student: Checkpoint, opened: Callable[[str], Checkpoint], name: str
) -> None:
    card = _first_format(student.card)
    FIRST_DAMAGE[name](card)
    with pytest.raises(CheckpointError, match=r"network\.safetensors: "):
        opened(json.dumps(card))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"card"', "{}", "[" * 100_000, '{"format": 1}', '{"format": ' + "9" * 10_000 + "}"],
)
def test_a_card_that_is_no_card_is_refused(opened: Callable[[str], Checkpoint], text: str) -> None:
    with pytest.raises(CheckpointError, match=r"network\.safetensors: its card"):
        opened(text)


def test_a_card_too_long_is_refused_unread() -> None:
    with pytest.raises(CheckpointError, match="its card is 4,194,305 characters long; the longest that is read"):
        Card.from_json("[" * (LONGEST + 1))


def test_a_card_that_was_altered_shows() -> None:
    text = CARD.to_json()
    for old, new in (("a cat", "a dog"), ("0.1", "0.2"), ("stretch", "stretcH"), ('"border": 2', '"border": 3')):
        with pytest.raises(CheckpointError, match="its card is not the one it was written with; get the file again"):
            Card.from_json(text.replace(old, new, 1))


def test_every_flipped_bit_of_a_card_shows() -> None:
    text = CARD.to_json()
    content = text.encode()
    for position in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        try:
            altered = flipped.decode()
        except UnicodeDecodeError:
            continue
        try:
            assert Card.from_json(altered) == CARD
        except CheckpointError:
            continue
