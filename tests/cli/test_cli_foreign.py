"""Networks from elsewhere and single images: --weights, --mean and the like, .onnx in evaluate, predict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image
from typer.testing import Result

from compress import load, load_data
from compress.checkpoint import save
from compress.data import DataOptions
from compress.models import Architecture, build
from compress.named import Named
from compress.opening import new_network

Run = Callable[[str, Path], Result]

FEW = "--data digits --fraction 0.1 --batch-size 32"


@pytest.fixture(scope="module")
def folder(succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.safetensors, net.onnx, plain.pt (its state dict, wrapped as trainers do) and three digits as images."""
    folder = tmp_path_factory.mktemp("foreign")
    succeeds(f"train cnn-s --width 4 --size 24 --epochs 3 --lr 1e-2 {FEW} -o net.safetensors", folder)
    succeeds("export net.safetensors -o net.onnx", folder)
    state = load(folder / "net.safetensors").network.model.state_dict()
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / "plain.pt"
    )
    pixels = next(load_data("digits").test.batches(3)).image
    for number, digit in enumerate(pixels):
        Image.fromarray(digit[0].numpy()).save(folder / f"digit{number}.png")
    return folder


def _top1(result: Result) -> float:
    (found,) = json.loads(result.stdout)["records"]
    return float(found["value"])


def test_a_file_is_evaluated_as_its_checkpoint_is(folder: Path, succeeds: Run) -> None:
    found = [
        _top1(succeeds(f"evaluate {name} --data digits --json", folder)) for name in ("net.safetensors", "net.onnx")
    ]
    assert found[0] == found[1] > 0.3


