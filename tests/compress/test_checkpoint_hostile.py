"""Files that were damaged or made to do harm: refused, and at no cost."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from compress.card import Card
from compress.checkpoint import KEY, Checkpoint, load, load_plain, save
from compress.edits import Cut
from compress.errors import CheckpointError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.pruning import narrow_taps
from compress.stages import Stage

MOST_MB = 100

# Opens the first file, then tries the others; prints by how much the peak of memory grew meanwhile.
OPENER = """
import resource, sys
from compress.checkpoint import load
from compress.errors import CheckpointError
good, *bad = sys.argv[1:]
load(good)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in bad:
    try:
        load(path)
    except CheckpointError as error:
        print(error, file=sys.stderr)
    else:
        sys.exit(f"{path} was taken")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "network.safetensors"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small checkpoint's bytes."""
    architecture = Architecture("cnn-s", 3, 1, (24, 24), {"width": 2})
    card = Card(architecture, _see(1, 24), ("a", "b", "c"), lineage=({"command": "edgepress train"},))
    made = Checkpoint(build(architecture), card)
    return save(made, tmp_path_factory.mktemp("small") / "small.safetensors").read_bytes()


def _see(channels: int, size: int) -> Preprocessing:
    return Preprocessing((size, size), channels, (0.5,) * channels, (0.5,) * channels)


def _flipped(content: bytes, start: int, stop: int, count: int) -> list[bytes]:
    """The content with one bit of the bytes from `start` to `stop` turned, `count` times another one."""
    bits = random.Random(start).sample(range(8 * start, 8 * stop), count)
    whole = [bytearray(content) for _ in bits]
    for flipped, bit in zip(whole, bits, strict=True):
        flipped[bit // 8] ^= 1 << bit % 8
    return [bytes(flipped) for flipped in whole]


def _body(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def test_every_flipped_bit_of_the_weights_is_seen(content: bytes, path: Path) -> None:
    for flipped in _flipped(content, _body(content), len(content), 100):
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError, match="its weights are not those it was written with; get the file again"):
            load(path)


def test_a_flipped_bit_of_the_header_is_seen_or_changes_nothing(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    whole = load(path)
    for flipped in _flipped(content, 0, _body(content), 300):
        path.write_bytes(flipped)
        try:
            again = load(path)
        except CheckpointError:
            continue
        assert again.card == whole.card


def _claiming(path: Path, name: str, size: int, cuts: tuple[Cut, ...] = ()) -> Path:
    """A file of little weight whose card says that it is a network of that name and size."""
    card = Card(Architecture(name, 10, 3, (size, size)), _see(3, size), tuple("0123456789"), edits=cuts)
    weights = build(Architecture("cnn-s", 10, 3, (32, 32))).model.state_dict()
    safetensors.torch.save_file(weights, path, metadata={KEY: card.to_json()})
    return path


def test_a_small_file_costs_little_memory(tmp_path: Path) -> None:
    """Networks of up to 2.8 GB of weights, and images whose feature maps would take 10 GB."""
    resnet = Architecture("torchvision:resnet18", 10, 3, (32, 32))
    cuts = (Cut("layer1.0.conv1", True, (0,)),)
    good = Checkpoint(build(resnet), Card(resnet, _see(3, 32), tuple("0123456789")))
    files = [
        save(good, tmp_path / "good.safetensors"),
        _claiming(tmp_path / "vit.safetensors", "vit_h_14", 518),
        _claiming(tmp_path / "regnet.safetensors", "regnet_y_128gf", 32),
        _claiming(tmp_path / "squeezenet.safetensors", "squeezenet1_0", 4096),
        _claiming(tmp_path / "cut.safetensors", "torchvision:resnet18", 4096, cuts),
        _claiming(tmp_path / "bogus.safetensors", "torchvision:resnet18", 4096, (Cut("layer1.0.relu", True, (0,)),)),
        _claiming(tmp_path / "unet.safetensors", "unet-resnet34", 4096),
        _claiming(tmp_path / "cut-unet.safetensors", "unet-resnet34", 4096, (Cut("up5.0", True, (0,)),)),
        _claiming(tmp_path / "unfollowed.safetensors", "maxvit_t", 3584, cuts),
    ]
    done = subprocess.run([sys.executable, "-c", OPENER, *map(str, files)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < MOST_MB, done.stderr


@pytest.mark.parametrize("size", [(8192, 8192), (4097, 32)])
def test_sides_are_bounded(content: bytes, path: Path, size: tuple[int, int]) -> None:
    path.write_bytes(content)
    card = json.loads(load(path).card.to_json())
    card["preprocessing"]["size"] = size
    with pytest.raises(ValueError, match="each side must be 1 to 4096 pixels"):
        Preprocessing.from_dict(card["preprocessing"])


# what `save` refuses


def _changed(student: Checkpoint, change: Callable[[nn.Module], object]) -> Checkpoint:
    change(student.network.model)
    return student


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.set_submodule("classifier", nn.Linear(32, 9)), r"classifier.weight has shape \(9, 32\)"),
        (lambda m: m.set_submodule("classifier", nn.Linear(32, 10, bias=False)), r"1 missing \(classifier.bias\)"),
        (lambda m: m.register_buffer("more", torch.zeros(1)), r"1 unknown \(more\)"),
        (lambda m: m.half(), "blocks.0.conv.weight is of type torch.float16; a checkpoint keeps torch.float32"),
        (lambda m: m.set_submodule("blocks.0.relu", nn.GELU()), r"'blocks.0.relu' is GELU.*; its card builds ReLU\(\)"),
        (
            lambda m: setattr(m.get_submodule("blocks.0.conv"), "stride", (2, 2)),
            r"its module 'blocks.0.conv' is Conv2d",
        ),
        (lambda m: m.add_module("after", nn.Identity()), r"its module 'after' is Identity\(\); its card builds none"),
    ],
)
def test_a_network_that_its_card_does_not_build_is_not_saved(
    student: Checkpoint, path: Path, change: Callable[[nn.Module], object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"network\.safetensors: .*{message}"):
        save(_changed(student, change), path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Stage("map1", "blocks.0", ("blocks.0",), 5), r"stage 'map1' is 5 wide; its feature is \(4, 11, 11\)"),
        (Stage("map1", "block.0", ("blocks.0",), 4), "stage 'map1' names 'block.0', which its network does not have"),
        (Stage("logits", "blocks.0", ("blocks.0",), 4), "two stages of one name: logits, logits"),
    ],
)
def test_stages_that_could_not_be_read_are_not_saved(
    student: Checkpoint, path: Path, stage: Stage, message: str
) -> None:
    network = replace(student.network, stages=(stage, student.network.stage("logits")))
    with pytest.raises(CheckpointError, match=message):
        save(replace(student, network=network), path)
    assert not path.exists()


