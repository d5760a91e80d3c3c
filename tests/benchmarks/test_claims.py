"""Claims of files: met, broken, or not shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_benchmark_compare import _checkpoint, _run

from benchmarks.claims import check, check_possible, lines, read_claims
from compress.checkpoint import save
from compress.data import DataOptions, load
from compress.errors import DataError
from compress.evidence import Record
from exports import noise, ship


def _document(*records: Record, **more: Any) -> dict[str, Any]:
    file = {"name": "a.onnx", "metric": "top1", "records": [one.to_dict() for one in records], "reason": "", **more}
    return {"baseline": 1, "files": [file, {"name": "teacher.onnx", "metric": "top1", "records": [], "reason": ""}]}


@pytest.mark.parametrize(
    ("record", "claim", "bound", "held"),
    [
        (Record("size", 28_000), "max-size", 28_000, "met"),
        (Record("size", 28_001), "max-size", 28_000, "broken"),
        (Record("latency", 0.4, 0.3, 0.49, n=8), "max-latency", 0.49, "met"),
        (Record("latency", 0.4, 0.3, 0.5, n=8), "max-latency", 0.49, "not shown"),
        (Record("latency", 0.6, 0.5, 0.7, n=8), "max-latency", 0.49, "broken"),
        (Record("speedup", 15.5, 14.89, 16.0, n=8), "min-speedup", 14.89, "met"),
        (Record("speedup", 15.5, 14.8, 16.0, n=8), "min-speedup", 14.89, "not shown"),
        (Record("speedup", 14.0, 13.0, 14.8, n=8), "min-speedup", 14.89, "broken"),
        (Record("drop", 0.2, -0.5, 0.9, n=450), "max-drop", 1.0, "met"),
        (Record("drop", 0.2, None, None, n=450), "max-drop", 1.0, "not shown"),
        (Record("top1", 0.91, 0.905, 0.915, n=450), "min-accuracy", 90.0, "met"),
        (Record("top1", 0.91, 0.895, 0.915, n=450), "min-accuracy", 90.0, "not shown"),
        (Record("size", 1), "max-macs", 5.0, "not shown"),
    ],
)
def test_a_claim_is_met_only_by_its_whole_interval(record: Record, claim: str, bound: float, held: str) -> None:
    (verdict,) = check(_document(record), {claim: bound})
    assert verdict.held == held
    (line,) = lines([verdict])
    assert line.startswith(f"{held} ")
    assert "a.onnx: " in line


def test_a_speed_up_has_to_be_seen_by_both_clocks() -> None:
    wall, cpu = Record("speedup", 25.0, 23.0, 27.0, n=8), Record("speedup_cpu", 12.0, 11.0, 13.0, n=8)
    assert [one.held for one in check(_document(wall, cpu), {"min-speedup": 14.89})] == ["not shown"]
    assert [one.held for one in check(_document(wall, cpu), {"min-speedup": 11.0})] == ["met"]


def test_what_was_not_measured_is_not_shown() -> None:
    (verdict,) = check(_document(reason="is damaged"), {"max-size": 5.0})
    assert (verdict.held, verdict.sentence) == ("not shown", "a.onnx: size was not measured, asked: at most 5 bytes")


def test_claims_that_nothing_can_show() -> None:
    check_possible(["max-size", "min-speedup", "max-drop"], paired=True, scored=True)
    with pytest.raises(DataError, match="min-speedup: is about a file and what it is held against"):
        check_possible(["min-speedup"], paired=False, scored=True)
    with pytest.raises(DataError, match="min-accuracy: is about what is right; say on which images: --data"):
        check_possible(["min-accuracy"], paired=True, scored=False)


def test_a_file_of_claims_takes_what_the_options_take(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(
        """
        max_size = "28KB"
        max-params = "1.5M"
        max-macs = 2.5e6
        max_latency = "490us"
        min-speedup = "14.89"
        max-drop = -0.5
        min_accuracy = 90
        """,
        encoding="utf-8",
    )
    assert read_claims(path) == {
        "max-size": 28_000,
        "max-params": 1_500_000,
        "max-macs": 2_500_000,
        "max-latency": pytest.approx(0.49),
        "min-speedup": 14.89,
        "max-drop": -0.5,
        "min-accuracy": 90,
    }
    path.write_text("max-latency = 0.49", encoding="utf-8")
    assert read_claims(path) == {"max-latency": 0.49}


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("max-sice = 5", "unknown claim 'max-sice'. Did you mean 'max-size'"),
        ("max-size = 'small'", "max-size = 'small'; give a size above 0 such as 500KB, 2MB or 1.5MiB (in quotes where"),
        ("max-size = 28KB", "is not TOML: Expected newline or end of document after a statement (at line 1"),
        ("max-size = 28KB", 'write lines such as max-size = "28KB"'),
        ("max-size = true", "max-size = True; give a size above 0 such as"),
        ("max-size = -5", "max-size = -5; give a size above 0 such as"),
        ("max-size = [1, 2]", "max-size = [1, 2]; give a size above 0 such as"),
        ("max-size", "is not TOML"),
        ("max-size = nan", "max-size = NaN; give a size above 0 such as"),
        ("max-params = '5x'", "max-params = '5x'; give a number above 0 such as 50k or 1.5M (in quotes"),
        (
            "max-latency = '0.49'",
            "max-latency = '0.49'; give a number above 0 and its unit, such as 1ms or 500us (in quotes",
        ),
        ("max-latency = 0", "max-latency = 0; give a number above 0 and its unit, such as 1ms or 500us"),
        ("min-accuracy = '90%'", "min-accuracy = '90%'; give a number at least 0 and at most 100"),
        ("min-accuracy = 101.5", "min-accuracy = 101.5; give a number at least 0 and at most 100"),
        ("max-size = 1\nmax_size = 2", "max-size is there with - and with _; leave one of the two out"),
        ("# max-size = 28000", "holds no claim"),
    ],
)
def test_a_file_that_has_no_claims(tmp_path: Path, text: str, mentions: str) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"claims\.toml") as error:
        read_claims(path)
    assert mentions in str(error.value)
    with pytest.raises(DataError, match="does not exist"):
        read_claims(tmp_path / "none.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/ with two files, and teacher.safetensors."""
    folder = tmp_path_factory.mktemp("claims")
    digits = load("digits", DataOptions()).classes
    student = _checkpoint("cnn-s", digits)
    save(_checkpoint("cnn-a", digits), folder / "teacher.safetensors")
    (folder / "dist").mkdir()
    for suffix in ("onnx", "tflite"):
        ship(student, folder / "dist" / f"student.{suffix}", [noise(student.card)])
    return folder


