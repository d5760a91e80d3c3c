"""Networks in files of the user's own through the commands, and the page that tells of them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-networks.md").read_text("utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
COMMANDS = [line.removeprefix("edgepress ") for line in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)[0].splitlines()]

Run = Callable[[str, Path], Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, succeeds: Run) -> Path:
    """A folder with the page's file and what its first command wrote."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_model.py").write_text(EXAMPLE)
    succeeds(COMMANDS[0], folder)
    return folder


def test_what_the_page_says_can_be_typed(folder: Path, succeeds: Run) -> None:
    for command in COMMANDS[1:]:
        result = succeeds(command, folder)
    assert "top1" in result.stdout


def test_the_page_shows_the_stages_that_inspect_shows(folder: Path, succeeds: Run) -> None:
    facts = json.loads(succeeds("inspect teacher.safetensors --code my_model.py --json", folder).stdout)
    rows = [
        (
            stage["name"],
            f"into {stage['tap']}" if stage["before"] else stage["tap"] or "the answer",
            " x ".join(map(str, stage["shape"])),
            f"{stage['parameters']:,}",
        )
        for stage in facts["stages"]
    ]
    shown = re.findall(r"^\| (\w+) \| ([\w ]+) \| ([\dx ]+) \| ([\d,]+) \|$", PAGE, re.MULTILINE)
    assert shown == rows
    assert facts["code"]["file"] == "my_model.py"
    assert facts["options"] == {"width": 4}


def test_inspect_tells_without_the_code_what_needs_no_network(folder: Path, succeeds: Run) -> None:
    result = succeeds("inspect teacher.safetensors", folder)
    assert "unknown without --code my_model.py" in result.stdout
    assert "my_model.py:build, width 4" in result.stdout
    assert "their shapes and parameters are unknown without --code my_model.py" in " ".join(result.stdout.split())
    rows = re.findall(r"│ (\w+) +│ [\w ]+ │ (\d+ channels) +│ unknown", result.stdout)
    facts = json.loads(succeeds("inspect teacher.safetensors --json", folder).stdout)
    assert rows == [(stage["name"], f"{stage['channels']} channels") for stage in facts["stages"]]
    assert [stage["shape"] for stage in facts["stages"]] == [None] * 5
    assert [stage["name"] for stage in facts["stages"]] == ["map1", "map2", "map3", "embedding", "logits"]
    assert (facts["parameters"], facts["macs"], facts["input_shape"]) == (None, None, [1, 24, 16])


@pytest.mark.parametrize(
    "command",
    [
        "evaluate teacher.safetensors --data digits",
        "export teacher.safetensors -o x.onnx",
        "prune --no-timing teacher.safetensors --ratio 0.5 --data digits -o x.safetensors",
        "quantize teacher.safetensors --scheme w8 --data digits -o x.safetensors",
        "benchmark teacher.safetensors",
        "distill teacher.safetensors --data digits -o x.safetensors",
        "compare teacher.safetensors --methods okd --data digits -o x",
    ],
)
def test_a_command_that_needs_the_network_asks_for_the_file(
    folder: Path, refused: Callable[..., str], command: str
) -> None:
    refused(command, folder, "teacher.safetensors: its network is my_model.py:build", "add --code my_model.py")


def test_a_file_that_was_edited_needs_a_word(
    folder: Path, tmp_path: Path, succeeds: Run, refused: Callable[..., str]
) -> None:
    (tmp_path / "my_model.py").write_text(EXAMPLE + "\n# a remark\n")
    (tmp_path / "teacher.safetensors").write_bytes((folder / "teacher.safetensors").read_bytes())
    evaluate = "evaluate teacher.safetensors --data digits --code my_model.py"
    refused(evaluate, tmp_path, "it was edited since", "add --edited")
    succeeds(f"{evaluate} --edited", tmp_path)


def test_a_teacher_and_a_student_of_ones_own_need_the_file_once(folder: Path, tmp_path: Path, succeeds: Run) -> None:
    teacher, file = folder / "teacher.safetensors", folder / "my_model.py"
    words = f"--student {shlex.quote(str(file))}:build --arg width=2 --method hints --fraction 0.1 --epochs 1"
    succeeds(f"distill {teacher} {words} --data digits -o small.safetensors", tmp_path)
    facts = json.loads(succeeds(f"inspect small.safetensors --code {file} --json", tmp_path).stdout)
    assert (facts["network"], facts["options"]) == ("my_model.py:build", {"width": 2})
    assert str(folder) not in facts["lineage"][0]["command"]


