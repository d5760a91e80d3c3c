"""The lines of the README that run an exported file without edgepress name the classes that the checkpoint names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from compress.checkpoint import Card, Checkpoint
from compress.data import DataOptions, load
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from exports import Settings, ship
from exports.artefact import INPUTS, Input

README = Path(__file__).parents[2] / "README.md"
SECTION = re.compile(r"^### Run the exported file without edgepress\n.*?^```python\n(.*?)^```$", re.M | re.S)
ORIENTATION = 0x0112
MODES = ("RGB", "L", "RGBA", "CMYK", "LA", "P", "1", "turned")
CLASSES = tuple("abcdefgh")


def photo(draws: np.random.Generator) -> Image.Image:
    """A coloured picture of soft and hard shapes, of any shape from 20 to 300 pixels a side."""
    width, height = (int(side) for side in draws.integers(20, 300, 2))
    coarse = draws.integers(0, 256, (int(draws.integers(2, 9)), int(draws.integers(2, 9)), 3), dtype=np.uint8)
    softness = (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)[draws.integers(2)]
    image = Image.fromarray(coarse).resize((width, height), softness)
    noise = draws.normal(0, draws.choice([0, 5, 40]), (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def write(image: Image.Image, mode: str, path: Path, draws: np.random.Generator) -> None:
    """The picture in a file of one colour mode; "turned" is a JPEG that stands upright only by its EXIF tag."""
    if mode == "turned":
        exif = Image.Exif()
        exif[ORIENTATION] = int(draws.integers(2, 9))
        image.save(path.with_suffix(".jpg"), exif=exif, quality=90)
    elif mode == "CMYK":
        image.convert("CMYK").save(path.with_suffix(".jpg"), quality=90)
    elif mode == "P":
        image.convert("P", palette=Image.Palette.ADAPTIVE).save(path.with_suffix(".png"), transparency=3)
    else:
        made = image.convert(mode)
        if mode in ("RGBA", "LA"):
            made.putalpha(image.convert("L").filter(ImageFilter.GaussianBlur(3)))
        made.save(path.with_suffix(".png"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 320 photos in the test split, 40 of each mode, and a few to train on."""
    root, draws = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("train", 1), ("test", 40)):
        for position, name in enumerate(CLASSES):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                write(photo(draws), MODES[(position + number) % len(MODES)], root / part / name / f"{number:02}", draws)
    return root


SEES = {
    "colour, cropped": Preprocessing((40, 56), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=0.875),
    "colour, as a data set has it": Preprocessing((64, 64), 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    "grey, with a border": Preprocessing((32, 32), 1, (0.3,), (0.4,), border=2),
    "colour, stretched": Preprocessing((48, 32), 3, (0.4, 0.4, 0.4), (0.3, 0.3, 0.3), resize="stretch"),
}


def varied(see: Preprocessing, images: torch.Tensor) -> Checkpoint:
    """A network that puts the images into all classes alike: random, with its logits centred and scaled on them."""
    architecture = Architecture("cnn-s", len(CLASSES), see.channels, see.size)
    checkpoint = Checkpoint(build(architecture, seed=4), Card(architecture, see, CLASSES))
    model = checkpoint.network.model
    head = model.get_submodule(checkpoint.network.stage("logits").owns[0])
    assert isinstance(head, torch.nn.Linear)
    pixels = checkpoint.card.scale(images)
    with torch.no_grad():
        for _ in range(20):
            model.train()(pixels)
        logits = model.eval()(pixels)
        head.weight.div_(logits.std(0)[:, None])
        head.bias.sub_(logits.mean(0)).div_(logits.std(0))
    return checkpoint


@pytest.mark.parametrize(
    ("see", "takes"),
    [
        pytest.param(see, takes, id=f"{name}-{takes}", marks=() if row % 2 == column % 2 else pytest.mark.slow)
        for row, (name, see) in enumerate(SEES.items())
        for column, takes in enumerate(INPUTS)
    ],
)
def test_the_lines_of_the_readme_predict_what_the_checkpoint_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, see: Preprocessing, takes: Input
) -> None:
    images = torch.cat([batch.image for batch in load(str(folder), DataOptions(augment=()), see=see).test.batches(64)])
    checkpoint = varied(see, images)
    with torch.no_grad():
        expected = checkpoint.network.model(checkpoint.card.scale(images)).argmax(1)
    assert len(expected) == 320
    assert len(expected.unique()) == len(CLASSES)
    monkeypatch.chdir(tmp_path)
    given = images if takes == "uint8" else checkpoint.card.scale(images)
    ship(checkpoint, tmp_path / "student.onnx", [given], settings=Settings(input=takes))
    photos = sorted((folder / "test").glob("*/*"))
    (tmp_path / "photo.jpg").write_bytes(photos[0].read_bytes())
    predict = readme_lines()
    found = [CLASSES.index(predict(str(path))) for path in photos]
    wrong = [str(path) for path, ours, theirs in zip(photos, found, expected.tolist(), strict=True) if ours != theirs]
    assert wrong == []


def readme_lines() -> Callable[[str], str]:
    """The function that the lines define, once they have run."""
    block = SECTION.search(README.read_text("utf-8"))
    assert block is not None
    assert "compress" not in block[1]
    assert "edgepress" not in block[1].replace('["edgepress"]', "")
    names: dict[str, Callable[[str], str]] = {}
    exec(block[1], names)
    return names["predict"]
