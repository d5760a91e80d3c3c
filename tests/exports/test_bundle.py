"""A bundle that is unpacked elsewhere answers as it did here without torch, and says so where it does not."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from boxes import boxes_checkpoint
from onnx import TensorProto, helper
from PIL import Image

from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.data import DataOptions, load
from compress.data.decode import read_image
from compress.errors import CompressError, DataError, ExportError, OutputError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.quantization import SCHEMES
from compress.smaller import quantized_by
from exports import Settings, noise, ship
from exports.artefact import Input
from exports.bundle import make_bundle, noise_pictures, pictures_of
from exports.bundle import run as bundled

SUFFIXES = (".onnx", ".tflite")
CLASSES = ("a", "b", "c é")
SEE = Preprocessing((24, 40), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=0.9, border=1)
GREY = Preprocessing((24, 24), 1, (0.3,), (0.4,), resize="stretch")
KEPT_OUT = ("torch", "torchvision", "compress", "exports", "cli", "benchmarks", "onnx")
ALONE = """
import runpy, sys
kept_out = sys.argv[1].split(",")
class KeptOut:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in kept_out:
            raise ModuleNotFoundError(name + " is kept out")
sys.meta_path.insert(0, KeptOut)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
PACKAGES = {
    ".onnx": ("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime", "flatbuffers", "packaging", "google"),
    ".tflite": ("numpy", "numpy.libs", "PIL", "pillow.libs", "ai_edge_litert", "flatbuffers", "google", "ml_dtypes"),
}
OF_LITERT = ("backports", "tqdm", "typing_extensions.py")


def made(see: Preprocessing = SEE) -> Checkpoint:
    architecture = Architecture("cnn-s", len(CLASSES), see.channels, see.size, {"width": 4})
    return Checkpoint(build(architecture, seed=2), Card(architecture, see, CLASSES))


def exported(checkpoint: Checkpoint, path: Path, takes: Input = "float32") -> Path:
    samples = noise(checkpoint.card, takes=takes)
    return ship(checkpoint, path, [samples], settings=Settings(input=takes)).artefact.path


def unpacked(path: Path, folder: Path) -> Path:
    """The folder of a bundle, elsewhere than its zip."""
    with zipfile.ZipFile(path) as made:
        made.extractall(folder)
    (inner,) = folder.iterdir()
    return inner


def alone(
    script: Path, *words: str | Path, folder: Path, without: Sequence[str] = KEPT_OUT
) -> subprocess.CompletedProcess[str]:
    """A script in a Python that finds neither torch nor edgepress, or none of other packages."""
    command = [sys.executable, "-I", "-c", ALONE, ",".join(without), str(script), *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def mended(folder: Path) -> None:
    """The manifest of a bundle that was changed, as one who changes it would write it."""
    names = [line.partition("  ")[2] for line in (folder / "MANIFEST.sha256").read_text("utf-8").splitlines()]
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "MANIFEST.sha256").write_text("".join(lines), "utf-8")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each suffix."""
    folder, checkpoint = tmp_path_factory.mktemp("files"), made()
    return {suffix: exported(checkpoint, folder / f"student{suffix}") for suffix in SUFFIXES}


@pytest.fixture(scope="module")
def bundles(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    pictures = noise_pictures(SEE, 3)
    return {suffix: make_bundle(file, folder / f"drone{suffix}.zip", pictures).path for suffix, file in files.items()}


@pytest.fixture
def bundle(bundles: dict[str, Path], tmp_path: Path) -> Path:
    """An unpacked bundle of a .onnx, to change at will."""
    return unpacked(bundles[".onnx"], tmp_path / "elsewhere")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_tests_itself_elsewhere_without_torch(bundles: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    folder = unpacked(bundles[suffix], tmp_path / "elsewhere")
    before = sorted(path.name for path in folder.iterdir())
    done = alone(folder / "selftest.py", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *images, last = done.stdout.splitlines()
    assert first == "ok      every file is as MANIFEST.sha256 says"
    assert [line.split(" (")[0] for line in images] == [f"ok      golden/0{at}.png: difference 0" for at in range(3)]
    assert last == "3 of 3 golden images are answered as they were"
    assert sorted(path.name for path in folder.iterdir()) == before


def test_without_the_packages_the_script_would_say_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import torch")
    done = alone(tmp_path / "script.py", folder=tmp_path)
    assert done.returncode == 1
    assert "torch is kept out" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_tests_itself_where_torch_was_never_installed(bundles: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    folder, packages = unpacked(bundles[suffix], tmp_path / "elsewhere"), tmp_path / "packages"
    packages.mkdir()
    spec = find_spec("numpy")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parents[1]
    for name in PACKAGES[suffix] + (OF_LITERT if suffix == ".tflite" else ()):
        (packages / name).symlink_to(installed / name)
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{packages}\n", "utf-8")
    python = tmp_path / "venv" / "bin" / "python"
    missing = subprocess.run([python, "-I", "-c", "import torch"], capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in missing.stderr
    done = subprocess.run([python, "-I", folder / "selftest.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 golden images are answered as they were" in done.stdout


def in_node(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the selftest in JavaScript says of an unpacked bundle."""
    return subprocess.run(["node", folder / "selftest.mjs"], cwd="/", capture_output=True, text=True, check=False)


