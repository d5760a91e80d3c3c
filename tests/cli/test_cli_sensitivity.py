"""`prune --sensitivity`: each group of layers cut alone, what that costs and saves, and what follows from it."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import Result

from compress.checkpoint import Checkpoint, save
from compress.evidence import weights_digest

Run = Callable[[str, Path], Result]

DIGITS = "--data digits --fraction 0.3"
LOOK = f"prune teacher.safetensors --sensitivity {DIGITS} --samples 150"
TURNING = """
from torch import nn

class Turning(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 16, 3, 2), nn.Conv2d(16, 16, 3, 2), nn.Linear(16, 10)

    def forward(self, image):
        seen = self.second(self.first(image).relu()).relu().mean(dim=(2, 3))
        return self.head(seen if seen.sum() > 0 else -seen)

def build():
    return Turning()
"""


@pytest.fixture(scope="module")
def folder(teacher: Checkpoint, succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher.safetensors, and look.json with look.png of it."""
    folder = tmp_path_factory.mktemp("sensitivity")
    save(teacher, folder / "teacher.safetensors")
    succeeds(f"{LOOK} -o look.json", folder)
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "look.json").read_text())
    return found


def _values(cut: dict[str, Any]) -> dict[str, float]:
    return {record["quantity"]: record["value"] for record in cut["records"]}


def _errors(document: dict[str, Any]) -> dict[str, list[float]]:
    return {one["group"]: [_values(cut)["relative_squared_error"] for cut in one["cuts"]] for one in document["groups"]}


def test_the_document_says_what_it_rests_on(document: dict[str, Any], teacher: Checkpoint) -> None:
    assert document["schema"] == "edgepress-sensitivity/1"
    assert document["weights"] == weights_digest(teacher.network.model)
    assert document["command"].startswith("edgepress prune teacher.safetensors --sensitivity")
    assert (document["data"]["name"], document["data"]["split"], document["data"]["images"]) == (
        "digits",
        "training",
        150,
    )
    assert {"cpu", "torch", "load_average"} <= document["environment"].keys()
    records = [record for one in document["groups"] for cut in one["cuts"] for record in cut["records"]]
    assert {record["quantity"] for record in records} == {"top1", "relative_squared_error"}
    assert {(record["n"], record["sha256"], record["seed"]) for record in records} == {(150, document["weights"], 0)}
    assert [cut["ratio"] for cut in document["groups"][0]["cuts"]] == [0.25, 0.5, 0.75, 0.9]


