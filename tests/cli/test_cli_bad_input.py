"""Bad input: every command ends in one message that names the culprit and the way out, and leaves every file as it was.

The epochs and rounds are so many that a command which began its work before it looked at its input would not end.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torchvision.utils import save_image
from typer.testing import Result

Run = Callable[[str, Path], Result]
Refused = Callable[..., str]

TRAIN = "train cnn-s --data digits --size 24 --epochs 100000"
DISTIL = "distill teacher.safetensors --data digits --epochs 100000"
CUT = "prune --no-timing teacher.safetensors --data digits --ratio 0.5"
PRUNE = "prune --no-timing teacher.safetensors --data digits --ratio 0.5 --recover okd --epochs 100000"
READERS = [
    pytest.param("distill {} --data digits -o new.safetensors", id="distill"),
    pytest.param("prune --no-timing {} --ratio 0.5 --data digits -o new.safetensors", id="prune"),
    pytest.param("evaluate {} --data digits", id="evaluate"),
    pytest.param("export {} -o new.onnx", id="export"),
    pytest.param("benchmark {} -o new.json", id="benchmark"),
    pytest.param("benchmark student.onnx --against {} -o new.json", id="benchmark against"),
    pytest.param("inspect {}", id="inspect"),
]


class Hostile:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An image folder of two classes, whose training part has three images each."""
    for part, count in (("train", 3), ("test", 2)):
        for shade, name in enumerate(("dark", "light")):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                save_image(torch.full((3, 24, 24), 0.1 + 0.7 * shade), folder / f"{number}.png")
    return tmp_path / "photos"


# ---- files that cannot be read


@pytest.mark.parametrize("line", READERS)
def test_a_file_that_is_missing_or_a_folder(workshop: Path, refused: Refused, line: str) -> None:
    refused(line.format("gone.safetensors"), workshop, "gone.safetensors does not exist; give a")
    (workshop / "folder.safetensors").mkdir()
    refused(line.format("folder.safetensors"), workshop, "folder.safetensors is a folder; give a")


@pytest.mark.parametrize("line", READERS)
def test_a_name_that_the_system_does_not_take(workshop: Path, refused: Refused, line: str) -> None:
    name = "n" * 300
    refused(line.format(f"{name}.safetensors"), workshop, name, "name too long")


def test_the_hostile_pickle_is_hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Hostile()))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("line", READERS)
def test_a_checkpoint_that_is_a_pickle_is_not_unpickled(workshop: Path, refused: Refused, line: str) -> None:
    torch.save({"weight": Hostile()}, workshop / "hostile.safetensors")
    refused(line.format("hostile.safetensors"), workshop, "hostile.safetensors: is a PyTorch pickle", "--arch")
    assert not (workshop / "executed").exists()