@pytest.mark.extra("node")
@pytest.mark.parametrize(("see", "takes"), [(SEE, "float32"), (SEE, "uint8"), (GREY, "float32")])
def test_it_tests_itself_in_javascript(tmp_path: Path, see: Preprocessing, takes: Input) -> None:
    file = exported(made(see), tmp_path / "student.onnx", takes)
    folder = unpacked(make_bundle(file, tmp_path / "drone.zip", noise_pictures(see, 3)).path, tmp_path / "there")
    done = in_node(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *images, last = done.stdout.splitlines()
    assert first == "ok      every file is as MANIFEST.sha256 says"
    assert [line.split(": ")[0] for line in images] == [f"ok      golden/0{at}.seen.png" for at in range(3)]
    assert last == "3 of 3 golden images are answered as they were"
    changed = np.fromfile(folder / "golden/01.f32", "<f4")
    changed[1] += 1.5 * json.loads((folder / "golden/golden.json").read_text("utf-8"))["tolerance"]["allowed"][1]
    changed.tofile(folder / "golden/01.f32")
    assert "FAILED  golden/01.f32: is not the file that was bundled" in in_node(folder).stdout
    mended(folder)
    done = in_node(folder)
    assert (done.returncode, "2 of 3 golden images" in done.stdout) == (1, True), done.stdout


@pytest.mark.extra("node")
def test_masks_and_grids_are_tested_in_javascript_too(tmp_path: Path) -> None:
    whole = made()
    looked_at = noise(whole.card)
    static = quantized_by(whole, SCHEMES["static"], "q", rounding="nearest", images=[looked_at])
    for name, checkpoint in (("masks", boxes_checkpoint(1)), ("static", static)):
        file = exported(checkpoint, tmp_path / f"{name}.onnx")
        pictures = noise_pictures(checkpoint.card.preprocessing, 3)
        folder = unpacked(make_bundle(file, tmp_path / f"{name}.zip", pictures).path, tmp_path / name)
        done = in_node(folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("rms difference" in done.stdout) == (name == "static")
        list_ = folder / "golden/golden.json"
        told = json.loads(list_.read_text("utf-8"))
        output = folder / told["images"][0]["output"]
        (np.fromfile(output, "<f4") + 1).tofile(output)
        mended(folder)
        assert "FAILED  golden/00.seen.png: " in in_node(folder).stdout


def test_javascript_is_for_what_it_can_run(bundles: dict[str, Path]) -> None:
    for suffix, held in ((".onnx", True), (".tflite", False)):
        with zipfile.ZipFile(bundles[suffix]) as bundle:
            names = [name.partition("/")[2] for name in bundle.namelist()]
            readme = bundle.read(next(name for name in bundle.namelist() if name.endswith("README.md"))).decode()
        assert ("selftest.mjs" in names, "node selftest.mjs" in readme) == (held, held)


@pytest.mark.parametrize("name", ["student.onnx", "golden/01.png", "golden/02.f32", "run.py"])
def test_one_flipped_byte_fails_the_selftest(bundle: Path, tmp_path: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    done = alone(bundle / "selftest.py", folder=tmp_path)
    assert done.returncode == 1
    assert f"FAILED  {name}: is not the file that was bundled" in done.stdout


def test_a_missing_file_fails_the_selftest(bundle: Path, tmp_path: Path) -> None:
    (bundle / "labels.txt").unlink()
    done = alone(bundle / "selftest.py", folder=tmp_path)
    assert done.returncode == 1
    assert "FAILED  labels.txt: is missing" in done.stdout


def test_another_image_or_model_fails_though_the_manifest_was_mended(bundle: Path, tmp_path: Path) -> None:
    right = (bundle / "golden/00.png").read_bytes()
    with Image.open(bundle / "golden/00.png") as image:
        pixels = np.asarray(image).copy()
    Image.fromarray(255 - pixels).save(bundle / "golden/00.png")
    mended(bundle)
    done = alone(bundle / "selftest.py", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("FAILED  golden/00.png: difference ") == 1
    assert "pixel values are seen otherwise" in done.stdout
    assert "2 of 3 golden images" in done.stdout
    (bundle / "golden/00.png").write_bytes(right)
    other = Checkpoint(build(made().card.architecture, seed=3), made().card)
    (bundle / "student.onnx").write_bytes(exported(other, tmp_path / "other.onnx").read_bytes())
    mended(bundle)
    done = alone(bundle / "selftest.py", folder=tmp_path)
    assert done.returncode == 1
    assert "0 of 3 golden images" in done.stdout


def test_a_small_difference_is_within_the_limits_and_a_larger_one_is_not(bundle: Path, tmp_path: Path) -> None:
    limit = json.loads((bundle / "golden/golden.json").read_text("utf-8"))["tolerance"]["allowed"][1]
    right = np.fromfile(bundle / "golden/01.f32", "<f4")
    for share, code in ((0.5, 0), (-1.5, 1)):
        changed = right.copy()
        changed[1] += share * limit
        changed.tofile(bundle / "golden/01.f32")
        mended(bundle)
        done = alone(bundle / "selftest.py", folder=tmp_path)
        assert done.returncode == code, done.stdout


@pytest.mark.parametrize("suffix", [pytest.param(".onnx", marks=pytest.mark.slow), ".tflite"])
def test_grids_on_activations_are_held_to_their_root_mean_square(tmp_path: Path, suffix: str) -> None:
    checkpoint = made(GREY)
    small = quantized_by(checkpoint, SCHEMES["static"], "q", rounding="nearest", images=[noise(checkpoint.card)])
    path = make_bundle(
        exported(small, tmp_path / f"student{suffix}"), tmp_path / "drone.zip", noise_pictures(GREY, 2)
    ).path
    done = alone(unpacked(path, tmp_path / "elsewhere") / "selftest.py", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": rms difference 0 ") == 2


@pytest.mark.parametrize("suffix", [".onnx", pytest.param(".tflite", marks=pytest.mark.slow)])
def test_a_network_for_masks_keeps_the_axes_of_its_file(tmp_path: Path, suffix: str) -> None:
    checkpoint = boxes_checkpoint(4)
    card = checkpoint.card
    file = exported(checkpoint, tmp_path / f"masks{suffix}")
    path = make_bundle(file, tmp_path / "masks.zip", noise_pictures(card.preprocessing, 2)).path
    folder = unpacked(path, tmp_path / "elsewhere")
    golden = json.loads((folder / "golden/golden.json").read_text("utf-8"))
    sides, classes = list(card.preprocessing.size), len(card.classes)
    assert golden["images"][0]["shape"] == [1, *([classes, *sides] if suffix == ".onnx" else [*sides, classes])]
    done = alone(folder / "selftest.py", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = alone(folder / "run.py", folder / "golden/00.png", folder=tmp_path)
    shares = [float(line.rpartition(" % of the pixels")[0].rpartition(" ")[2]) for line in done.stdout.splitlines()]
    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_raw_images_of_a_data_set_give_what_its_test_split_gives(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in CLASSES:
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number, mode in enumerate(("RGB", "L", "P", "turned")):
                picture = Image.fromarray(chance.integers(0, 256, (30 + number, 50, 3), np.uint8))
                exif = Image.Exif()
                exif[0x0112] = 6
                target = tmp_path / "photos" / part / name / str(number)
                if mode == "turned":
                    picture.save(target.with_suffix(".jpg"), exif=exif)
                else:
                    picture.convert(mode).save(target.with_suffix(".png"))
    path, pictures = exported(made(), tmp_path / "student.onnx"), pictures_of(str(tmp_path / "photos"), 12)
    assert pictures.origin == "12 test images of photos"
    folder = unpacked(make_bundle(path, tmp_path / "drone.zip", pictures).path, tmp_path / "there")
    test = load(str(tmp_path / "photos"), DataOptions(augment=()), see=SEE).test
    (batch,) = test.batches(12)
    for number, expected in enumerate(batch.image):
        with Image.open(folder / f"golden/{number:02}.seen.png") as seen:
            assert np.array_equal(np.asarray(seen), expected.permute(1, 2, 0).numpy())
    assert alone(folder / "selftest.py", folder=tmp_path).returncode == 0


def test_pictures_are_spread_over_the_test_split() -> None:
    pictures = pictures_of("digits", 3)
    assert pictures.origin == "3 test images of digits (licence: CC BY 4.0 (E. Alpaydin, C. Kaynak, UCI))"
    assert [(one.mode, one.size) for one in pictures.images] == [("L", (8, 8))] * 3
    see = Preprocessing((8, 8), 1, (0.0,), (1.0,))
    test = next(load("digits", DataOptions(augment=()), see=see).test.batches(1000)).image
    for image, position in zip(pictures.images, (0, 224, 449), strict=True):
        assert np.array_equal(np.asarray(image), test[position, 0].numpy())


@pytest.mark.parametrize(("see", "takes"), [(SEE, "float32"), (GREY, "uint8")], ids=["colour", "grey pixels"])
def test_photos_of_any_mode_are_seen_and_scaled_bit_by_bit(tmp_path: Path, see: Preprocessing, takes: Input) -> None:
    checkpoint = made(see)
    path = make_bundle(
        exported(checkpoint, tmp_path / "student.onnx", takes), tmp_path / "drone.zip", noise_pictures(see, 2)
    ).path
    rule = json.loads((unpacked(path, tmp_path / "there") / "preprocessing.json").read_text("utf-8"))
    chance = np.random.default_rng(1)
    for mode in ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "turned"):
        shape = (int(chance.integers(20, 90)), int(chance.integers(20, 90)), 3)
        picture, exif = Image.fromarray(chance.integers(0, 256, shape, np.uint8)), Image.Exif()
        exif[0x0112] = int(chance.integers(2, 9))
        photo = tmp_path / f"{mode}{'.jpg' if mode in ('CMYK', 'turned') else '.png'}"
        if mode == "P":
            picture.convert("P").save(photo, transparency=3)
        else:
            picture.convert("RGB" if mode == "turned" else mode).save(photo, exif=exif)
        expected = torch.from_numpy(read_image(str(photo), see).copy())[None]
        pixels = bundled.see(photo, rule)
        assert np.array_equal(pixels.transpose(2, 0, 1), expected[0].numpy()), mode
        wanted = expected if takes == "uint8" else checkpoint.card.scale(expected)
        fed = bundled.feed(pixels, rule)
        assert fed.dtype == wanted.numpy().dtype
        assert np.array_equal(fed, wanted.numpy()), mode


def test_run_names_the_class_that_the_checkpoint_names(bundle: Path, tmp_path: Path) -> None:
    done = alone(bundle / "run.py", bundle / "golden/00.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    checkpoint = made()
    pixels = torch.from_numpy(read_image(str(bundle / "golden/00.png"), SEE).copy())[None]
    with torch.no_grad():
        shares = checkpoint.network.model.eval()(checkpoint.card.scale(pixels))[0].softmax(0)
    order = shares.argsort(descending=True).tolist()
    assert done.stdout.splitlines() == [f"{CLASSES[at]} {100 * shares[at]:.1f} %" for at in order]


def test_what_run_cannot_answer_is_said_in_a_line(bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.int32)).save(tmp_path / "deep.tif")
    (tmp_path / "half.png").write_bytes((bundle / "golden/00.png").read_bytes()[:200])
    refused = {
        (): "usage: python run.py IMAGE",
        ("deep.tif",): "error: deep.tif: its pixels are of mode I; 8 bits a channel are needed",
        ("missing.png",): "error: missing.png does not exist; give an image file",
        (bundle,): f"error: {bundle} is a folder; give an image file",
        (bundle / "run.py",): f"error: {bundle / 'run.py'}: cannot be read as an image (",
        ("half.png",): "error: half.png: cannot be read as an image (",
    }
    for words, says in refused.items():
        done = alone(bundle / "run.py", *words, folder=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(says)
    (bundle / "labels.txt").unlink()
    done = alone(bundle / "run.py", bundle / "golden/00.png", folder=tmp_path)
    says = f"error: {bundle / 'labels.txt'}: is missing; unpack the bundle again\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says)


@pytest.mark.parametrize(
    ("suffix", "package", "missing"),
    [
        (".onnx", "onnxruntime", "onnxruntime"),
        (".onnx", "onnxruntime", "numpy"),
        (".onnx", "onnxruntime", "PIL"),
        (".tflite", "ai-edge-litert", "ai_edge_litert"),
        (".tflite", "ai-edge-litert", "numpy"),
    ],
)
def test_what_is_not_installed_is_named_with_what_to_type(
    bundles: dict[str, Path], tmp_path: Path, suffix: str, package: str, missing: str
) -> None:
    folder = unpacked(bundles[suffix], tmp_path / "elsewhere")
    for script, words, code in (("run.py", (folder / "golden/00.png",), 2), ("selftest.py", (), 1)):
        done = alone(folder / script, *words, folder=tmp_path, without=[missing])
        assert done.returncode == code
        said = done.stdout + done.stderr
        assert f"{missing} is kept out; install what is needed: pip install numpy pillow {package}\n" in said
        assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("FAILED  nothing was run: ")


def test_the_same_bytes_each_time_whole_and_never_over_a_file(files: dict[str, Path], tmp_path: Path) -> None:
    output, pictures = tmp_path / "drone.zip", noise_pictures(SEE, 2)
    bundle = make_bundle(files[".onnx"], output, pictures)
    first = output.read_bytes()
    assert bundle.sha256 == hashlib.sha256(first).hexdigest()
    with zipfile.ZipFile(output) as made:
        names = made.namelist()
        assert all(name.startswith("drone/") for name in names)
        manifest = made.read("drone/MANIFEST.sha256").decode()
        digests = {name: hashlib.sha256(made.read(f"drone/{name}")).hexdigest() for name in bundle.files}
        assert bundle.manifest_sha256 == digests.pop("MANIFEST.sha256")
        assert manifest == "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        assert json.loads(made.read("drone/card.json"))["file"]["sha256"] == digests["student.onnx"]
    with pytest.raises(OutputError, match="--force"):
        make_bundle(files[".onnx"], output, noise_pictures(SEE, 3))
    assert output.read_bytes() == first
    make_bundle(files[".onnx"], output, pictures, force=True)
    assert output.read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["drone.zip"]


def foreign(path: Path) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "foreign", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("name", "output", "error", "mention"),
    [
        ("student.safetensors", "drone.zip", ExportError, "edgepress export .*student.safetensors -o"),
        ("student.openvino", "drone.zip", ExportError, "takes .onnx or .tflite"),
        ("foreign.onnx", "drone.zip", DataError, "`edgepress export` wrote"),
        ("missing.onnx", "drone.zip", ExportError, "missing.onnx"),
        ("two\nlines.onnx", "drone.zip", ExportError, "rename it"),
        ("student.onnx", "drone.tar", ExportError, "ends in .zip"),
        ("student.onnx", "none/drone.zip", OutputError, "does not exist"),
    ],
)
def test_what_cannot_be_bundled_is_refused_and_nothing_is_written(
    files: dict[str, Path], tmp_path: Path, name: str, output: str, error: type[CompressError], mention: str
) -> None:
    foreign(tmp_path / "foreign.onnx")
    path = files[".onnx"] if name == "student.onnx" else tmp_path / name
    with pytest.raises(error, match=mention):
        make_bundle(path, tmp_path / output, noise_pictures(SEE, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.onnx"]


def test_one_picture_is_too_few(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        make_bundle(files[".onnx"], tmp_path / "drone.zip", noise_pictures(SEE, 1))
    assert list(tmp_path.iterdir()) == []
