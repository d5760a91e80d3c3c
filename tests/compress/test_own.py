"""Networks in files of code: what a factory is given, what it may give back, and when its file is run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from watch import same, state_of

from compress.card import Card
from compress.checkpoint import load, load_plain, read_card, save
from compress.code import naming
from compress.data import DataOptions, Dataset
from compress.errors import CheckpointError, CompressError
from compress.initial import open_initial
from compress.models import Architecture, Option, build, canonical, named
from compress.named import Named
from compress.opening import new_network
from compress.preprocessing import Preprocessing
from compress.stages import Staged

FILE = Path(__file__).parent / "my_model.py"


@pytest.fixture(autouse=True)
def _nothing_stays_named() -> Iterator[None]:
    with naming():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the file."""
    (tmp_path / FILE.name).write_bytes(FILE.read_bytes())
    return tmp_path


def _own(factory: str, file: Path = FILE, **options: Option) -> Staged:
    return build(named(f"{file}:{factory}", 10, 1, (24, 24), options))


def test_a_factory_is_given_what_it_asks_for() -> None:
    network = _own("build", width=6, drop=0.25, norm=False)
    assert network.model.first[0].weight.shape == (6, 1, 3, 3)
    assert network.model.fc.weight.shape == (10, 12)
    assert network.model.drop.p == 0.25
    assert isinstance(network.model.first[1], nn.Identity)
    sized = build(named(f"{FILE}:sized", 10, 1, (8, 12), {"depth": 2}))
    assert sized.model[1].weight.shape == (10, 96)
    assert len(sized.model) == 4


def test_its_weights_depend_on_the_seed_alone() -> None:
    made = named(f"{FILE}:build", 10, 1, (24, 24))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = state_of(build(made, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, state_of(build(made, seed=1)))
    assert not same(first, state_of(build(made, seed=2)))


def test_the_card_keeps_the_name_the_arguments_and_the_digest_of_the_file(digits: Dataset, folder: Path) -> None:
    options = {"width": 6, "drop": 0.5, "norm": True}
    made = new_network(Named(f"{folder / FILE.name}:build", options=options), digits, seed=1)
    source = json.loads(made.card.to_json())["source"]
    assert source == {
        "name": "my_model.py:build",
        "options": options,
        "sha256": hashlib.sha256(FILE.read_bytes()).hexdigest(),
    }
    assert Card.from_json(made.card.to_json()) == made.card


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "unknown function 'nothing'"),
        ("buidl", r"Did you mean 'build'\?"),
        ("", "'' is no name of a function; give it as FILE.py:FACTORY"),
        ("fails", r"my_model\.py, line \d+: fails fails: RuntimeError: no network for 10"),
        ("gives_a_dict", "gives_a_dict gives a dict; it has to return the network"),
        ("empty", "Flatten without parameters; there is nothing to train"),
        ("fixed", "it has 7 outputs, where there are 10 classes; let its function take the argument classes"),
        ("whole", "whole is a Linear, not a function"),
        ("sized", "sized also needs depth; add --arg depth=VALUE"),
        ("TwiceRegistered", "whose one.weight and other.weight are one tensor"),
        ("TwoHeads", r"comes out of 2 layers at once \(one, other\).*--stage embedding=MODULE"),
    ],
)
def test_a_factory_that_makes_no_network_of_use_is_named(name: str, message: str) -> None:
    with pytest.raises(CompressError, match=message):
        _own(name)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("mapping", r"gives a mapping with the keys 'out'; .* answer\[KEY\]"),
        ("pair", "gives 2 outputs; give back its logits alone"),
        ("flat", r"answers 2 images with a tensor of shape \(20,\); it has to be \(2, classes\)"),
    ],
)
def test_a_network_that_answers_with_anything_but_logits_is_refused(kind: str, message: str) -> None:
    with pytest.raises(CompressError, match=message):
        _own("Answers", kind=kind)


def test_arguments_that_are_not_its_own_are_refused() -> None:
    with pytest.raises(CompressError, match=r"takes no argument 'widht'; besides classes, channels, size: width, drop"):
        _own("build", widht=4)
    with pytest.raises(CompressError, match="is given classes by the data and --input; leave --arg classes out"):
        _own("build", classes=4)
    assert _own("fixed", outputs=10).width("logits") == 10