def test_a_folder_against_a_teacher_with_claims(folder: Path, tmp_path: Path) -> None:
    claims = tmp_path / "claims.toml"
    claims.write_text("max_size = '10B'\nmax-params = '1G'\n", encoding="utf-8")
    target = tmp_path / "bench.json"
    quick = ("--data", "digits", "--rounds", 10, "--sessions", 2)
    done = _run(
        folder / "teacher.safetensors", folder / "dist", *quick, "--claims", claims, "--max-size", "1MB", "-o", target
    )
    assert done.exit_code == 0, done.output
    document = json.loads(target.read_text("utf-8"))
    assert [Path(file["name"]).name for file in document["files"]] == [
        "teacher.safetensors",
        "student.onnx",
        "student.tflite",
    ]
    assert [(one["claim"], one["bound"], one["held"]) for one in document["claims"]] == [
        ("max-size", 1e6, "met"),
        ("max-params", 1e9, "met"),
    ] * 2
    with np.load(tmp_path / "bench.samples.npz") as samples:
        assert samples["labels"].shape == samples["1/said/decisions"].shape == (450,)
        assert samples["0/wall_ns"].shape[:2] == (2, 10)
        right = float((samples["1/said/decisions"] == samples["labels"]).mean())
    top1 = next(one["value"] for one in document["files"][1]["records"] if one["quantity"] == "top1")
    assert right == pytest.approx(top1)


def test_a_broken_claim_ends_in_3_with_everything_said(folder: Path) -> None:
    quick = ("--rounds", 10, "--sessions", 2)
    done = _run(folder / "dist" / "student.onnx", "--max-size", 10, "--max-params", "1G", *quick)
    assert done.exit_code == 3
    said = " ".join(done.output.split())
    assert "broken student.onnx: size" in said
    assert "asked: at most 10 bytes" in said
    assert "met " in said
    assert "1 of 2 claims broken" in said
    assert _run(folder / "dist" / "student.onnx", "--max-drop", 1).exit_code == 2


def test_a_file_that_could_not_be_measured_has_one_line_for_all_its_claims(folder: Path, tmp_path: Path) -> None:
    broken, target = tmp_path / "broken.onnx", tmp_path / "bench.json"
    broken.write_bytes(b"no model")
    given = (folder / "dist" / "student.onnx", broken, "--rounds", 10, "--sessions", 2, "-o", target)
    done = _run(*given, "--max-size", "1MB", "--max-params", "1G")
    assert done.exit_code == 3
    said = " ".join(done.output.split())
    assert said.count("not shown ") == 1
    assert "not shown broken.onnx: 2 claims, for it could not be measured" in said
    assert "2 of 2 claims not shown; 1 of 2 files could not be measured" in said
    claims = json.loads(target.read_text("utf-8"))["claims"]
    assert [(one["claim"], one["held"]) for one in claims] == [("max-size", "not shown"), ("max-params", "not shown")]