def test_a_foreign_file_is_evaluated_as_the_options_say(folder: Path, succeeds: Run, tmp_path: Path) -> None:
    model = onnx.load(folder / "net.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    own = _top1(succeeds(f"evaluate {folder / 'net.onnx'} --data digits --json", tmp_path))
    assert _top1(succeeds("evaluate bare.onnx --data digits --json", tmp_path)) == own
    assert _top1(succeeds("evaluate bare.onnx --data digits --mean 0.9 --std 0.05 --json", tmp_path)) != own


def test_a_plain_state_dict_sees_what_the_options_say(folder: Path, succeeds: Run, refused: Callable[..., str]) -> None:
    refused("evaluate plain.pt --arch cnn-s --size 24 --data digits", folder, "has shape")  # its width is another
    net = load(folder / "net.safetensors")
    other = new_network(Named("cnn-s"), load_data("digits"), seed=0)
    torch.save(other.network.model.state_dict(), folder / "wide.pt")
    save(other, folder / "wide.safetensors")
    own = _top1(succeeds("evaluate wide.safetensors --data digits --json", folder))
    mean, std = net.card.preprocessing.mean[0], net.card.preprocessing.std[0]
    wide = f"evaluate wide.pt --arch cnn-s --data digits --mean {mean} --std {std} --json"
    assert _top1(succeeds(wide, folder)) == own


def test_every_command_takes_a_plain_state_dict(folder: Path, succeeds: Run, tmp_path: Path) -> None:
    """And answers as it does of the checkpoint whose weights they are."""
    plain, own = f"{folder / 'plain.pt'}", f"{folder / 'net.safetensors'}"
    named = "--arch cnn-s --width 4 --size 24 --data digits"
    for command in ("evaluate {}", "inspect {}", f"predict {folder / 'digit0.png'} -m {{}}"):
        told = json.loads(succeeds(f"{command.format(plain)} {named} --json", tmp_path).stdout)
        data = "--data digits" if command.startswith("evaluate") else ""
        expected = json.loads(succeeds(f"{command.format(own)} {data} --json", tmp_path).stdout)
        if command.startswith("evaluate"):
            told, expected = ({"top1": found["records"][0]["value"]} for found in (told, expected))
        for fact in {"top1", "macs", "parameters", "classes", "mean", "predictions"} & told.keys():
            assert told[fact] == expected[fact]
    assert "plain state dict" in succeeds(f"inspect {plain} {named}", tmp_path).stdout
    succeeds(f"export {plain} {named} -o plain.onnx", tmp_path)
    claims = json.loads(succeeds(f"verify plain.onnx --against {plain} {named} --json", tmp_path).stdout)["claims"]
    assert [claim["verdict"] for claim in claims] == ["ok"] * 5
    succeeds(f"prune --no-timing {plain} {named} --ratio 0.5 -o half.safetensors", tmp_path)
    quick = "--size 24 --mean 0.3 --std 0.4 --sessions 2 --rounds 10 --json"
    line = f"benchmark half.safetensors --against {folder / 'wide.pt'} --against-arch cnn-s {quick}"
    state = new_network(
        Named("cnn-s"), load_data("digits", DataOptions(size=(24, 24))), seed=0
    ).network.model.state_dict()
    torch.save(state, folder / "wide.pt")
    timed = [
        json.loads(succeeds(one, tmp_path).stdout)
        for one in (f"benchmark {plain} --arch cnn-s --width 4 {quick}", line)
    ]
    assert [len(document["files"]) for document in timed] == [1, 2]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_plain_state_dict_gets_images_of_its_own_channels(succeeds: Run, tmp_path: Path, channels: int) -> None:
    """Whatever the photos have: grey for a grey network, RGB for one of RGB."""
    for part, name in (("train", "ant"), ("train", "bee"), ("test", "ant"), ("test", "bee")):
        (tmp_path / "photos" / part / name).mkdir(parents=True)
        for number, shade in enumerate((30, 200)):
            Image.new("RGB", (40, 32), (shade, 0, 90)).save(tmp_path / "photos" / part / name / f"{number}.png")
    made = build(Architecture("cnn-s", 2, channels, (32, 32)))
    torch.save(made.model.state_dict(), tmp_path / "own.pt")
    line = "evaluate own.pt --arch cnn-s --size 32 --data ./photos --json"
    assert json.loads(succeeds(line, tmp_path).stdout)["records"][0]["n"] == 4


def test_another_number_of_classes_is_said_with_the_way_on(
    folder: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("L", (24, 24), 50 * number).save(tmp_path / "photos" / name / f"{number}.png")
    plain = f"{folder / 'plain.pt'}"
    refused(
        f"evaluate {plain} --arch cnn-s --width 4 --size 24 --data ./photos",
        tmp_path,
        "tells 10 classes apart; data set 'photos' has 2 (ant, bee); give data of its own classes, or teach it these",
        f"edgepress train cnn-s --weights {plain} --data ./photos",
    )
    model = onnx.load(folder / "net.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    refused("evaluate bare.onnx --data ./photos", tmp_path, "gives 10 outputs; data set 'photos' has 2 classes")


def test_a_student_is_a_file_whatever_its_name(folder: Path, succeeds: Run, tmp_path: Path) -> None:
    """But the name of a network stays one, and what lies there of that name is mentioned."""
    for name in ("mine", "cnn-s"):
        shutil.copy(folder / "net.safetensors", tmp_path / name)
    line = f"distill {folder / 'net.safetensors'} --method okd --epochs 1 {FEW} --width 6 -o new.safetensors --student"
    said = succeeds(f"{line} cnn-s", tmp_path).stderr
    assert "note: cnn-s is taken for the network of that name, not for the file; for the file give ./cnn-s" in said
    assert load(tmp_path / "new.safetensors").card.architecture.options == {"width": 6}
    for student in ("mine", "./cnn-s"):
        succeeds(f"{line.replace('--width 6', '')} {student} --force", tmp_path)
        made = load(tmp_path / "new.safetensors").card
        assert (made.architecture.options, len(made.lineage)) == ({"width": 4}, 2)


def test_weights_that_are_given_are_where_training_starts(folder: Path, succeeds: Run, tmp_path: Path) -> None:
    net = folder / "net.safetensors"
    line = f"train cnn-s --weights {net} --epochs 1 --lr 1e-9 {FEW} --augment none -o on.safetensors"
    result = succeeds(line, tmp_path)
    assert "note: images are prepared as these weights are used to: crop to 24x24" in result.stderr
    before, after = (load(path).network.model.state_dict() for path in (net, tmp_path / "on.safetensors"))
    assert all(torch.allclose(after[key], before[key], atol=1e-6) for key in before if key.endswith(("weight", "bias")))
    assert len(load(tmp_path / "on.safetensors").card.lineage) == 2


def test_weights_of_another_network_are_refused_before_anything_is_written(
    folder: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    refused(
        f"train torchvision:resnet18 --weights {folder / 'plain.pt'} {FEW} -o on.safetensors",
        tmp_path,
        "does not fit 'torchvision:resnet18'",
    )
    refused(f"train cnn-s --weights missing.pt {FEW} -o on.safetensors", tmp_path, "missing.pt does not exist")


def test_predict_names_what_the_network_names(folder: Path, succeeds: Run) -> None:
    names = " ".join(f"digit{number}.png" for number in range(3))
    network = load(folder / "net.safetensors").network
    test = next(load_data("digits", see=load(folder / "net.safetensors").card.preprocessing).test.batches(3)).image
    with torch.no_grad():
        expected = network.model(network.scale(test)).softmax(1)
    for model in ("net.safetensors", "net.onnx"):
        found = json.loads(succeeds(f"predict {names} -m {model} --top 2 --json", folder).stdout)["predictions"]
        assert [one["image"] for one in found] == names.split()
        for one, shares in zip(found, expected, strict=True):
            assert [kind["class"] for kind in one["classes"]] == [str(n) for n in shares.topk(2).indices.tolist()]
            assert one["classes"][0]["share"] == pytest.approx(float(shares.max()), abs=0.02)
        said = succeeds(f"predict digit0.png -m {model}", folder).stdout
        assert said.startswith(f"digit0.png: {found[0]['classes'][0]['class']} ")


@pytest.mark.parametrize(
    ("line", "mentions"),
    [
        ("predict nowhere.png -m net.onnx", "nowhere.png does not exist; give image files"),
        ("predict . -m net.onnx", ". is a folder; give image files"),
        ("predict net.onnx -m net.onnx", "net.onnx: cannot be read as an image"),
        ("predict digit0.png -m nowhere.onnx", "nowhere.onnx does not exist"),
        (
            "predict digit0.png -m plain.pt",
            "plain.pt: is a PyTorch pickle, not a .safetensors checkpoint; commands with",
        ),
        (
            "predict digit0.png -m plain.pt --arch cnn-s --size 24",
            "give --data (what it was trained on), or --size, --m",
        ),
        ("predict digit0.png -m net.safetensors --data digits", "--data: net.safetensors says for itself what it is"),
        ("predict digit0.png -m net.onnx --size 24", "--size: net.onnx is an exported file and says all of that"),
        ("inspect net.safetensors --size 32", "--size 32x32: the network has 24x24; leave the option out"),
        ("evaluate net.onnx --data digits --arch cnn-s", "net.onnx: is an exported file, which brings its network"),
        ("benchmark net.onnx --arch cnn-s", "net.onnx: is an exported file, which brings its network"),
        ("benchmark net.onnx --size 32", "net.onnx say for themselves how to see images; leave them out"),
        (
            "benchmark plain.pt",
            "plain.pt: .pt cannot be benchmarked; known are .safetensors, .onnx, .tflite, ",
        ),
        ("evaluate net.onnx --data digits --size 32", "--size 32x32: the network has 24x24; leave the option out"),
        ("evaluate net.onnx --data digits --mean much", "--mean much: give one number a channel"),
        ("evaluate net.onnx --data digits --resize squash", "unknown --resize 'squash'"),
        (
            "train cnn-s --data digits --crop 2 -o x.safetensors",
            "'--crop': got '2'; give a number above 0 and at most 1",
        ),
        ("train own.pt --data digits -o x.safetensors", "edgepress train NETWORK --weights own.pt"),
    ],
)
def test_what_cannot_be_opened_is_said(folder: Path, refused: Callable[..., str], line: str, mentions: str) -> None:
    refused(line, folder, mentions)
