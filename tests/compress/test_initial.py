"""What training starts from: weights of one's own or torchvision's, for data that they need not know."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from opened import SMALL, plain_file, seen_as, weights_of
from torch import Tensor
from watch import same, state_of

from compress.checkpoint import Checkpoint, save
from compress.data import DataOptions
from compress.errors import CheckpointError, CompressError
from compress.initial import open_initial
from compress.models import Architecture, build
from compress.models.pretrained import pretrained
from compress.named import Named
from compress.opening import new_network
from compress.preprocessing import Preprocessing, Scale
from compress.smaller import cut


def test_a_checkpoint_is_gone_on_from_with_its_images_and_history(teacher: Checkpoint, tmp_path: Path) -> None:
    path = save(seen_as(teacher, mean=(0.1,), crop=0.75), tmp_path / "own.safetensors")
    start = open_initial(Named("cnn-a"), str(path), "digits", DataOptions(fraction=0.1, crop=0.5), seed=0)
    assert same(weights_of(start.checkpoint), weights_of(teacher))
    assert start.images.see == start.checkpoint.card.preprocessing
    assert start.images.see == Preprocessing((24, 24), 1, (0.1,), (0.3762,), crop=0.5)
    assert start.checkpoint.card.lineage == teacher.card.lineage
    assert start.notes == (
        "images are prepared as these weights are used to: crop to 24x24 of the middle 50 %, 1 channels, mean 0.1, "
        "std 0.3762",
    )


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_other_classes_and_channels_start_anew(tmp_path: Path, suffix: str) -> None:
    own = build(Architecture("squeezenet1_1", 7, 3, (32, 32)), seed=5).model.state_dict()
    path = tmp_path / f"own.{suffix}"
    if suffix == "pt":
        torch.save({"state_dict": {f"module.{key}": value for key, value in own.items()}}, path)
    else:
        safetensors.torch.save_file(own, path)
    options = DataOptions(fraction=0.1)
    start = open_initial(Named("torchvision:squeezenet1_1"), str(path), "digits", options, seed=1)
    fresh = new_network(Named("squeezenet1_1"), start.images, seed=1)
    state, new = weights_of(start.checkpoint), weights_of(fresh)
    anew = {"classifier.1.weight", "classifier.1.bias", "features.0.weight"}
    assert all(torch.equal(state[key], new[key] if key in anew else own[key]) for key in state)
    assert start.images.see.channels == 1
    assert start.checkpoint.card.lineage == ()
    assert start.notes == (
        "features.0 starts anew: the weights take 3 channels, the images have 1",
        "classifier.1 starts anew: the weights tell 7 classes apart, the data have 10",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("classifier.bias"), "classifier.bias is missing"),
        (lambda t: t.update(more=torch.zeros(1)), "more is unknown"),
        (
            lambda t: t.update({"embedding.1.bias": torch.zeros(3)}),
            r"embedding.1.bias has shape \(3,\), the network's \(64,\)",
        ),
        (
            lambda t: t.update({"classifier.weight": torch.zeros(10, 63)}),
            r"classifier.weight has shape \(10, 63\), the network's \(10, 64\)",
        ),
        (
            lambda t: t.update({"blocks.0.conv.weight": torch.zeros(8, 1, 5, 5)}),
            r"blocks.0.conv.weight has shape \(8, 1, 5, 5\), the network's \(8, 1, 3, 3\)",
        ),
        (lambda t: t.update({f"x{n}": torch.zeros(1) for n in range(9)}), "x0 is unknown; .*x4 is unknown; and 4 more"),
        (lambda t: t["classifier.bias"].fill_(float("nan")), "classifier.bias holds NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_what_does_not(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    state = build(Architecture("cnn-s", 10, 1, (24, 24))).model.state_dict()
    change(state)
    file = plain_file(state, tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match=rf"own\.pt does not fit 'cnn-s': {message}"):
        open_initial(Named("cnn-s"), file, "digits", SMALL, seed=0)


def test_what_cannot_be_gone_on_from(teacher: Checkpoint, teacher_path: Path, tmp_path: Path) -> None:
    pruned = save(cut(teacher, 0.5, "edgepress prune"), tmp_path / "pruned.safetensors")
    for named, weights, message in (
        (Named("cnn-s"), str(teacher_path), "is a cnn-a, not a cnn-s; name that network"),
        (Named("cnn-a"), str(pruned), "was pruned: its weights fit no other cnn-a"),
        (Named("cnn-a"), str(tmp_path / "missing.pt"), "does not exist; give a file of weights, or 'pretrained'"),
        (Named("cnn-a"), "pretrained", "there are no pretrained weights of 'cnn-a', only of torchvision's"),
        (Named("own.pt"), "pretrained", "own.pt is a file of weights; give the name of its network"),
        (Named("cnn-b"), "pretrained", "unknown network 'cnn-b'. Did you mean 'cnn-"),
    ):
        with pytest.raises(CompressError, match=message):
            open_initial(named, weights, "digits", SMALL, seed=0)


# torchvision's own weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads are kept; there is no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return tmp_path / "hub" / "checkpoints"


def test_pretrained_weights_come_with_their_images(hub: Path) -> None:
    own = torchvision.models.squeezenet1_1().state_dict()
    hub.mkdir(parents=True)
    torch.save(own, hub / torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2])
    options = DataOptions(fraction=0.01)
    start = open_initial(Named("squeezenet1_1"), "pretrained", "digits", options, seed=0)
    assert start.images.see == Preprocessing((224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=0.875)
    assert start.checkpoint.card.preprocessing == start.images.see
    state = weights_of(start.checkpoint)
    assert all(torch.equal(value, own[key]) for key, value in state.items() if not key.startswith("classifier.1."))
    assert start.notes[1:] == ("classifier.1 starts anew: the weights tell 1,000 classes apart, the data have 10",)
    grey = replace(options, size=(64, 48), channels=1, std=(0.5,), resize="stretch")
    start = open_initial(Named("squeezenet1_1"), "pretrained", "digits", grey, seed=0)
    see = start.images.see
    assert see == Preprocessing((64, 48), 1, see.mean, (0.5,), "stretch", crop=0.875)
    assert see.mean == pytest.approx((0.459,), abs=1e-3)
    assert len(start.notes) == 3


def test_what_torchvision_adds_to_a_pretrained_network_is_left_out(hub: Path) -> None:
    """It gives googlenet two more heads, and scales its images once more inside: here their preprocessing does."""
    own = torchvision.models.googlenet(init_weights=False)
    weights = torchvision.models.GoogLeNet_Weights.DEFAULT
    hub.mkdir(parents=True)
    torch.save(own.state_dict(), hub / weights.url.rpartition("/")[2])
    theirs = torchvision.models.googlenet(weights=weights).eval()
    state, see = pretrained("googlenet")
    ours = build(Architecture("googlenet", 1000, 3, see.size)).model
    ours.load_state_dict(state)
    pixels = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    rule = weights.transforms()
    with torch.no_grad():
        expected = theirs(Scale(tuple(rule.mean), tuple(rule.std))(pixels))
        assert torch.allclose(ours.eval()(Scale(see.mean, see.std)(pixels)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("resnet18", "embedding, classifier"),
        ("unet-resnet18", "up1, up2, up3, up4, up5, classifier"),
    ],
)
def test_a_network_of_ours_starts_from_a_pretrained_trunk(hub: Path, name: str, rest: str) -> None:
    theirs = torchvision.models.resnet18().state_dict()
    hub.mkdir(parents=True)
    torch.save(theirs, hub / torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2])
    options = DataOptions(fraction=0.01, size=(32, 32))
    start = open_initial(Named(name), "pretrained", "digits", options, seed=3)
    assert start.checkpoint.card.architecture.name == name
    assert start.images.see.mean == (0.485, 0.456, 0.406)
    assert start.notes[1:] == (f"{rest} start anew: the weights are those of encoder alone",)
    fresh = state_of(build(start.checkpoint.card.architecture, seed=3))
    for key, value in state_of(start.checkpoint.network).items():
        trunk = key.startswith("encoder.")
        assert torch.equal(value, theirs[key.removeprefix("encoder.")] if trunk else fresh[key]), key
    grey = open_initial(Named(name), "pretrained", "digits", replace(options, channels=1), seed=3)
    assert grey.notes[2:] == ("encoder.conv1 starts anew: the weights take 3 channels, the images have 1",)


@pytest.mark.parametrize("name", ["resnet10", "unet-resnet26"])
def test_a_trunk_that_nobody_published_says_which_are(name: str) -> None:
    with pytest.raises(
        CompressError, match=f"no pretrained weights of '{name}', .*of resnet18, resnet34, unet-resnet18"
    ):
        open_initial(Named(name), "pretrained", "digits", SMALL, seed=0)


def test_without_a_network_there_are_no_pretrained_weights(hub: Path) -> None:
    with pytest.raises(CompressError, match=r"of 'resnet18' cannot be had from https://.*no network here.*; try again"):
        open_initial(Named("resnet18"), "pretrained", "digits", SMALL, seed=0)
    assert not any(hub.glob("*"))
