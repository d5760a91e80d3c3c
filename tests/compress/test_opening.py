"""Opening: what was named becomes a network, and the data as it wants to see them; or an error that helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from opened import SMALL, plain_file, seen_as, weights_of
from torch import Tensor
from watch import same

from compress.card import Card
from compress.checkpoint import Checkpoint, load, save
from compress.data import DataOptions, Dataset
from compress.errors import CheckpointError, DataError, PlanError
from compress.models import Architecture, build
from compress.named import Named
from compress.opening import check_fit, new_network, open_beside, open_network, open_pair
from compress.preprocessing import Preprocessing, Scale

FOREIGN = replace(SMALL, mean=(0.5,), std=(0.25,), resize="stretch", crop=0.875)


# a network and its data


def test_a_checkpoint_decides_how_its_data_are_seen(teacher: Checkpoint, tmp_path: Path) -> None:
    own = seen_as(teacher, mean=(0.1,), std=(0.7,), resize="stretch", crop=0.75)
    path = save(own, tmp_path / "own.safetensors")
    found, images = open_pair(Named(str(path)), "digits", DataOptions(fraction=0.1))
    assert images.see == found.card.preprocessing == own.card.preprocessing
    assert found.network.scale == Scale((0.1,), (0.7,))
    plain, _ = open_pair(Named(str(save(teacher, tmp_path / "plain.safetensors"))), "digits", SMALL)
    assert plain.card.preprocessing == teacher.card.preprocessing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(size=(32, 24)), "--size 32x24: the network has 24x24"),
        (DataOptions(channels=3), "--channels 3: the network has 1"),
        (DataOptions(mean=(0.5,)), "--mean 0.5: the network has 0.3057"),
        (DataOptions(std=(0.5,)), "--std 0.5: the network has 0.3762"),
        (DataOptions(resize="stretch"), "--resize stretch: the network has crop"),
        (DataOptions(crop=0.5), "--crop 0.5: the network has 1.0"),
    ],
)
def test_an_option_that_is_not_the_networks_is_refused(teacher_path: Path, options: DataOptions, message: str) -> None:
    with pytest.raises(DataError, match=f"{message}; leave the option out"):
        open_pair(Named(str(teacher_path)), "digits", options)


@pytest.mark.parametrize("options", [SMALL, FOREIGN])
def test_a_plain_state_dict_sees_what_data_and_options_say(
    teacher: Checkpoint, tmp_path: Path, options: DataOptions
) -> None:
    file = plain_file(weights_of(teacher), tmp_path / "own.pt")
    found, images = open_pair(Named(file, "cnn-a", {"width": 8}), "digits", options)
    assert same(weights_of(found), weights_of(teacher))
    assert found.card.preprocessing == images.see
    assert (found.card.classes, found.card.lineage) == (images.classes, ())
    assert images.see == (
        teacher.card.preprocessing
        if options is SMALL
        else Preprocessing((24, 24), 1, (0.5,), (0.25,), "stretch", crop=0.875)
    )


def test_open_network_asks_for_data_only_where_the_file_says_nothing(teacher_path: Path, tmp_path: Path) -> None:
    assert open_network(Named(str(teacher_path)), None, DataOptions()).card.classes == tuple("0123456789")
    file = plain_file(weights_of(load(teacher_path)), tmp_path / "own.pt")
    named = Named(file, "cnn-a", {"width": 8})
    assert open_network(named, "digits", FOREIGN).card.preprocessing.resize == "stretch"
    with pytest.raises(
        DataError, match=r"own\.pt: a plain state dict does not say .* give --data .* or --size, --mean"
    ):
        open_network(named, None, DataOptions())
    alone = open_network(named, None, FOREIGN)
    assert alone.card.preprocessing == Preprocessing((24, 24), 1, (0.5,), (0.25,), "stretch", crop=0.875)
    assert alone.card.classes == tuple("0123456789")


def test_the_options_of_a_checkpoint_are_its_own_also_without_data(teacher_path: Path) -> None:
    with pytest.raises(DataError, match="--size 32x32: the network has 24x24; leave the option out"):
        open_network(Named(str(teacher_path)), None, DataOptions(size=(32, 32)))
    with pytest.raises(PlanError, match=r"a finished network has its width and depth; .* --arch"):
        open_pair(Named(str(teacher_path), options={"width": 8}), "digits", SMALL)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}, "optimizer": {}},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
    ],
)
def test_wrappers_and_prefixes_of_other_tools_are_taken_off(
    teacher: Checkpoint, tmp_path: Path, wrap: Callable[[dict[str, Tensor]], dict[str, object]]
) -> None:
    torch.save(wrap(weights_of(teacher)), tmp_path / "own.pt")
    found, _ = open_pair(Named(str(tmp_path / "own.pt"), "cnn-a", {"width": 8}), "digits", SMALL)
    assert same(weights_of(found), weights_of(teacher))


def test_weights_in_safetensors_of_other_tools_are_taken(teacher: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    safetensors.torch.save_file(
        {f"module.{key}": value.contiguous() for key, value in weights_of(teacher).items()}, path
    )
    found, _ = open_pair(Named(str(path), "cnn-a", {"width": 8}), "digits", SMALL)
    assert same(weights_of(found), weights_of(teacher))


# what helps


@pytest.mark.parametrize("name", ["own.pt", "own.safetensors", "runs/own", "own.onnx"])
def test_a_file_where_a_name_is_expected_says_what_to_do(digits: Dataset, name: str) -> None:
    with pytest.raises(PlanError, match=rf"{name} is a file of weights, .*edgepress train NETWORK --weights {name}"):
        new_network(Named(name), digits, seed=0)


@pytest.mark.parametrize(
    ("content", "named", "message"),
    [
        (b"\x08\x0a\x12", Named("x.onnx"), "is an exported file, not a checkpoint; give the .safetensors it was expo"),
        (b"\x08\x0a\x12", Named("x.onnx", "cnn-s"), "is an exported file, not a checkpoint"),
        (b"PK\x03\x04", Named("x.pt"), "is a PyTorch pickle, not a .safetensors checkpoint; commands with --arch"),
        (b"PK\x03\x04", Named("x.pt", "cnn-s"), r"cannot be read as a plain state dict .*; save it with torch.save"),
        (b"", Named("x.pt", "cnn-s"), "cannot be read as a plain state dict"),
        (None, Named("x.safetensors"), "does not exist; give a checkpoint"),
    ],
)
def test_a_file_that_is_no_network_says_what_it_is(
    digits: Dataset, tmp_path: Path, content: bytes | None, named: Named, message: str
) -> None:
    path = tmp_path / named.name
    if content is not None:
        path.write_bytes(content)
    here = replace(named, name=str(path))
    with pytest.raises(CheckpointError, match=rf"{path.name}:? {message}"):
        open_pair(here, "digits", SMALL)
    with pytest.raises(CheckpointError, match=rf"^--student x: .*{path.name}:? {message}"):
        open_beside("--student x", here, digits, seed=0)


# beside another network


def test_a_name_beside_another_network_is_a_new_one(digits: Dataset) -> None:
    made = open_beside("--student", Named("torchvision:squeezenet1_1"), digits, seed=3)
    again = new_network(Named("squeezenet1_1"), digits, seed=3)
    assert made.card == again.card
    assert made.card.architecture.name == "torchvision:squeezenet1_1"
    assert same(weights_of(made), weights_of(again))


def test_a_checkpoint_beside_another_keeps_its_own_scale(teacher: Checkpoint, digits: Dataset, tmp_path: Path) -> None:
    """Each sees the same pixels through its own mean and std."""
    path = save(seen_as(teacher, mean=(0.1,), std=(0.5,)), tmp_path / "other.safetensors")
    other = open_beside("--student", Named(str(path)), digits, seed=0)
    pixels = next(digits.test.batches(2)).image
    assert other.network.scale == Scale((0.1,), (0.5,))
    assert torch.allclose(other.network.scale(pixels), (pixels / 255 - 0.1) / 0.5, atol=1e-6)
    assert torch.allclose(teacher.network.scale(pixels), (pixels / 255 - 0.3057) / 0.3762, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize": "stretch"}, "resize: stretch, crop"),
        ({"crop": 0.5}, "crop: 0.5, 1.0"),
        ({"border": 2}, "border: 2, 0"),
    ],
)
def test_a_checkpoint_that_sees_other_pixels_is_refused(
    teacher: Checkpoint, digits: Dataset, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = save(seen_as(teacher, **changes), tmp_path / "other.safetensors")
    with pytest.raises(DataError, match=rf"^--auxiliary other: .*\(network, data: {message}\)"):
        open_beside("--auxiliary other", Named(str(path)), digits, seed=0)


@pytest.mark.parametrize(
    ("channels", "size", "message"),
    [(3, (24, 24), r"channels: 3, 1"), (1, (24, 32), r"size: \(24, 32\), \(24, 24\)")],
)
def test_a_checkpoint_of_another_shape_is_refused(
    digits: Dataset, tmp_path: Path, channels: int, size: tuple[int, int], message: str
) -> None:
    architecture = Architecture("cnn-s", 10, channels, size, {"width": 2})
    see = Preprocessing(size, channels, (0.5,) * channels, (0.5,) * channels)
    path = save(Checkpoint(build(architecture), Card(architecture, see, digits.classes)), tmp_path / "o.safetensors")
    with pytest.raises(DataError, match=message):
        open_beside("--student", Named(str(path)), digits, seed=0)


def test_other_classes_are_refused_by_the_first_pair(teacher: Checkpoint, digits: Dataset, tmp_path: Path) -> None:
    turned = replace(teacher.card, classes=("0", "2", "1", *"3456789"))
    with pytest.raises(DataError, match="'1' stands where it learnt '2'"):
        check_fit(turned, digits)
    path = save(replace(teacher, card=turned), tmp_path / "turned.safetensors")
    with pytest.raises(DataError, match="'1' stands where it learnt '2'"):
        open_pair(Named(str(path)), "digits", SMALL)
    with pytest.raises(DataError, match=r"^--student turned: .*'1' stands where it learnt '2'"):
        open_beside("--student turned", Named(str(path)), digits, seed=0)


def test_a_plain_state_dict_beside_another_network(teacher: Checkpoint, digits: Dataset, tmp_path: Path) -> None:
    file = plain_file(weights_of(teacher), tmp_path / "own.pt")
    made = open_beside("--auxiliary", Named(file, "cnn-a", {"width": 8}), digits, seed=0)
    assert same(weights_of(made), weights_of(teacher))
    assert made.card.preprocessing == digits.see


def test_a_finished_network_takes_no_width(teacher_path: Path, digits: Dataset) -> None:
    with pytest.raises(PlanError, match="--student t: a finished network has its width and depth"):
        open_beside("--student t", Named(str(teacher_path), options={"width": 8}), digits, seed=0)