def test_stages_of_ones_own_are_kept(student: Checkpoint, path: Path) -> None:
    own = (Stage("stem", "blocks.0.conv", ("blocks.0.conv",), 4), *student.network.stages[1:])
    save(replace(student, network=replace(student.network, stages=own)), path)
    assert load(path).network.stages == own


def test_a_narrowed_network_is_not_saved(student: Checkpoint, path: Path) -> None:
    narrowed = replace(student, network=narrow_taps(student.network, {"map1": 2}))
    with pytest.raises(CheckpointError, match="its stages map1 are narrowed, which no checkpoint can keep"):
        save(narrowed, path)
    assert not path.exists()


# tensors of odd kinds in a pickle


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(10, device="meta"),
        torch.zeros(10).to_sparse(),
        torch.zeros(1).expand(10),
        torch.zeros(10, dtype=torch.complex64),
    ],
)
def test_a_tensor_that_holds_no_plain_numbers_is_refused(
    student: Checkpoint, tmp_path: Path, odd: torch.Tensor
) -> None:
    path = tmp_path / "weights.pt"
    torch.save({**student.network.model.state_dict(), "classifier.bias": odd}, path)
    with pytest.raises(CheckpointError, match=r"weights\.pt: (classifier.bias is|cannot be read)"):
        load_plain(path, "cnn-s", student.card.preprocessing, options={"width": 4})


def test_a_wrapper_around_itself_is_refused(tmp_path: Path) -> None:
    wrapper: dict[str, object] = {}
    wrapper["model"] = wrapper
    torch.save(wrapper, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="holds a dict, not a state dict"):
        load_plain(tmp_path / "weights.pt", "cnn-s", _see(1, 24))