def test_images_that_it_cannot_take_are_told() -> None:
    with pytest.raises(CompressError, match="fails on images of 3x24x24: RuntimeError"):
        build(named(f"{FILE}:Answers", 10, 3, (24, 24), {"kind": "pair"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def build(:", r"own\.py, line 1: is no Python code"),
        ("\nimport nowhere_to_be_found", r"own\.py, line 2: ModuleNotFoundError: No module named 'nowhere"),
        ("import sys\nsys.exit(3)", r"own\.py, line 2: SystemExit: 3"),
        ("\0", "is no Python code"),
    ],
)
def test_a_file_that_cannot_be_run_is_told_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "own.py").write_text(content)
    with pytest.raises(CompressError, match=message):
        _own("build", tmp_path / "own.py")


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(CompressError, match=r"nowhere\.py does not exist"):
        _own("build", Path("nowhere.py"))


def test_what_lies_beside_the_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside_the_own.py").write_text("from torch.nn import Flatten, Linear, Sequential")
    (tmp_path / "own.py").write_text(
        "import beside_the_own as b\ndef build(classes): return b.Sequential(b.Flatten(), b.Linear(576, classes))"
    )
    assert _own("build", tmp_path / "own.py").width("embedding") == 576


def test_a_checkpoint_comes_back_where_its_file_is_named_and_only_there(digits: Dataset, folder: Path) -> None:
    file = folder / FILE.name
    with naming():
        made = new_network(Named(f"{file}:build", options={"width": 6}), digits, seed=1)
        path = save(made, folder / "net.safetensors")
    with pytest.raises(CheckpointError, match=r"net\.safetensors: its network is my_model\.py:build.*--code my_model"):
        load(path)
    with naming([file]):
        again = load(path)
    assert same(state_of(again.network), state_of(made.network))
    assert again.network.stages == made.network.stages == read_card(path)[0].stages
    assert [stage.name for stage in again.network.stages] == ["map1", "map2", "embedding", "logits"]


def test_no_file_is_run_for_being_named(tmp_path: Path, teacher_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise RuntimeError('it was run')")
    with naming([tmp_path / "own.py"]):
        load(teacher_path)


def test_a_file_that_was_edited_is_only_taken_deliberately(digits: Dataset, folder: Path) -> None:
    file = folder / FILE.name
    with naming():
        path = save(new_network(Named(f"{file}:build"), digits, seed=1), folder / "net.safetensors")
    file.write_text(file.read_text() + "\n# a remark\n")
    with naming([file]), pytest.raises(CheckpointError, match=r"it was edited since.*add --edited"):
        load(path)
    with naming([file], edited=True):
        again = save(load(path), folder / "again.safetensors")
    with naming([file]):
        load(again)  # its card has the digest of the file as it is
    other = folder / "other.py"
    other.write_text("")
    with naming([other], edited=True), pytest.raises(CheckpointError, match=r"other\.py is another file"):
        load(path)


def test_a_file_of_another_name_with_the_same_bytes_will_do(digits: Dataset, folder: Path) -> None:
    with naming():
        path = save(new_network(Named(f"{folder / FILE.name}:build"), digits, seed=1), folder / "net.safetensors")
    with naming([(folder / FILE.name).rename(folder / "renamed.py")]):
        assert load(path).card.architecture.name == "my_model.py:build"


def test_it_starts_from_plain_weights_and_from_a_checkpoint_of_an_edited_file(folder: Path) -> None:
    name, weights = f"{folder / FILE.name}:build", folder / "w.safetensors"
    given = build(named(name, 4, 3, (24, 24), {"width": 6}), seed=7)
    safetensors.torch.save_file(given.model.state_dict(), weights)
    options = DataOptions(size=(24, 24), fraction=0.1)
    begun = open_initial(Named(name, options={"width": 6}), str(weights), "digits", options, seed=1)
    assert torch.equal(begun.checkpoint.network.model.second[0].weight, given.model.second[0].weight)
    assert any(note.startswith("fc starts anew: the weights tell 4 classes apart") for note in begun.notes)
    path = save(begun.checkpoint, folder / "net.safetensors")
    (folder / FILE.name).write_text((folder / FILE.name).read_text() + "\n# a remark\n")
    again = open_initial(Named(name), str(path), "digits", options, seed=2)
    assert same(state_of(again.checkpoint.network), state_of(begun.checkpoint.network))


def test_a_plain_state_dict_says_how_many_classes_and_channels_it_has(folder: Path) -> None:
    name, weights = f"{FILE}:build", folder / "w.safetensors"
    safetensors.torch.save_file(build(named(name, 4, 3, (24, 24))).model.state_dict(), weights)
    see = Preprocessing((24, 24), 3, (0.5,) * 3, (0.5,) * 3)
    assert load_plain(weights, name, see).card.architecture.classes == 4
    safetensors.torch.save_file(_own("fixed", outputs=10).model.state_dict(), weights)
    with pytest.raises(CheckpointError, match="it has no weight"):
        load_plain(weights, name, see)


def test_the_name_on_a_card_has_no_folder() -> None:
    assert canonical("some/where/my_model.py:build") == "my_model.py:build"
    architecture = Architecture("my_model.py:build", 10, 1, (24, 24), sha256="0" * 64)
    with pytest.raises(CheckpointError, match=re.escape("my_model.py")):
        build(architecture)