@pytest.mark.parametrize(
    "line", ["evaluate {} --data digits --arch cnn-a", "export {} -o n.onnx --data digits --arch cnn-a"]
)
def test_a_hostile_plain_state_dict_is_not_executed(workshop: Path, refused: Refused, line: str) -> None:
    torch.save({"weight": Hostile()}, workshop / "zipped.pt")
    (workshop / "bare.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("zipped.pt", "bare.pt"):
        refused(line.format(name), workshop, f"{name}: cannot be read as a plain state dict", "state_dict()")
    assert not (workshop / "executed").exists()


@pytest.mark.parametrize("share", [0, 1e-5, 0.02, 0.5, 0.99999])
def test_a_truncated_checkpoint(workshop: Path, refused: Refused, share: float) -> None:
    whole = (workshop / "teacher.safetensors").read_bytes()
    (workshop / "cut.safetensors").write_bytes(whole[: int(share * len(whole))])
    refused("evaluate cut.safetensors --data digits", workshop, "cut.safetensors: is damaged or not a .safetensors")
    refused(f"{DISTIL} --auxiliary cut.safetensors -o new.safetensors", workshop, "cut.safetensors: is damaged")


def test_a_truncated_export(workshop: Path, refused: Refused) -> None:
    (workshop / "cut.onnx").write_bytes((workshop / "student.onnx").read_bytes()[:-500])
    for line in ("inspect cut.onnx", "benchmark cut.onnx -o new.json"):
        refused(line, workshop, "cut.onnx")


def test_a_checkpoint_that_was_altered(workshop: Path, refused: Refused) -> None:
    path = workshop / "teacher.safetensors"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"classes\\": [\\"0', b'\\"classes\\": [\\"7', 1))
    assert path.read_bytes() != content
    for line in ("evaluate teacher.safetensors --data digits", "inspect teacher.safetensors"):
        refused(line, workshop, "teacher.safetensors: ")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused("export teacher.safetensors -o new.onnx", workshop, "its weights are not those it was written with")


def test_a_file_that_is_no_checkpoint_of_edgepress(workshop: Path, refused: Refused) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(2)}, workshop / "plain.safetensors")
    refused("inspect plain.safetensors", workshop, "plain.safetensors: holds weights but no card", "--arch")
    refused(
        "prune --no-timing student.onnx --ratio 0.5 --data digits -o new.safetensors",
        workshop,
        "student.onnx: is an exported file",
    )
    refused("benchmark student.pt", workshop, "student.pt does not exist")
    (workshop / "notes.txt").write_text("notes")
    refused("benchmark notes.txt", workshop, "notes.txt: .txt cannot be benchmarked", ".safetensors, .onnx")


def test_a_plain_state_dict_of_another_network(workshop: Path, refused: Refused) -> None:
    torch.save({"weight": torch.zeros(2, 2)}, workshop / "other.pt")
    line = "evaluate {} --data digits --arch {} --size 24"
    refused(line.format("other.pt", "cnn-a"), workshop, "other.pt: ", "'blocks.0.conv.weight'")
    refused(line.format("other.pt", "cnn-x"), workshop, "unknown network 'cnn-x'", "Did you mean 'cnn-")
    torch.save([1, 2], workshop / "list.pt")
    refused(line.format("list.pt", "cnn-a"), workshop, "list.pt: holds a list, not a state dict")
    refused("export teacher.safetensors --arch cnn-a -o new.onnx", workshop, "give --data", "--size, --mean and --std")


# ---- networks and data that do not fit each other


def test_networks_of_different_shapes_do_not_meet(workshop: Path, refused: Refused, succeeds: Run) -> None:
    small = "train cnn-s --data digits --fraction 0.05 --epochs 1"
    succeeds(f"{small} --size 24 --channels 3 -o three.safetensors", workshop)
    succeeds(f"{small} --size 32 -o larger.safetensors", workshop)
    for name, differs in (("three", "channels: 3, 1"), ("larger", "size: (32, 32), (24, 24)")):
        file = f"{name}.safetensors"
        refused(f"{DISTIL} --student {file} -o new.safetensors", workshop, file, differs)
        refused(f"{DISTIL} --auxiliary {file} -o new.safetensors", workshop, file, differs)
    line = f"{DISTIL} --auxiliary student.auxiliary.safetensors --width 16 -o new.safetensors"
    refused(line, workshop, "the auxiliary does not suit the student", "'map1'", "16 of 8 filters")


def test_a_size_that_is_not_the_network_s(workshop: Path, refused: Refused) -> None:
    for line in (
        "evaluate teacher.safetensors --data digits",
        f"{DISTIL} -o n.safetensors",
        f"{PRUNE} -o n.safetensors",
    ):
        refused(f"{line} --size 32", workshop, "--size 32x32: the network has 24x24; leave the option out")


@pytest.mark.usefixtures("photos")
def test_data_with_other_classes(workshop: Path, refused: Refused) -> None:
    mentions = ("'photos' has 2 classes (dark, light", "the network has 10")
    refused("evaluate teacher.safetensors --data ./photos", workshop, *mentions)
    refused("distill teacher.safetensors --data ./photos -o new.safetensors", workshop, *mentions)
    refused("prune --no-timing teacher.safetensors --ratio 0.5 --data ./photos -o new.safetensors", workshop, *mentions)
    refused("benchmark student.onnx --data ./photos -o new.json", workshop, *mentions)


