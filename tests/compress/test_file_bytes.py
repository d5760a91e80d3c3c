"""The bytes of a .safetensors file by module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compress.checkpoint import KEY, Card, Checkpoint, save
from compress.errors import CheckpointError
from compress.file_bytes import CheckpointBytes, checkpoint_bytes
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing


def summed(found: CheckpointBytes, path: Path) -> CheckpointBytes:
    tensors = [tensor.size_bytes for own in found.modules.values() for tensor in own.values()]
    assert sum(tensors) + sum(found.rest.values()) == found.size_bytes == path.stat().st_size
    return found


def test_every_byte_of_a_checkpoint_has_its_place(tmp_path: Path) -> None:
    architecture = Architecture("cnn-s", 2, 1, (24, 24))
    card = Card(architecture, Preprocessing((24, 24), 1, (0.5,), (0.5,)), ("däß", 'a "b"'))
    made = Checkpoint(build(architecture), card)
    path = save(made, tmp_path / "net.safetensors")
    found = summed(checkpoint_bytes(path), path)
    for name, tensors in found.modules.items():
        state = made.network.model.get_submodule(name).state_dict()
        assert {own: (one.shape, one.size_bytes) for own, one in tensors.items()} == {
            own: (tuple(value.shape), value.nbytes) for own, value in state.items()
        }
    assert found.modules["blocks.0.norm"]["num_batches_tracked"].type == "int64"
    assert found.modules["blocks.0.conv"]["weight"].type == "float32"
    assert list(found.rest) == ["card", "header"]


def test_a_longer_card_shows_in_its_own_line(tmp_path: Path) -> None:
    sizes = []
    for name, text in (("a", "{}"), ("b", '{"x": "\u00e4\\n"}')):
        path = tmp_path / f"{name}.safetensors"
        save_file({"w": torch.ones(1)}, path, {KEY: text})
        sizes.append(summed(checkpoint_bytes(path), path).rest["card"])
    assert sizes == [4, 20]  # in quotes, with a backslash before each quote and backslash; ä has two bytes


def test_files_of_others_have_no_card_and_modules_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    halves = {f"layer.{number}.weight": torch.ones(3, dtype=torch.float16) for number in (10, 2, 1)}
    save_file({**halves, "lone": torch.ones(2, dtype=torch.uint8)}, path)
    found = summed(checkpoint_bytes(path), path)
    assert list(found.modules) == ["", "layer.1", "layer.2", "layer.10"]
    assert (found.modules[""]["lone"].type, found.modules["layer.2"]["weight"].type) == ("uint8", "float16")
    assert list(found.rest) == ["header"]


def test_what_is_not_whole_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="odd"):
        checkpoint_bytes(path)