def test_a_picture_lies_beside_it(folder: Path) -> None:
    with Image.open(folder / "look.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


def _counted(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {one["quantity"]: one["value"] for one in records}


def test_what_a_group_would_save_is_what_prune_saves(folder: Path, document: dict[str, Any], succeeds: Run) -> None:
    for group in document["groups"]:
        name = group["group"]
        line = f"prune teacher.safetensors --ratio 0 --layer-ratio {name}=0.5 {DIGITS} --calibrate 0 --no-timing --json"
        facts = json.loads(succeeds(f"{line} -o one.safetensors --force", folder).stdout)
        before, after = (_counted(facts["networks"][one]) for one in ("before", "cut"))
        cut = next(cut for cut in group["cuts"] if cut["ratio"] == 0.5)
        assert [before[what] - after[what] for what in ("parameters", "macs")] == [cut["parameters"], cut["macs"]]
        assert facts["layers"][name] == [group["channels"], cut["left"]]


def test_a_group_can_be_left_alone_by_its_name(folder: Path, document: dict[str, Any], succeeds: Run) -> None:
    name, *others = [group["group"] for group in document["groups"]]
    succeeds(f"{LOOK} --calibrate 0 --leave {name} -o left.json --force", folder)
    left = json.loads((folder / "left.json").read_text())
    assert [group["group"] for group in left["groups"]] == others


def test_the_suggestion_can_be_typed_and_saves_what_it_says(
    folder: Path, document: dict[str, Any], succeeds: Run
) -> None:
    for told in (document["even"], document["suggestion"]):
        line = f"prune teacher.safetensors {told['options']} {DIGITS} --calibrate 0 --no-timing --json"
        facts = json.loads(succeeds(f"{line} -o all.safetensors --force", folder).stdout)
        before, after = (_counted(facts["networks"][one]) for one in ("before", "cut"))
        assert before["macs"] - after["macs"] == told["macs"]
    assert document["suggestion"]["macs"] >= document["even"]["macs"]


def test_layers_that_read_what_is_left_are_fitted(folder: Path, document: dict[str, Any], succeeds: Run) -> None:
    result = succeeds(f"{LOOK} --calibrate 0 -o bare.json --force", folder)
    assert "; nothing is fitted\n" in result.stdout
    bare, fitted = _errors(json.loads((folder / "bare.json").read_text())), _errors(document)
    assert bare.keys() == fitted.keys()
    assert sum(map(sum, fitted.values())) < 0.7 * sum(map(sum, bare.values()))


def test_dead_channels_cost_nothing_and_live_ones_do(teacher: Checkpoint, succeeds: Run, tmp_path: Path) -> None:
    dying = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in dying.network.model.get_submodule("blocks.1").parameters():
            parameter[: len(parameter) // 2] = 0
    save(dying, tmp_path / "teacher.safetensors")
    result = succeeds(f"{LOOK} --calibrate 0 --round 1 -o dead.json", tmp_path)
    document = json.loads((tmp_path / "dead.json").read_text())
    (group,) = (one for one in document["groups"] if one["group"] == "blocks.1.conv")
    quarter, half, most, _ = (_values(cut) for cut in group["cuts"])
    whole = _values(document["whole"])["top1"]
    assert quarter["top1"] == half["top1"] == whole > 0.2
    assert quarter["relative_squared_error"] < 1e-9
    assert half["relative_squared_error"] < 1e-9
    assert most["top1"] < whole
    assert most["relative_squared_error"] > 0.05
    others = {name: errors[1] for name, errors in _errors(document).items() if name != "blocks.1.conv"}
    assert min(others.values()) > 1e-3
    rows = [line.split()[0] for line in result.stdout.splitlines() if line.strip().startswith(("blocks", "embedding"))]
    assert rows[-1] == "blocks.1.conv", "what costs the least comes last"
    assert "blocks.1.conv" not in document["suggestion"]["options"].partition("--leave ")[2].split()[:1]


def test_the_ratio_is_measured_and_divided(folder: Path, succeeds: Run) -> None:
    said = succeeds(f"{LOOK} --calibrate 0 --ratio 0.6 --round 1 --json -o more.json", folder).stdout
    document = json.loads(said)
    assert document == json.loads((folder / "more.json").read_text())
    assert [cut["ratio"] for cut in document["groups"][0]["cuts"]] == [0.25, 0.5, 0.6, 0.75, 0.9]
    assert document["even"]["options"] == "--ratio 0.6"


def test_a_validation_split_is_scored_where_there_is_one(folder: Path, succeeds: Run) -> None:
    line = f"prune teacher.safetensors --sensitivity {DIGITS} --val-fraction 0.2 --calibrate 32"
    succeeds(f"{line} -o val.json", folder)
    document = json.loads((folder / "val.json").read_text())
    assert document["data"]["split"] == "validation"
    assert document["data"]["images"] < 100
    assert document["fitted_on"] == 32


def test_no_image_is_scored_that_was_fitted_on(folder: Path, succeeds: Run) -> None:
    result = succeeds("prune teacher.safetensors --sensitivity --data digits --fraction 0.1 -o few.json", folder)
    document = json.loads((folder / "few.json").read_text())
    assert document["fitted_on"] == document["data"]["images"] == 65
    assert "65 training images are fitted on, so that others can be scored" in result.stderr


def test_a_network_for_retrieval_is_scored_by_its_neighbours(
    teacher: Checkpoint, succeeds: Run, tmp_path: Path
) -> None:
    save(replace(teacher, card=replace(teacher.card, task="retrieval")), tmp_path / "teacher.safetensors")
    succeeds(f"{LOOK} --calibrate 40 -o look.json", tmp_path)
    document = json.loads((tmp_path / "look.json").read_text())
    assert document["metric"] == "precision_1"
    assert _values(document["whole"])["precision_1"] > 0.5


def test_what_cannot_be_followed_is_cut_but_not_fitted(succeeds: Run, tmp_path: Path) -> None:
    (tmp_path / "turning.py").write_text(TURNING)
    succeeds(f"train turning.py:build {DIGITS} --epochs 1 --size 24 -o turning.safetensors", tmp_path)
    line = f"prune turning.safetensors --code turning.py --sensitivity {DIGITS} --samples 50 --calibrate 50"
    said = succeeds(f"{line} -o look.json", tmp_path).stdout
    assert "nothing is fitted: torch.fx cannot trace it" in said
    document = json.loads((tmp_path / "look.json").read_text())
    assert [group["group"] for group in document["groups"]] == ["first", "second"]
    assert all(error > 0 for errors in _errors(document).values() for error in errors)


@pytest.mark.parametrize(
    ("words", "mentions"),
    [
        ("--recover okd", "--recover: --sensitivity trains and ships nothing; leave it out"),
        ("--epochs 2", "--epochs: --sensitivity trains and ships nothing"),
        ("--lr 0.1", "--lr: --sensitivity trains and ships nothing"),
        ("--resume", "--resume: --sensitivity trains and ships nothing"),
        ("--no-timing", "--no-timing: --sensitivity trains and ships nothing"),
        ("--max-macs 1M", "--max-macs: --sensitivity cuts each group of layers alone; leave it out"),
        ("--scope global", "--scope: --sensitivity cuts each group"),
        ("--layer-ratio map1=0.5", "--layer-ratio: --sensitivity cuts each group"),
        ("--blocks 1", "--blocks: --sensitivity cuts each group"),
        ("--ratio 0", "--ratio 0: it is how much is to be cut in all"),
        ("--ratio 0.01", "loses no channel where widths are multiples of 16"),
        ("--leave *", "no layer that could lose a channel"),
        ("--leave map9", "unknown stage or layer 'map9'"),
        ("--criterion taylor --calibrate 0", "criterion taylor has to look at images"),
        ("--samples 0", "a whole number, at least 1"),
        ("-o new.safetensors", "--sensitivity writes a .json file; give it a name that ends so"),
        ("-o look.json", "look.json"),
        ("-o picture.json", "picture.png"),
        ("--data nowhere", "nowhere"),
    ],
)
def test_bad_words_end_in_one_message(folder: Path, refused: Callable[..., str], words: str, mentions: str) -> None:
    (folder / "picture.png").write_bytes(b"mine")
    said = refused(f"{LOOK} -o new.json {words}", folder)
    assert mentions in " ".join(said.split())


def test_the_number_of_images_is_of_sensitivity_alone(folder: Path, refused: Callable[..., str]) -> None:
    refused(
        f"prune teacher.safetensors --ratio 0.5 --samples 9 {DIGITS} -o new.safetensors",
        folder,
        "--samples: it is about --sensitivity; leave it out",
    )


def test_what_is_there_is_replaced_by_force(folder: Path, succeeds: Run) -> None:
    before = (folder / "look.json").stat().st_ino
    (folder / "again.json").write_text("{}")
    succeeds(f"{LOOK} --calibrate 0 -o again.json --force", folder)
    assert json.loads((folder / "again.json").read_text())["schema"] == "edgepress-sensitivity/1"
    assert (folder / "look.json").stat().st_ino == before


def test_an_interrupted_look_leaves_nothing(
    teacher: Checkpoint, process: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    save(teacher, tmp_path / "teacher.safetensors")
    line = "prune teacher.safetensors --sensitivity --data digits --samples 600 --calibrate 5000 -o look.json"
    run = process(line, tmp_path)
    assert run.stderr is not None
    assert run.stderr.readline().startswith("note: --calibrate 5,000: ")
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert (run.returncode, said.splitlines()[-1]) == (130, "interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["teacher.safetensors"]