# ---- data


def test_an_empty_class_folder(photos: Path, refused: Refused) -> None:
    for image in (photos / "train" / "dark").iterdir():
        image.unlink()
    refused("train cnn-s --data ./photos -o net.safetensors", photos.parent, "photos/train/dark", "holds no image")


@pytest.mark.parametrize("content", [b"", b"not an image", None], ids=["empty", "text", "cut short"])
def test_a_corrupt_image_is_named(photos: Path, refused: Refused, content: bytes | None) -> None:
    image = photos / "train" / "light" / "1.png"
    image.write_bytes(image.read_bytes()[:60] if content is None else content)
    message = refused("train cnn-s --data ./photos -o net.safetensors", photos.parent, "photos/train/light/1.png")
    assert "cannot be read as an image" in message
    assert "replace it or remove it" in message


@pytest.mark.parametrize(
    ("options", "mentions"),
    [
        ("--fraction 0.2", ("fraction 0.2", "class 'dark' of 3", "0.334")),
        ("--fraction 0", ("'--fraction'", "got '0'", "a number above 0 and at most 1")),
        ("--fraction 1.5", ("'--fraction'", "got '1.5'", "above 0 and at most 1")),
        ("--fraction nan", ("'--fraction'", "got 'nan'", "above 0 and at most 1")),
        ("--val-fraction 1", ("'--val-fraction'", "got '1'", "at least 0 and below 1")),
        ("--augment flop", ("unknown augmentation 'flop'", "Did you mean 'flip'?")),
        ("--channels 2", ("--channels: got 2", "1 (grey) or 3 (RGB)")),
        ("--size 100000", ("image size", "100000", "4096")),
        ("--size 6", ("'cnn-s'", "6 pixels", "larger size")),
    ],
)
def test_options_of_the_data(photos: Path, refused: Refused, options: str, mentions: tuple[str, ...]) -> None:
    refused(f"train cnn-s --data ./photos {options} -o net.safetensors", photos.parent, *mentions)


def test_a_data_set_that_is_not_there(workshop: Path, refused: Refused) -> None:
    refused(
        "train cnn-s --data digtis -o n.safetensors", workshop, "unknown data set 'digtis'", "Did you mean 'digits'?"
    )
    refused("train cnn-s --data ./gone -o n.safetensors", workshop, "gone does not exist", "train/<class>/*")
    refused("evaluate teacher.safetensors --data teacher.safetensors", workshop, "is a file", "train/<class>/*")


@pytest.mark.parametrize(
    ("line", "mentions"),
    [
        (
            f"{DISTIL} --method okd --auxiliary-epochs 9",
            ("--auxiliary-epochs", "'okd' takes no auxiliary", "--method indistill"),
        ),
        (f"{DISTIL} --method okd --ratio 0.5", ("--ratio", "'okd' takes no auxiliary", "leave it out")),
        (f"{DISTIL} --auxiliary student.auxiliary.safetensors --ratio 0.75", ("--ratio", "finished already")),
        (f"{CUT} --batch-size 2", ("--batch-size", "nothing is trained without --recover", "leave it out")),
        (f"{CUT} --lr 0.001", ("--lr", "without --recover")),
        (f"{CUT} --views 2 --cache 0", ("--views", "without --recover")),
        (f"{CUT} --set alpha=1", ("--set", "without --recover")),
        (f"{TRAIN} --augment flip,none", ("--augment flip,none", "none alone, or leave it out")),
        (f"{TRAIN} --augment ''", ("unknown augmentation ''", "none")),
    ],
)
def test_an_option_that_would_be_ignored(
    workshop: Path, refused: Refused, line: str, mentions: tuple[str, ...]
) -> None:
    refused(f"{line} -o new.safetensors", workshop, *mentions)


# ---- names and numbers


