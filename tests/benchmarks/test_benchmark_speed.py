"""The speed benchmarks, run short: their documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.speed import commands, epochs, report, retrieval, stages, verdicts
from compress.errors import DataError, OutputError
from compress.phase import OPTIMIZERS, Fit


def test_epochs_document() -> None:
    result = epochs.compare("digits", fraction=0.2, rounds=2)
    assert result["schema"] == "edgepress-speed-epochs/1"
    assert (result["data"], result["batch_size"], result["augment"]) == ("digits", 128, ["flip", "crop"])
    assert list(result["phases"]) == ["map1", "map3", "pkt", "ce"]
    for phase in result["phases"].values():
        assert phase["ratio"]["value"] == pytest.approx(phase["engine_s"] / phase["by_hand_s"])
        assert phase["ratio"]["low"] <= phase["ratio"]["high"]
        assert phase["met"] is (phase["ratio"]["value"] <= phase["goal"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_stages_document() -> None:
    fit = Fit(1, OPTIMIZERS["adam"](1e-3), (1.0,), batch_size=32, views=1)
    result = stages.compare("digits", fit, fraction=0.06, side=32, rounds=2)
    assert result["schema"] == "edgepress-speed-stages/1"
    assert list(result["phases"]) == ["stem", "layer1", "layer2", "layer3", "layer4", "task"]
    assert result["ratio"]["low"] <= result["ratio"]["value"] <= result["ratio"]["high"]
    assert result["met"] is (result["ratio"]["value"] >= result["goal"])
    for kind in ("plain_s", "cached_s"):
        assert 0 < max(phase[kind] for phase in result["phases"].values()) < result[kind]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_retrieval_document() -> None:
    result = retrieval.compare(queries=40, database=300, rounds=2)
    assert result["schema"] == "edgepress-speed-retrieval/1"
    assert list(result["widths"]) == ["64", "128"]
    for one in result["widths"].values():
        assert one["cpu_s"]["low"] <= one["cpu_s"]["median"] <= one["cpu_s"]["high"]
        assert one["peak_mb"] >= 0
        assert len(one["scores"]) == 8
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_time_of_commands_stands_beside_its_goal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "COMMANDS", {"--help": "--help"})
    target = tmp_path / "commands.json"
    commands.main(target, rounds=2)
    result = json.loads(target.read_text(encoding="utf-8"))
    assert result["schema"] == "edgepress-speed-commands/1"
    assert result["commands"]["--help"]["command"] == "--help"
    for one in result["commands"].values():
        took = one["seconds"]
        assert 0 < took["low"] <= took["median"] <= took["high"]
        assert one["met"] is (took["median"] <= one["goal_s"])


MAINS = [
    commands.main,
    retrieval.main,
    lambda json: epochs.main("digits", json),
    lambda json: stages.main("digits", json),
]


@pytest.mark.parametrize("main", MAINS)
def test_an_existing_result_is_kept(tmp_path: Path, main) -> None:
    target = tmp_path / "result.json"
    target.write_text("kept", encoding="utf-8")
    with pytest.raises(OutputError, match="--force"):
        main(target)
    assert target.read_text(encoding="utf-8") == "kept"


def test_verdicts_document_and_a_journal_that_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "CLASSES", {"cnn-s": (10, 20)})
    monkeypatch.setattr(verdicts, "BARE_CALLS_MS", 1.0)
    monkeypatch.setattr("compress.evidence.usable_cores", lambda: 1)
    plan = verdicts.Plan(alike=1, unlike=1, bare=1, sessions=2, rounds=2, turn_ms=0.5)
    journal = tmp_path / "verdicts.jsonl"
    result = verdicts.compare(plan, journal)
    assert result["schema"] == "edgepress-speed-verdicts/2"
    network = result["networks"]["cnn-s"]
    alike, unlike = network["alike"], network["unlike"]
    assert sum(alike[kind] for kind in ("false", "unsure", "same", "noisy")) == alike["pairs"] == 1
    assert sum(unlike[kind] for kind in ("right", "wrong", "unsure", "same", "noisy")) == unlike["pairs"] == 1
    assert network["median_over_bare"]["repeats"] == 1
    assert result["met"] is network["met"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result

    lines = journal.read_text("utf-8").splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]), "utf-8")
    assert verdicts.compare(plan, journal)["networks"]["cnn-s"][verdicts.ALIKE] == alike
    assert journal.read_text("utf-8").splitlines(keepends=True)[:-1] == lines[:-1]


def test_a_journal_of_another_plan_is_kept(tmp_path: Path) -> None:
    journal = tmp_path / "verdicts.jsonl"
    journal.write_text('{"schema": "edgepress-speed-verdicts/1"}\n', "utf-8")
    with pytest.raises(DataError, match="another plan"):
        verdicts.compare(verdicts.Plan(), journal)
    assert journal.read_text("utf-8") == '{"schema": "edgepress-speed-verdicts/1"}\n'


def test_report_document() -> None:
    result = report.compare(files=3, images=200, classes=4)
    assert result["schema"] == "edgepress-speed-report/1"
    assert result["failed"] == []
    assert 0 < result["bytes"]["samples"] < result["bytes"]["page"]
    assert min(result[f"{part}_s"] for part in ("derive", "draw", "verify")) > 0
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.slow
def test_a_page_of_20_files_and_10_000_images_is_small_and_soon_drawn() -> None:
    assert report.compare()["met"]
