"""The page of families: what a run writes, what it keeps, and what it says of a network that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.studies.contract import PROMISES, Facts, Pruned, tried
from benchmarks.studies.families import OWN, SCHEMA, main, markdown
from benchmarks.studies.untrained import untrained
from compress.errors import DataError, GateError

HELD: Facts = {
    "input": [3, 64, 64],
    "versions": {"torch": "2.9"},
    "broken": {},
    "macs": [1_000, 250],
    "parameters": [400, 100],
    "layers": [3, 4],
    "stages": {"map1": [8, 32, 32], "map2": [16, 16, 16]},
    "again": [60, 30],
    "onnx": "max |difference| 1e-08 (allowed 1e-06), top-1 agreement 100.00%, 8 samples",
    "fit": {"off": [0.5, 0.1], "why_not": ""},
    "still": [],
}
BROKEN: Facts = {"input": [3, 32, 32], "versions": {"torch": "2.9"}, "broken": {"cut": "it has no layer"}}


def test_a_row_tells_what_was_cut_and_what_broke() -> None:
    lines = markdown({"vgg11_bn": BROKEN, "alexnet": HELD}).splitlines()
    assert lines[2:4] == [
        "| alexnet | 3x64x64 | 1,000 → 250 (25%) | 400 → 100 (25%) | 3 of 4 | 32x32, 16x16 | layers | 6% "
        "| 1e-08 (allowed 1e-06) | nothing |",
        "| vgg11_bn | 3x32x32 | – | – | – | – | – | – | – | cut (1) |",
    ]
    assert lines[5:] == ["1. it has no layer", "", "torch 2.9"]
    assert {line.count("|") for line in lines[:4]} == {11}


def test_layers_that_were_not_fitted_have_a_note() -> None:
    fit = {"off": [0.5, 0.4], "why_not": "torch.fx cannot trace it"}
    assert "| statistics (1) |" in markdown({"alexnet": {**HELD, "fit": fit}})


@pytest.mark.slow  # another process imports torch anew
def test_a_run_makes_the_rows_that_are_asked_for_and_keeps_the_others(tmp_path: Path) -> None:
    """In a process of its own, as every row is made."""
    record, page = tmp_path / "families.json", tmp_path / "families.md"
    record.write_text(json.dumps({"schema": SCHEMA, "rows": {"alexnet": HELD, OWN: BROKEN}}), encoding="utf-8")
    main(record, page, [OWN])
    rows = json.loads(record.read_text(encoding="utf-8"))["rows"]
    assert rows["alexnet"] == HELD
    assert (rows[OWN]["broken"], rows[OWN]["layers"]) == ({}, [3, 3])
    text = page.read_text(encoding="utf-8")
    assert "| alexnet |" in text
    assert f"| {OWN} | 3x64x64 | " in text


def test_an_unknown_name_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown --only 'alexnit'\. Did you mean 'alexnet'"):
        main(tmp_path / "families.json", tmp_path / "families.md", ["alexnit"])
    assert list(tmp_path.iterdir()) == []


def test_where_the_page_of_the_example_is_not_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"own-networks\.md: has no example in Python; run this where the page is"):
        main(Path("families.json"), Path("families.md"))
    assert list(tmp_path.iterdir()) == []


def test_one_promise_that_breaks_leaves_the_others_to_be_tried(tmp_path: Path) -> None:
    def breaks(_made: Pruned) -> Facts:
        raise GateError("it is off")

    def fails(_made: Pruned) -> Facts:
        raise KeyError("map1")

    promises = {"onnx": breaks, "fit": fails, "smaller": PROMISES["smaller"]}
    found = tried(untrained("cnn-s", (32, 32)), tmp_path, promises)
    assert found["broken"] == {"onnx": "it is off", "fit": "KeyError: 'map1'"}
    assert found["layers"] == [4, 4]


def test_a_network_that_cannot_be_cut_is_a_reason(tmp_path: Path) -> None:
    whole = untrained("cnn-s", (32, 32))
    whole.network.model.register_forward_hook(lambda _module, _args, output: (output, output))
    assert "gives 2 outputs" in tried(whole, tmp_path)["broken"]["cut"]
