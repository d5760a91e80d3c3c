"""A study's JSON as Markdown, and the marked section of a page."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.summary import cells
from benchmarks.studies.table import BEGIN, END, markdown, read_study, replace_section
from compress.errors import DataError
from compress.evidence import Record, metric_records

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

PAGE = f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n"


def _row(method: str, seed: int, top1: float, **more: float) -> dict[str, Any]:
    command = f"edgepress distill --method {method} --seed {seed}"
    place = {"name": f"{method}-{seed}", "student": "cnn-s", "method": method, "task": "classification", "seed": seed}
    place |= {"fraction": 0.1, "epochs": 70, "depth": None, "ratio": None, "control": "", "command": command}
    found = metric_records({"top1": top1, **more}, 450)
    return {**place, "reason": "", "records": [replace(one, seed=seed).to_dict() for one in found]}


def _study(**changes: Any) -> dict[str, Any]:
    rows = [
        _row("no_teacher", 0, 0.89),
        _row("indistill", 0, 0.90, map_e_paper=0.68),
        _row("indistill", 1, 0.91, map_e_paper=0.70),
    ]
    return {
        "schema": "edgepress-study/2",
        "command": "",
        "data": "fashion-mnist",
        "teacher": {"name": "resnet18", "metrics": {"top1": 0.93}, "command": "edgepress train"},
        "baseline": "no_teacher",
        "task": "",
        "settings": "--lr 0.01",
        "note": "Scaled down.",
        "machine": {"cpu": "Some CPU", "torch": "2.14.1"},
        "grid": {row["name"]: row["command"] for row in rows},
        "summary": cells(rows, "no_teacher"),
        "rows": rows,
        "paper": [{"method": "indistill", "scores": {"top1": 0.9057}, "source": "Table 2"}],
        **changes,
    }


def test_markdown_holds_the_scores_beside_the_published_ones() -> None:
    text = markdown(_study())
    assert "resnet18 teaches on fashion-mnist: task classification, student cnn-s, data 10 %, epochs 70; --lr" in text
    assert "\n\nScaled down.\n\n|" in text
    assert "- Teacher: resnet18, top-1 93.00 %.\n" in text
    assert "*paper*: the published value (Table 2)" in text
    assert "| method | seeds | top-1 | *paper* | vs no_teacher | mAP e |" in text
    assert "| indistill | 2 | 90.50 ±0.71 | 90.57 | +1.00 | 69.00 ±1.41 |" in text
    assert "| no_teacher | 1 | 89.00 | – | – | – |" in text
    assert text.count("--method indistill --seed 1") == 1
    assert "(exact)" not in text


def test_a_study_of_one_command_is_made_by_it() -> None:
    text = markdown(_study(command="edgepress compare teacher.safetensors"))
    assert text.endswith("```\nedgepress train\nedgepress compare teacher.safetensors\n```")


def test_what_differs_is_a_column_and_what_failed_a_line() -> None:
    broken = {**_row("pkt", 3, 0.5), "fraction": 0.2, "reason": "out of paper", "records": []}
    rows = [_row("pkt", 0, 0.5), broken]
    text = markdown(_study(rows=rows, summary=cells(rows, "pkt"), paper=[]))
    assert "| method | data | seeds | top-1 |" in text
    assert "| pkt | 20 % | 0 (1 failed) | – |" in text
    assert "- pkt-3: out of paper" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other/1"}, "got 'other/1'"),
        ({"teacher": None}, "lacks teacher"),
        ({"paper": [{"method": "pkt", "scores": {"top1": 90.57}}]}, "published value 1: top1 is 90.57"),
        ({"summary": cells([_row("pkt", 0, 90.1)], "pkt")}, "fractions between 0 and 1"),
    ],
)
def test_markdown_refuses_other_documents(change: dict[str, Any], message: str) -> None:
    study = {key: value for key, value in _study(**change).items() if value is not None}
    with pytest.raises(DataError, match=message):
        markdown(study)


def test_a_page_alone_says_what_was_run_on_what_and_where() -> None:
    rows = [row | {"train_images": 6000} for row in (_row("no_teacher", 3, 0.89), _row("pkt", 4, 0.90))]
    teacher = {"name": "resnet18", "metrics": {}, "command": "edgepress train", "input": [1, 28, 28]}
    machine = {"cpu": "Some CPU", "cores_usable": 2, "torch": "2.14.1", "edgepress": "0.1.0"}
    split = {"fraction": 0.1, "seed": 3, "fingerprints": ["a"], "equal": True}
    study = _study(rows=rows, summary=cells(rows, "no_teacher"), teacher=teacher, machine=machine, splits=[split])
    text = markdown({**study, "training": {"batch_size": 64, "threads": 1}, "steps": {"auxiliary": 120.0}})
    data = (
        "- Data: fashion-mnist; images of 28x28 pixels, 1 channel; 6,000 training images (10 %); the same images for "
    )
    assert f"{data}every method.\n" in text
    assert "- Training: batch size 64, threads 1.\n- Seeds: 3, 4.\n" in text
    assert "- Machine: Some CPU, 2 cores, edgepress 0.1.0, torch 2.14.1." in text
    assert "one seed, which says nothing of the spread" in text
    assert "±" not in text
    odd = markdown({**study, "splits": [split, {**split, "seed": 4, "equal": False}]})
    assert "NOT the same images for every method: 10 %, seed 4" in odd


def test_the_cost_of_an_auxiliary_is_told_beside_that_of_the_runs() -> None:
    rows = [_row("pkt", 0, 0.9)]
    rows[0]["records"].append(Record("cpu_s", 1234.0).to_dict())
    text = markdown(_study(rows=rows, summary=cells(rows, "pkt"), paper=[], steps={"a": 100.0, "b": 20.4}))
    assert "| 1,234 |" in text
    assert "those of the auxiliaries, 120 in all, are not among them" in text


def test_the_published_study_can_be_shown() -> None:
    text = markdown(read_study(RESULTS / "fashion-mnist.json"))
    assert "| indistill | classification | cnn-s | 70 | 2 | 91.15 ±0.23 | 90.57 | +1.43 [+0.16, +2.70] |" in text


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


def test_command_makes_the_page_that_is_missing(tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "docs" / "digits.md"
    results.write_text(json.dumps(_study()), encoding="utf-8")
    page.parent.mkdir()
    for _ in range(2):
        done = _command(results, page)
        assert done.returncode == 0, done.stderr
        text = page.read_text(encoding="utf-8")
        assert text == f"# resnet18 teaches on fashion-mnist\n\n{BEGIN}\n{markdown(_study())}\n{END}\n"


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