def test_a_stage_goes_where_it_was_told(
    folder: Path, tmp_path: Path, succeeds: Run, refused: Callable[..., str]
) -> None:
    train = (
        f"train {folder / 'my_model.py'}:build --input 1x24x16 --fraction 0.1 --epochs 1 --data digits -o x.safetensors"
    )
    succeeds(f"{train} --stage low=low.conv --stage high=high", tmp_path)
    facts = json.loads(succeeds(f"inspect x.safetensors --code {folder / 'my_model.py'} --json", tmp_path).stdout)
    assert [stage["name"] for stage in facts["stages"]] == ["low", "high", "embedding", "logits"]
    assert sum(stage["parameters"] for stage in facts["stages"]) == facts["parameters"]
    again = f"inspect x.safetensors --code {folder / 'my_model.py'} --stage all=middle --json"
    assert next(stage["name"] for stage in json.loads(succeeds(again, tmp_path).stdout)["stages"]) == "all"
    refused(f"{train} --force --stage low=lo", tmp_path, "--stage low=lo: Net has no module 'lo'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--input 1x24", "--input 1x24: give CHANNELSxHEIGHTxWIDTH such as 3x96x64"),
        ("--input 2x24x24", "of 1 or 3 channels"),
        ("--input 1x24x24 --size 32", "--input 1x24x24: --size says something else"),
        ("--input 1x24x24 --channels 3", "--input 1x24x24: --channels says something else"),
        ("--arg width", "--arg width: give it as NAME=VALUE"),
        ("--arg width=4 --width 4", "--arg width: given with --width, too"),
        ("--arg width=wide", "TypeError"),
        ("--code nowhere.py", "nowhere.py does not exist"),
        ("--code teacher.safetensors", "teacher.safetensors is no file of Python code"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, refused: Callable[..., str], words: str, said: str) -> None:
    refused(f"train my_model.py:build --data digits -o x.safetensors {words}", folder, said)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("my_model.py", "give the function in it, too: my_model.py:FACTORY"),
        ("my_model.py:bild", "Did you mean 'build'?"),
        ("your_model.py:build", "your_model.py does not exist"),
        ("timm:no_such_network", "timm"),
    ],
)
def test_a_name_that_is_none_is_refused(folder: Path, edgepress: Run, network: str, said: str) -> None:
    result = edgepress(f"train {network} --data digits -o x.safetensors", folder)
    assert result.exit_code in (2, 4)
    assert said in result.stderr
    assert "Traceback" not in result.stderr


SPARE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.spare, self.vain = nn.Conv2d(8, 4, 1), nn.Conv2d(16, 4, 1)
        self.head = nn.Linear(16, classes)

    def forward(self, image):
        last = self.body(self.stem(image))
        self.vain(last)
        return self.head(last.mean((2, 3)))

def build(classes, channels=1):
    return Net(classes, channels)
"""


def test_layers_that_make_no_answer_stay_float_and_the_rest_is_exported(
    tmp_path: Path, succeeds: Run, edgepress: Run
) -> None:
    (tmp_path / "spare.py").write_text(SPARE)
    succeeds("train spare.py:build --data digits --fraction 0.1 --epochs 1 -o spare.safetensors", tmp_path)
    for scheme, bits in (("w8", 8), ("static", 7)):
        line = f"quantize spare.safetensors --code spare.py --scheme {scheme} --data digits -o {scheme}"
        result = succeeds(f"{line}.onnx", tmp_path)
        said = " ".join(result.stderr.split())
        assert "left float: spare, vain, which are never called, or called for nothing: an export leaves them" in said
        assert "other weights" not in result.stdout, "the file has none"
        assert f"3 layers of {bits} bits" in result.stdout
        assert "top-1 agreement 100.00%" in result.stdout
        assert "96 other weights stay float32" in succeeds(f"{line}.safetensors", tmp_path).stdout
        kept = edgepress(f"export {scheme}.safetensors --code spare.py --data digits -o again.{scheme}.onnx", tmp_path)
        assert (kept.exit_code, "parity: " in kept.stdout) == (0, True), kept.stderr