@pytest.mark.parametrize(
    ("line", "mentions"),
    [
        (f"{TRAIN} --optimizer adem", ("unknown optimizer 'adem'", "Did you mean 'adam'?")),
        (f"{TRAIN} --schedule cosinus", ("unknown schedule 'cosinus'", "Did you mean 'cosine'?")),
        (f"{TRAIN} --epochs 3 --warm-up 3", ("warm-up of 3 epochs in a course of 3", "fewer than the course")),
        (f"{TRAIN} --schedule one-cycle --warm-up 1", ("one-cycle", "leave out the warm-up")),
        (f"{TRAIN} --warm-up -1", ("--warm-up", "at least 0")),
        (f"{TRAIN} --ema 1", ("--ema", "got '1'", "below 1")),
        (f"{TRAIN} --label-smoothing 1", ("--label-smoothing", "got '1'", "below 1")),
        (f"{DISTIL} --task retrieval --label-smoothing 0.1", ("retrieval uses no labels", "leave it out")),
        (f"{TRAIN} --precision bf61", ("unknown --precision 'bf61'", "Did you mean 'bf16'?")),
        (f"{TRAIN} --keep bset", ("unknown --keep 'bset'", "Did you mean 'best'?")),
        (TRAIN.replace("cnn-s", "resnet81"), ("unknown network 'resnet81'", "Did you mean 'resnet18'?")),
        (f"{DISTIL} --student cnn-z", ("unknown network 'cnn-z'", "Did you mean 'cnn-")),
        (f"{DISTIL} --method indistil", ("unknown method 'indistil'", "Did you mean 'indistill'?")),
        (f"{DISTIL} --task retrival", ("unknown task 'retrival'", "Did you mean 'retrieval'?")),
        (f"{DISTIL} --method okd --set alhpa=1", ("okd: unknown knob 'alhpa'", "Did you mean 'alpha'?")),
        (f"{DISTIL} --set last=pkd", ("indistill.last: unknown method 'pkd'", "Did you mean 'pkt'?")),
        (f"{DISTIL} --set follow=papper", ("'papper'", "Did you mean 'paper'?")),
        (f"{PRUNE} --recover odk", ("unknown method 'odk'", "Did you mean 'okd'?")),
        (TRAIN.replace("cnn-s", "resnet18") + " --width 4", ("'resnet18'", "unknown option 'width'")),
        (f"{DISTIL} --student student.safetensors --width 4", ("student.safetensors", "leave --width and --depth out")),
        (f"{DISTIL} --student resnet18", ("'resnet18'", "--auxiliary")),
    ],
)
def test_unknown_names(workshop: Path, refused: Refused, line: str, mentions: tuple[str, ...]) -> None:
    refused(f"{line} -o new.safetensors", workshop, *mentions)


