"""Plain state dicts and pickles: read with care, by the name of their network, or refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from compress.checkpoint import Card, Checkpoint, load, load_plain
from compress.errors import CheckpointError
from compress.models import Architecture, build, known_name
from compress.preprocessing import Preprocessing


def _see(channels: int, size: int) -> Preprocessing:
    return Preprocessing((size, size), channels, (0.0,) * channels, (1.0,) * channels)


GREY = _see(1, 24)


def _fits(checkpoint: Checkpoint, state: dict[str, Tensor]) -> bool:
    own = checkpoint.network.model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(value, state[key]) for key, value in own.items())


# pickles


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_named(student: Checkpoint, tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "network.safetensors"
    torch.save(student.network.model.state_dict(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"is a PyTorch pickle.*--arch"):
        load(path)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("protocol", [None, 2, 4, 5])
def test_a_hostile_pickle_is_not_executed(
    tmp_path: Path, make_bomb: Callable[[Path], object], name: str, protocol: int | None
) -> None:
    mark, path = tmp_path / "executed", tmp_path / name
    if protocol is None:
        torch.save({"blocks.0.conv.weight": make_bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": make_bomb(mark)}, protocol))
    for read in (load, lambda path: load_plain(path, "cnn-s", GREY)):
        with pytest.raises(CheckpointError, match=name):
            read(path)
    assert not mark.exists()


# plain state dicts


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
def test_a_plain_state_dict_is_read(tmp_path: Path, wrap: str | None) -> None:
    network = build(Architecture("cnn-s", 10, 1, (24, 24)), seed=4)
    state = network.model.state_dict()
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "weights.pt")
    made = load_plain(tmp_path / "weights.pt", "cnn-s", GREY)
    assert _fits(made, state)
    assert made.card == Card(Architecture("cnn-s", 10, 1, (24, 24)), GREY, tuple("0123456789"))
    assert not made.network.model.training


@pytest.mark.parametrize(
    ("name", "classes", "channels", "size"),
    [
        ("cnn-s", 7, 1, 24),
        ("torchvision:resnet18", 3, 1, 32),
        ("squeezenet1_1", 5, 3, 64),
        ("mobilenet_v3_small", 6, 3, 32),
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_classes_and_channels_are_read_off_the_weights(
    tmp_path: Path, name: str, classes: int, channels: int, size: int, suffix: str
) -> None:
    network = build(Architecture(name, classes, channels, (size, size)), seed=1)
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pt":
        torch.save(network.model.state_dict(), path)
    else:
        safetensors.torch.save_file(network.model.state_dict(), path)
    made = load_plain(path, name, _see(channels, size))
    assert made.card.architecture == Architecture(known_name(name), classes, channels, (size, size))
    assert _fits(made, network.model.state_dict())


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ([1, 2], "cnn-s", "holds a list, not a state dict"),
        ({}, "cnn-s", "holds a dict, not a state dict"),
        ({"epoch": 3}, "cnn-s", "holds a dict, not a state dict"),
        ({"weight": torch.zeros(3)}, "cnn-s", "it has no weight 'blocks.0.conv.weight'"),
        ({"weight": torch.zeros(3)}, "cnn-z", "unknown network 'cnn-z'"),
        (
            {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(10, 512)},
            "torchvision:resnet18",
            "3 input channels; images of 1",
        ),
        (
            {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(0, 512)},
            "torchvision:resnet18",
            "classes is 0",
        ),
        (
            {"conv1.weight": torch.zeros(64), "fc.weight": torch.zeros(10, 512)},
            "torchvision:resnet18",
            "no weight 'conv1.weight'",
        ),
    ],
)
def test_what_is_no_state_dict_of_the_network_is_refused(
    tmp_path: Path, content: object, name: str, message: str
) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=rf"weights\.pt: .*{message}"):
        load_plain(tmp_path / "weights.pt", name, GREY)


def test_a_truncated_state_dict_is_refused(student: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(student.network.model.state_dict(), path)
    content = path.read_bytes()
    for length in (0, 1, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="cannot be read as a plain state dict"):
            load_plain(path, "cnn-s", GREY)


def test_a_state_dict_with_nan_is_refused(tmp_path: Path) -> None:
    state = build(Architecture("cnn-s", 10, 1, (24, 24))).model.state_dict()
    state["embedding.1.bias"][0] = float("nan")
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"embedding.1.bias holds NaN"):
        load_plain(tmp_path / "weights.pt", "cnn-s", GREY)
