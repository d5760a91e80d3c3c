"""`prune --steps`: what is left is fitted and trained back between the cuts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from compress.checkpoint import load

Run = Callable[[str, Path], Result]

DIGITS = "--data digits --fraction 0.05"
CUT = f"prune --no-timing small.safetensors --ratio 0.5 --round 1 {DIGITS}"


@pytest.fixture(scope="module")
def folder(succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    succeeds(f"train cnn-s --width 4 --depth 2 --epochs 1 --batch-size 32 {DIGITS} -o small.safetensors", folder)
    return folder


def _parameters(records: list[dict[str, Any]]) -> int:
    found: int = next(one["value"] for one in records if one["quantity"] == "parameters")
    return found


def test_two_steps_with_a_recovery_after_each(folder: Path, succeeds: Run) -> None:
    line = f"{CUT} --steps 2 --recover simultaneous --epochs 3 --batch-size 32 --json -o slow.safetensors"
    facts = json.loads(succeeds(line, folder).stdout)
    made = ["before", "cut 1", "fitted 1", "recovered 1", "cut 2", "fitted 2", "recovered 2"]
    assert [*facts["networks"]] == made
    parameters = [_parameters(records) for records in facts["networks"].values()]
    assert parameters[0] > parameters[1] == parameters[3] > parameters[4] == parameters[6]
    once = json.loads(succeeds(f"{CUT} --calibrate 0 --json -o once.safetensors", folder).stdout)
    assert facts["layers"] == once["layers"]
    assert parameters[-1] == _parameters(once["networks"]["cut"])
    lineage = load(folder / "slow.safetensors").card.lineage
    assert [step["step"] for step in lineage if "step" in step] == [[1, 2], [2, 2]]
    assert [step["phases"][0][1] for step in lineage if step.get("phases")][1:] == [1, 2]
    assert load(folder / "slow.step1.safetensors").card.lineage == lineage[:4]
    again = succeeds(f"{line.replace(' --json', '')} --resume", folder).stdout
    assert "already finished: slow.safetensors" in again


def test_steps_that_are_only_fitted_leave_one_file(folder: Path, succeeds: Run) -> None:
    succeeds(f"{CUT} --steps 2 -o fitted.safetensors", folder)
    assert not (folder / "fitted.step1.safetensors").exists()
    steps = load(folder / "fitted.safetensors").card.lineage
    assert [step["refitted_layers"] for step in steps if "refitted_layers" in step] == [4, 4]


def test_steps_that_would_cut_nothing_are_left_out_and_that_is_said(folder: Path, succeeds: Run) -> None:
    result = succeeds(f"{CUT} --calibrate 0 --steps 9 --json -o few.safetensors", folder)
    steps = [name for name in json.loads(result.stdout)["networks"] if name.startswith("cut")]
    assert 1 < len(steps) < 9
    assert f"--steps 9: {len(steps)} of them cut a channel" in " ".join(result.stderr.split())


def test_steps_that_cannot_be(folder: Path, refused: Callable[..., str]) -> None:
    said = refused(f"{CUT} --steps 3 --epochs 2 -o none.safetensors", folder)
    assert "--epochs 2: 3 steps of at least 1 epoch each take 3; give more, or fewer --steps" in said
    (folder / "none.step1.safetensors").write_bytes(b"mine")
    assert "none.step1.safetensors" in refused(f"{CUT} --steps 2 --epochs 2 -o none.safetensors", folder)
    assert (folder / "none.step1.safetensors").read_bytes() == b"mine"
    assert not (folder / "none.safetensors").exists()


def test_what_was_timed_is_not_timed_again_by_a_run_that_goes_on(
    folder: Path, succeeds: Run, refused: Callable[..., str]
) -> None:
    kept = folder / "tight.measured.json"
    kept.write_text('{"ratio": 0.5}', encoding="utf-8")
    line = f"prune small.safetensors --max-latency 1us --round 1 {DIGITS} --json -o tight.safetensors --resume"
    facts = json.loads(succeeds(line, folder).stdout)
    assert facts["ratio"] == 0.5, "one microsecond cannot be met, so it was not searched for"
    kept.write_text("[", encoding="utf-8")
    said = refused(line, folder)
    assert "tight.measured.json: is not what an interrupted run measured; begin anew with --force" in said


@pytest.mark.slow
def test_the_times_that_blocks_are_chosen_by_are_kept(folder: Path, succeeds: Run) -> None:
    succeeds(f"train resnet14 --epochs 1 --batch-size 32 {DIGITS} -o deep.safetensors", folder)
    line = f"prune deep.safetensors --ratio 0 --blocks 1 --calibrate 16 {DIGITS}"
    succeeds(f"{line} -o first.safetensors", folder)
    times = json.loads((folder / "first.measured.json").read_text("utf-8"))["layers_ms"]
    assert all(value > 0 for value in times.values())
    slower = {name: 1000 * value for name, value in times.items()}
    (folder / "second.measured.json").write_text(json.dumps({"layers_ms": slower}), encoding="utf-8")
    said = succeeds(f"{line} -o second.safetensors --resume", folder).stdout
    assert f"of {sum(slower.values()):.3g} ms)" in said
    (first,), (second,) = (load(folder / f"{name}.safetensors").card.edits for name in ("first", "second"))
    assert first == second