@pytest.mark.parametrize(
    ("line", "mentions"),
    [
        ("train cnn-s --data digits --epochs 0", ("--epochs",)),
        (f"{DISTIL} --auxiliary-epochs 0", ("--auxiliary-epochs",)),
        (f"{TRAIN} --batch-size 1", ("--batch-size",)),
        (f"{TRAIN} --width 0", ("--width",)),
        (f"{TRAIN} --width 5000", ("width is 5000", "1 to 1024")),
        (f"{TRAIN} --lr 0", ("'--lr'", "got '0'", "above 0")),
        (f"{TRAIN} --lr -1", ("'--lr'", "got '-1'", "above 0")),
        (f"{TRAIN} --lr nan", ("'--lr'", "got 'nan'", "above 0")),
        (f"{TRAIN} --lr 1e39", ("'--lr'", "got '1e39'", "at most 1e+30")),
        (f"{TRAIN} --lr fast", ("'--lr'", "got 'fast'", "give a number above 0")),
        (f"{TRAIN} --device tpu", ("unknown device 'tpu'", "auto, cpu, cuda, mps")),
        (f"{TRAIN} --seed -1", ("--seed",)),
        (f"{DISTIL} --views -1", ("--views", "got '-1'", "at least 0")),
        (f"{DISTIL} --cache lots", ("--cache", "got 'lots'", "500MB, 2GB or 1.5GiB, or 0")),
        (f"{DISTIL} --cache -1GB", ("--cache", "got '-1GB'", "such as 500MB")),
        (f"{DISTIL} --cache 2PB", ("--cache", "got '2PB'", "such as 500MB")),
        (f"{TRAIN} --keep best", ("best", "validation split")),
        (f"{DISTIL} --keep best", ("best", "validation split")),
        (f"{DISTIL.replace('epochs 100000', 'epochs 11', 1)}", ("11 epochs", "take 12", "at least 13 epochs")),
        (f"{DISTIL} --set a=-3", ("a = -3", "at least 0")),
        (f"{DISTIL} --set a=2.5", ("indistill: a is '2.5'", "a whole number")),
        (f"{DISTIL} --set a", ("--set a", "KNOB=VALUE")),
        (f"{DISTIL} --set =2", ("--set =2", "KNOB=VALUE")),
        (f"{DISTIL} --set a=1 --set a=2", ("--set a", "twice")),
        (f"{DISTIL} --method okd --set alpha=1.5", ("alpha is 1.5", "0 to 1")),
        (f"{DISTIL} --method okd --set tau=0", ("tau is 0.0", "above 0")),
        (f"{DISTIL} --method okd --set tau=1e-300", ("phase 'okd'", "term 'kd' is nan", "knobs moderate values")),
        (f"{DISTIL} --method okd --set tau=1e300", ("phase 'okd'", "term 'kd' cannot be counted", "moderate values")),
        (f"{DISTIL} --method okd --set tau=nan", ("tau is nan", "above 0")),
        (f"{DISTIL} --method no_teacher --set tau=2", ("no_teacher", "unknown knob 'tau': it has none")),
        (f"{DISTIL} --method no_teacher --task retrieval", ("no_teacher", "'retrieval'", "the task classification")),
        (f"{DISTIL} --ratio 1", ("'--ratio'", "got '1'", "above 0 and below 1")),
        (f"{DISTIL} --ratio 0.3", ("ratio 0.3", "11.43", "0.5 or 0.75")),
        (f"{PRUNE.replace('0.5', '0')}", ("--ratio 0 cuts nothing", "above 0 and below 1", "--blocks")),
        (f"{PRUNE.replace('0.5', '1.5')}", ("'--ratio'", "got '1.5'", "at least 0 and below 1")),
        (f"{PRUNE.replace('0.5', 'nan')}", ("'--ratio'", "got 'nan'", "at least 0 and below 1")),
    ],
)
def test_numbers_out_of_range(workshop: Path, refused: Refused, line: str, mentions: tuple[str, ...]) -> None:
    refused(f"{line} -o new.safetensors", workshop, *mentions)


@pytest.mark.parametrize(
    ("line", "mentions"),
    [
        ("export student.safetensors -o new.onnx --opset 17", ("'--opset'", "got '17'", "18 to 25")),
        ("export student.safetensors -o new.onnx --samples 0", ("--samples",)),
        ("export student.safetensors -o new.h5", ("'.h5'", ".onnx")),
        ("export student.safetensors -o new", ("new: a name without a suffix", ".onnx")),
        ("benchmark student.onnx --rounds 1", ("--rounds",)),
        ("benchmark student.onnx --threads 0", ("--threads",)),
        ("evaluate teacher.safetensors --data digits --task detection", ("unknown task 'detection'", "retrieval")),
        ("evaluate teacher.safetensors", ("--data",)),
        ("evalute teacher.safetensors", ("evalute",)),
        ("train cnn-s --data digits", ("--output",)),
        (f"{TRAIN} -o new.safetensors --epoch 3", ("--epoch", "--epochs")),
    ],
)
def test_arguments_of_the_other_commands(
    workshop: Path, refused: Refused, line: str, mentions: tuple[str, ...]
) -> None:
    refused(line, workshop, *mentions)
