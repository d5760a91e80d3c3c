"""A study's JSON as Markdown, and the marked section of a page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.table import BEGIN, END, aggregate, markdown, replace_section
from compress.errors import DataError

PAGE = f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n"


def _row(method: str, seed: int, top1: float, **more: Any) -> dict[str, Any]:
    command = f"edgepress distill --method {method} --seed {seed}"
    row = {"task": "classification", "method": method, "epochs": 70, "seed": seed, "top1": top1, "command": command}
    return {**row, **more}


def _study() -> dict[str, Any]:
    return {
        "schema": "edgepress-study/1",
        "data": "fashion-mnist",
        "machine": {"cpu": "Some CPU", "torch": "2.14.1"},
        "teacher": {"name": "resnet18", "top1": 0.93, "top1_interval": [0.925, 0.935], "command": "edgepress train"},
        "rows": [
            _row("no_teacher", 0, 0.89),
            _row("indistill", 0, 0.90, map_e_paper=0.68),
            _row("indistill", 1, 0.91, map_e_paper=0.70),
        ],
        "paper": {"classification": {"indistill": {"top1": 0.9057}}},
    }


def test_aggregate_by_hand() -> None:
    first, second = aggregate(_study()["rows"])
    assert (first.method, first.seeds, first.epochs) == ("no_teacher", (0,), 70)
    assert "map_e_paper" not in first.scores
    assert second.seeds == (0, 1)
    top1 = second.scores["top1"]
    assert (top1.mean, top1.low, top1.high, top1.count) == pytest.approx((0.905, 0.90, 0.91, 2))


def test_other_epochs_are_another_line() -> None:
    rows = [_row("pkt", 0, 0.9), {**_row("pkt", 0, 0.8), "epochs": 3}]
    assert [line.epochs for line in aggregate(rows)] == [70, 3]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"task": "classification", "method": "pkt"}], r"rows\[0\]: lacks epochs, seed"),
        ([_row("pkt", 0, 0.9), _row("pkt", 0, 0.9)], "a seed comes twice"),
        ([_row("pkt", 0, 90.1)], "fractions between 0 and 1"),
    ],
)
def test_aggregate_refuses(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        aggregate(rows)


def test_markdown_holds_the_scores_beside_the_published_ones() -> None:
    text = markdown(_study())
    assert "resnet18, top-1 93.00 % [92.50, 93.50]" in text
    assert "| task | method | epochs | seeds | top-1 | *paper* | mAP e |" in text
    assert "| classification | indistill | 70 | 2 | 90.50 (90.00–91.00) | 90.57 | 69.00 (68.00–70.00) |" in text
    assert "| classification | no_teacher | 70 | 1 | 89.00 | – | – |" in text
    assert text.count("--method indistill --seed 1") == 1
    assert "(exact)" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other/1"}, "got 'other/1'"),
        ({"teacher": None}, "lacks teacher"),
        ({"shipped": {"schema": "other/1"}}, "shipped: got schema"),
    ],
)
def test_markdown_refuses_other_documents(change: dict[str, Any], message: str) -> None:
    study = {key: value for key, value in {**_study(), **change}.items() if value is not None}
    with pytest.raises(DataError, match=message):
        markdown(study)


def test_section_is_replaced_and_twice_is_once() -> None:
    once = replace_section(PAGE, "new\n")
    assert once == f"# Title\n\n{BEGIN}\nnew\n{END}\n\nThe rest.\n"
    assert replace_section(once, "new\n") == once


@pytest.mark.parametrize("page", ["no markers", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_section_refuses_a_page_without_its_markers(page: str) -> None:
    with pytest.raises(DataError, match="once each"):
        replace_section(page, "new")


def _command(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.studies.table", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_rewrites_the_page(tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "README.md"
    results.write_text(json.dumps(_study()), encoding="utf-8")
    page.write_text(PAGE, encoding="utf-8")
    done = _command(results, page)
    assert done.returncode == 0, done.stderr
    assert page.read_text(encoding="utf-8") == replace_section(PAGE, markdown(_study()))


@pytest.mark.parametrize(("content", "said"), [("{", "is not JSON"), ("[]", "holds a list"), (None, "is not a file")])
def test_command_says_what_is_wrong_and_leaves_the_page(tmp_path: Path, content: str | None, said: str) -> None:
    results, page = tmp_path / "results.json", tmp_path / "README.md"
    page.write_text(PAGE, encoding="utf-8")
    if content is not None:
        results.write_text(content, encoding="utf-8")
    done = _command(results, page)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert said in done.stderr
    assert page.read_text(encoding="utf-8") == PAGE
