"""What `prune` says of its cuts, and how long it trains when nobody says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

from benchmarks.blame import Blamed
from benchmarks.verdict import Verdict
from cli.blamed import drawn
from compress.checkpoint import load
from compress.code import naming
from compress.edits import Drop
from compress.evidence import weights_digest

Run = Callable[[str, Path], Result]

DIGITS = "--data digits --fraction 0.05"
FEW = f"{DIGITS} --batch-size 32"
BLOCKS = '''"""A small network with blocks that can go."""

from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.relu(maps + self.body(maps))


def build(classes: int, channels: int) -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    return nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU(), Block(), Block(), Block(), *head)
'''

IDLE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU())
        self.spare, self.head = nn.Conv2d(8, 64, 1), nn.Linear(8, classes)

    def forward(self, image):
        return self.head(self.stem(image).mean((2, 3)))

def build(classes, channels=1):
    return Net(classes, channels)
"""


@pytest.fixture(scope="module")
def folder(succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """narrow.safetensors, whose layers are 3 or 24 channels wide, and small.safetensors, all powers of two."""
    folder = tmp_path_factory.mktemp("prune")
    succeeds(f"train cnn-s --width 3 --depth 1 --epochs 1 {FEW} -o narrow.safetensors", folder)
    succeeds(f"train cnn-s --width 4 --depth 2 --epochs 1 {FEW} -o small.safetensors", folder)
    return folder


@pytest.fixture(scope="module")
def deep(folder: Path, succeeds: Run) -> str:
    """A network with blocks that can go, in that folder."""
    succeeds(f"train resnet14 --epochs 1 {FEW} -o deep.safetensors", folder)
    return "deep.safetensors"


@pytest.fixture
def soon_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are timed in as few turns as an interval takes: the tests read what is said of times."""
    monkeypatch.setattr("benchmarks.proof.SESSIONS", 2)
    monkeypatch.setattr("benchmarks.proof.ROUNDS", 2)


def _of_cut(facts: dict[str, Any], quantity: str) -> int:
    found: int = next(one["value"] for one in facts["networks"]["cut"] if one["quantity"] == quantity)
    return found


def test_a_cut_far_from_the_ratio_is_said(folder: Path, succeeds: Run) -> None:
    said = succeeds(
        f"prune --no-timing narrow.safetensors --ratio 0.95 {DIGITS} -o cut.safetensors", folder
    ).stdout.splitlines()
    assert said[0].startswith("33.3 % of the channels are left, where a ratio of 0.95 asks for 5.0 %: ")
    assert said[0].endswith("(farthest off: blocks.0.conv, 1 of 3 left)")
    assert "layers lose whole channels" in said[0]


def test_layers_that_the_criterion_does_not_rank_are_the_reason(folder: Path, succeeds: Run) -> None:
    line = f"prune --no-timing small.safetensors --ratio 0.5 --criterion bn-scale {DIGITS} -o unranked.safetensors"
    (said,) = (line for line in succeeds(line, folder).stdout.splitlines() if "farthest off" in line)
    assert "asks for 50.0 %: criterion bn-scale does not rank embedding.1 (farthest off: embedding.1, 16 of" in said


def test_a_ranking_of_all_layers_takes_no_more_than_most_of_one(folder: Path, succeeds: Run) -> None:
    line = f"prune --no-timing small.safetensors --ratio 0.98 --scope global --round 1 {DIGITS} -o most.safetensors"
    said = succeeds(line, folder).stdout
    assert "asks for 2.0 %: of one layer at most 90 % go\n" in said


def test_layers_that_are_never_called_are_no_part_of_the_share(folder: Path, succeeds: Run) -> None:
    (folder / "idle.py").write_text(IDLE)
    succeeds(f"train idle.py:build --epochs 1 {FEW} -o idle.safetensors", folder)
    line = f"prune --no-timing idle.safetensors --code idle.py --ratio 0.5 {DIGITS} -o half.idle.safetensors"
    assert "channels are left" not in succeeds(line, folder).stdout


def test_what_is_left_of_each_layer_is_said_at_length(folder: Path, succeeds: Run) -> None:
    line = f"prune --no-timing small.safetensors --ratio 0.5 --leave map2 --layer-ratio map1=0.25 --round 1 {DIGITS}"
    said = succeeds(f"{line} -v -o shares.safetensors", folder).stdout
    assert [row.split()[1:8:2] for row in said.splitlines() if "blocks" in row and "farthest" not in row] == [
        ["blocks.0.conv", "4", "3", "75.0"],
        ["blocks.1.conv", "8", "8", "100.0"],
    ]
    assert "farthest off" not in said, "each layer has what was asked of it"
    layers = json.loads(succeeds(f"{line} --json -o shares.safetensors --force", folder).stdout)["layers"]
    assert layers == {"blocks.0.conv": [4, 3], "blocks.1.conv": [8, 8], "embedding.1": [16, 8]}
    step = load(folder / "shares.safetensors").card.lineage[1]
    assert (step["leave"], step["layer_ratios"], step["multiple"]) == (["map2"], {"map1": 0.25}, 1)


@pytest.mark.parametrize("criterion", ["taylor", "reconstruction"])
def test_a_criterion_looks_at_images(folder: Path, succeeds: Run, criterion: str) -> None:
    line = f"prune --no-timing small.safetensors --ratio 0.5 --criterion {criterion} --scope global {DIGITS}"
    succeeds(f"{line} --calibrate 40 -o {criterion}.safetensors", folder)
    step = load(folder / f"{criterion}.safetensors").card.lineage[1]
    assert (step["criterion"], step["scope"], step["calibration"]["images"]) == (criterion, "global", 40)


@pytest.mark.parametrize(
    ("words", "mentions"),
    [
        ("--criterion l3", "unknown criterion 'l3'. Did you mean 'l2'?"),
        ("--scope globl", "unknown --scope 'globl'. Did you mean 'global'?"),
        ("--leave map7", "unknown stage or layer 'map7'. Did you mean 'map"),
        ("--leave map1,", "--leave 'map1,': give names separated by commas"),
        ("--layer-ratio map7=0.5", "unknown stage or layer 'map7'"),
        ("--layer-ratio map1", "--layer-ratio map1: give it as LAYER=X"),
        ("--layer-ratio map1=1", "--layer-ratio map1=1: give it as LAYER=X"),
        ("--layer-ratio map1=0.1 --layer-ratio map1=0.2", "--layer-ratio map1: given twice"),
        ("--layer-ratio logits=0.5", "no layer of that name may be cut"),
        ("--blocks 1", "has no residual block that could go, where 1 was to;"),
        (
            "--criterion taylor --calibrate 0",
            "--calibrate 0: criterion taylor has to look at images; give a number above 0",
        ),
        (
            "--leave map2 --layer-ratio map2=0.5",
            "'map2' has a ratio, but --leave map2 keeps every channel that it names; leave one of the two out",
        ),
        ("--round 0", "a whole number, at least 1"),
        ("--leave *", "no layer that could lose a channel"),
        ("--ratio 0", "--ratio 0 cuts nothing; give a number above 0 and below 1"),
        ("--ratio 0.01", "loses no channel where widths are multiples of 16; cut more, or round to less"),
    ],
)
def test_a_choice_that_cannot_be(folder: Path, refused: Callable[..., str], words: str, mentions: str) -> None:
    said = refused(f"prune --no-timing small.safetensors --ratio 0.5 {DIGITS} -o none.safetensors {words}", folder)
    assert mentions in " ".join(said.split())
    assert not (folder / "none.safetensors").exists()


def test_blocks_go_and_are_said(folder: Path, deep: str, succeeds: Run) -> None:
    said = succeeds(
        f"prune --no-timing {deep} --ratio 0 --blocks 1 --calibrate 16 {DIGITS} -o shallow.safetensors",
        folder,
    )
    (drop,) = load(folder / "shallow.safetensors").card.edits
    assert isinstance(drop, Drop)
    assert re.match(rf"block removed: {re.escape(drop.module)} \([\d.]+ of [\d.]+ million MACs\)\n", said.stdout)
    assert "whole blocks are gone" in said.stdout.splitlines()[1]
    shown = succeeds("inspect shallow.safetensors --json", folder).stdout
    assert json.loads(shown)["surgery"] == {"cuts": 0, "channels": 0, "blocks": [drop.module]}
    assert f"block {drop.module}" in succeeds("inspect shallow.safetensors", folder).stdout


@pytest.mark.usefixtures("soon_timed")
def test_blocks_are_chosen_by_the_time_they_take(folder: Path, succeeds: Run) -> None:
    (folder / "blocks.py").write_text(BLOCKS)
    succeeds(f"train blocks.py:build --epochs 1 {FEW} -o own.safetensors", folder)
    line = f"prune own.safetensors --code blocks.py --ratio 0 --blocks 1 --calibrate 16 {DIGITS} -o faster.safetensors"
    said = succeeds(line, folder).stdout
    with naming([folder / "blocks.py"]):
        (drop,) = load(folder / "faster.safetensors").card.edits
    assert isinstance(drop, Drop)
    found = re.match(rf"block removed: {re.escape(drop.module)} \(([\d.]+) of ([\d.]+) ms\)\n", said)
    assert found is not None
    assert 0 < float(found[1]) < float(found[2])


@pytest.mark.usefixtures("soon_timed")
def test_where_it_is_not_faster_the_layers_to_blame_are_kept(
    folder: Path, succeeds: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is given, for a small network may be faster or not; and so little counts that a layer is above it."""
    monkeypatch.setattr("benchmarks.blame.LEAST_EXCESS", -1e9)
    monkeypatch.setattr("benchmarks.blame.LEAST_RISE", 0.0)
    monkeypatch.setattr("benchmarks.proof.judge", lambda _ratios: Verdict("same", "no detectable difference"))
    line = f"prune small.safetensors --ratio 0.5 {DIGITS} -o blamed.safetensors --json"
    blamed = json.loads(succeeds(line, folder).stdout)["blamed"]
    assert 0 < len(blamed) <= 5
    assert all(one.keys() == {"name", "macs", "time_ms", "excess_ms", "reason"} for one in blamed)
    assert all(min(one["time_ms"][1:]) > 0 for one in blamed)


def test_the_layers_to_blame_are_drawn_with_what_they_take() -> None:
    layer = Blamed("features.2", (497_664, 347_328), (0.03, 0.184), 0.163, "67 channels")
    reorder = Blamed("ReorderInput", (0, 0), (0.0, 0.02), 0.02, "9 changes between layouts where there were none")
    (table,) = drawn([layer, reorder])
    assert [[str(cell) for cell in column.cells] for column in table.columns] == [
        ["features.2", "ReorderInput"],
        ["497,664 -> 347,328", ""],
        ["0.030 -> 0.184", "0.000 -> 0.020"],
        ["67 channels", "9 changes between layouts where there were none"],
    ]
    assert drawn([]) == []


def test_a_cut_as_asked_for_is_not_remarked_upon(folder: Path, succeeds: Run) -> None:
    said = succeeds(f"prune --no-timing small.safetensors --ratio 0.5 {DIGITS} -o half.safetensors", folder).stdout
    assert "channels are left" not in said


@pytest.mark.parametrize(
    ("words", "phases"),
    [
        ("", [["map1", 1], ["map2", 1], ["embedding", 1]]),
        ("--epochs 2", [["map1+map2", 1], ["embedding", 1]]),
        ("--epochs 6", [["map1", 1], ["map2", 2], ["embedding", 3]]),
        ("--set share=0.9 --epochs 6", [["map1", 2], ["map2", 3], ["embedding", 1]]),
        ("--set a=0", [["map1", 1], ["map2", 2], ["embedding", 2]]),
    ],
)
def test_the_layers_of_indistill_have_half_of_the_epochs_or_what_its_knobs_say(
    folder: Path, succeeds: Run, words: str, phases: list[object]
) -> None:
    line = f"prune --no-timing small.safetensors --ratio 0.5 {FEW} --recover indistill {words}"
    succeeds(f"{line} -o layers.safetensors --force", folder)
    assert load(folder / "layers.safetensors").card.lineage[-1]["phases"] == phases


def test_other_methods_get_two_epochs(folder: Path, succeeds: Run) -> None:
    succeeds(f"prune --no-timing small.safetensors --ratio 0.5 {FEW} --recover okd -o okd.safetensors", folder)
    assert load(folder / "okd.safetensors").card.lineage[-1]["phases"] == [["okd", 2]]


@pytest.mark.parametrize(("words", "stay"), [("", True), ("--batch-norm batch", False), ("--calibrate 0", False)])
def test_statistics_of_batch_norm_stay_as_fitted_unless_asked_otherwise(
    folder: Path, succeeds: Run, words: str, stay: bool
) -> None:
    seen = words if words.startswith("--calibrate") else ""
    line = f"prune --no-timing small.safetensors --ratio 0.5 {DIGITS}"
    succeeds(f"{line} {seen} -o start.safetensors --force", folder)
    succeeds(f"{line} {words} --epochs 1 --batch-size 32 -o taught.safetensors --force", folder)
    before, after = (load(folder / name).network.model for name in ("start.safetensors", "taught.safetensors"))
    means = "blocks.0.norm.running_mean"
    assert torch.equal(before.get_buffer(means), after.get_buffer(means)) == stay
    assert not torch.equal(before.get_parameter("blocks.0.norm.weight"), after.get_parameter("blocks.0.norm.weight"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--epochs 1 --batch-norm fix", "unknown --batch-norm 'fix'"),
        ("--batch-norm fixed", "--batch-norm: nothing is trained without --recover or --epochs"),
    ],
)
def test_how_batch_norm_normalises_is_said_of_a_recovery(
    folder: Path, refused: Callable[..., str], words: str, said: str
) -> None:
    assert said in refused(f"prune small.safetensors --ratio 0.5 {FEW} {words} -o none.safetensors", folder)


def test_epochs_alone_are_a_recovery(folder: Path, succeeds: Run) -> None:
    line = f"prune small.safetensors --ratio 0.5 {FEW} --epochs 1 --calibrate 0 --no-timing -o usual.safetensors"
    assert ".onnx" not in succeeds(line, folder).stdout
    card = load(folder / "usual.safetensors").card
    assert [step.get("phases") for step in card.lineage[1:]] == [None, [["all", 1]]]


@pytest.mark.usefixtures("soon_timed")
def test_what_is_left_is_fitted_and_held_against_what_was(folder: Path, succeeds: Run) -> None:
    said = succeeds(f"prune small.safetensors --ratio 0.5 {DIGITS} --json -o fitted.safetensors", folder).stdout
    facts = json.loads(said)
    assert [*facts["networks"]] == ["before", "cut", "fitted"]
    assert facts["ratio"] == 0.5
    before, _, after = ({one["quantity"]: one for one in records} for records in facts["networks"].values())
    for quantity in ("parameters", "macs", "weights", "size"):
        assert 0 < after[quantity]["value"] < before[quantity]["value"]
    for records, file in ((before, "small.safetensors"), (after, "fitted.safetensors")):
        assert {one["sha256"] for one in records.values()} == {weights_digest(load(folder / file).network.model)}
        assert {one["command"].split()[1] for one in records.values()} == {"prune"}
        assert records["latency"]["low"] < records["latency"]["value"] < records["latency"]["high"]
        assert records["top1"]["low"] < records["top1"]["value"] < records["top1"]["high"]
    assert after["speedup"]["low"] < after["speedup"]["value"] < after["speedup"]["high"]
    assert load(folder / "fitted.safetensors").card.lineage[-2]["refitted_layers"] == 4


@pytest.mark.usefixtures("soon_timed")
def test_before_and_after_stand_in_one_table(folder: Path, succeeds: Run) -> None:
    said = succeeds(f"prune small.safetensors --ratio 0.5 {DIGITS} -o table.safetensors", folder).stdout
    head, _, before, cut, after = said.strip().splitlines()[:5]
    assert re.split(r"\s{2,}", head.strip()) == ["parameters", "MACs", "weights, B", ".onnx, B", "ms", "top1 %"]
    assert [len(line.split()) for line in (before, cut, after)] == [7, 5, 7]
    timed = f"prune small.safetensors --ratio 0.5 {DIGITS} --no-timing -o untimed.safetensors"
    assert ".onnx" not in succeeds(timed, folder).stdout


@pytest.mark.parametrize(
    ("budget", "quantity", "limit"), [("--max-params 0.6k", "parameters", 600), ("--max-macs 20k", "macs", 20_000)]
)
def test_the_least_cut_that_keeps_to_a_budget(
    folder: Path, succeeds: Run, budget: str, quantity: str, limit: int
) -> None:
    line = f"prune small.safetensors {budget} {DIGITS} --calibrate 0 --no-timing --json -o fits.safetensors --force"
    facts = json.loads(succeeds(line, folder).stdout)
    assert _of_cut(facts, quantity) <= limit
    more = f"prune small.safetensors --ratio {facts['ratio'] - 0.13} {DIGITS} --calibrate 0 --no-timing --json"
    wider = json.loads(succeeds(f"{more} -o wider.safetensors --force", folder).stdout)
    assert _of_cut(wider, quantity) > limit, "a layer of 8 channels more would not have fitted"


@pytest.mark.parametrize(
    ("budget", "code", "said"),
    [
        ("--max-params 3", 3, "at most 3 parameters cannot be met: the closest is"),
        ("--max-size 1KB", 3, "at most 1,000 bytes as .onnx without lineage cannot be met: the closest is"),
        ("--max-params 1G", 2, "nothing has to be cut: the network has at most 1,000,000,000 parameters already"),
        ("--max-params 1G --ratio 0.5", 2, "how much to cut: give either --ratio, or what may be left: --max-params"),
        ("", 2, "how much to cut: give either --ratio"),
        ("--max-macs ten", 2, "got 'ten'; give a number above 0 such as 500k or 10M"),
        ("--max-params 3", 3, "parameters, at a ratio of 0.98; nothing was written. To take it: --ratio 0.98"),
        ("--min-speedup 2 --no-timing", 2, "--no-timing: --min-speedup cannot be kept without measuring time"),
        ("--ratio 0.5 --recover indistill --epochs 1", 2, "1 epoch for its maps and pkt; give at least 2"),
        ("--max-latency 5", 2, "got '5'; give a number above 0 and its unit, such as 1ms or 500us"),
        ("--max-size abc", 2, "got 'abc'; give a size above 0 such as 500KB, 2MB or 1.5MiB"),
        ("--max-size 0", 2, "got '0'; give a size above 0"),
        ("--layer-ratio map2=0.5", 2, "give --ratio, 0 to leave them whole"),
        ("--min-speedup 1", 2, "got '1'; give a number above 1"),
    ],
)
def test_a_budget_that_cannot_be_kept_writes_nothing(
    folder: Path, edgepress: Run, budget: str, code: int, said: str
) -> None:
    result = edgepress(f"prune small.safetensors {budget} {DIGITS} -o none.safetensors", folder)
    assert (result.exit_code, " ".join(said.split()) in " ".join(result.stderr.split())) == (code, True), result.stderr
    assert not (folder / "none.safetensors").exists()


def test_a_budget_of_time_that_is_kept_already_leaves_no_file(folder: Path, edgepress: Run) -> None:
    result = edgepress(f"prune small.safetensors --max-latency 10s {DIGITS} -o kept.safetensors", folder)
    assert (result.exit_code, "nothing has to be cut" in result.stderr) == (2, True), result.stderr
    assert not list(folder.glob("kept*"))


def test_a_budget_that_cannot_be_kept_says_how_close_it_came(folder: Path, edgepress: Run) -> None:
    result = edgepress(f"prune small.safetensors --max-params 3 {DIGITS} --json -o none.safetensors", folder)
    assert result.exit_code == 3
    facts = json.loads(result.stdout)
    asked = {"quantity": "parameters", "limit": 3, "unit": "parameters"}
    assert (facts["output"], facts["status"], facts["budgets"]) == (None, "not met", [asked])
    closest = facts["not_met"].pop("closest")
    assert facts["not_met"] == asked
    assert (closest["ratio"], closest["value"] > 3) == (0.98, True)
    assert f"the closest is {closest['value']:,.0f} parameters" in facts["reason"]
    assert facts["reason"] in result.stderr


@pytest.mark.parametrize("option", ["--lr 0.1", "--set tau=2"])
def test_options_of_a_training_need_a_method(folder: Path, edgepress: Run, option: str) -> None:
    result = edgepress(f"prune --no-timing small.safetensors --ratio 0.5 {DIGITS} {option} -o none.safetensors", folder)
    assert result.exit_code == 2
    assert (
        f"{option.split()[0]}: nothing is trained without --recover or --epochs; leave it out, or add --epochs 2"
        in result.stderr
    )
    assert not (folder / "none.safetensors").exists()


def test_without_data_it_is_what_the_network_was_trained_on(
    folder: Path, tmp_path: Path, succeeds: Run, refused: Callable[..., str]
) -> None:
    shutil.copy(folder / "small.safetensors", tmp_path)
    done = succeeds("prune small.safetensors --ratio 0.5 --no-timing", tmp_path)
    assert "no --data was given: digits, which small.safetensors was trained on" in done.stderr
    assert load(tmp_path / "small.pruned.safetensors").card.edits
    succeeds("prune small.safetensors --sensitivity --samples 40 --json", tmp_path)
    assert sorted(path.suffix for path in tmp_path.glob("small.sensitivity.*")) == [".json", ".png"]
    torch.save(load(tmp_path / "small.safetensors").network.model.state_dict(), tmp_path / "plain.pt")
    refused("prune plain.pt --arch cnn-s --ratio 0.5", tmp_path, "plain.pt: names no data that are on this machine")
