"""A benchmark held against an earlier one."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.document import SCHEMA, digest
from benchmarks.gate import apart, check, markdown
from cli.main import app
from compress.evidence import Record

TEACHER = {"name": "teacher.onnx", "sha256": "t", "metric": "top1", "records": [], "reason": ""}


def _document(*records: Record, cpu: str = "one", teacher: str = "t", data: str = "d", digest: str = "s") -> Any:
    file = {"name": "dist/a.onnx", "sha256": digest, "metric": "top1", "reason": "", "verdict": None}
    return {
        "schema": SCHEMA,
        "created": "2026-01-01T00:00:00+00:00",
        "machine": {"cpu": cpu, "edgepress": "0.1.0"},
        "data": {"fingerprint": data},
        "baseline": 1,
        "files": [{**file, "records": [one.to_dict() for one in records]}, {**TEACHER, "sha256": teacher}],
    }


def _top1(value: float, half: float) -> Record:
    return Record("top1", value, value - half, value + half, n=450, unit="share")


@pytest.mark.parametrize(
    ("limit", "bound", "old", "new", "held"),
    [
        ("max-size", 0.01, Record("size", 1000), Record("size", 1010), "met"),
        ("max-size", 0.01, Record("size", 1000), Record("size", 1011), "broken"),
        ("max-params", 0.0, Record("parameters", 1000), Record("parameters", 900), "met"),
        ("max-macs", 0.0, Record("size", 1000), Record("size", 900), "not shown"),
        ("max-drop", 0.3, _top1(0.91, 0.001), _top1(0.91, 0.001), "met"),
        ("max-drop", 0.3, _top1(0.91, 0.001), _top1(0.90, 0.001), "broken"),
        ("max-drop", 0.3, _top1(0.91, 0.01), _top1(0.91, 0.01), "not shown"),
        ("max-latency", 0.05, Record("speedup", 10.0, 9.9, 10.1), Record("speedup", 10.0, 9.9, 10.1), "met"),
        ("max-latency", 0.05, Record("speedup", 10.0, 9.9, 10.1), Record("speedup", 8.0, 7.9, 8.1), "broken"),
        ("max-latency", 0.05, Record("speedup", 10.0, 9.0, 11.0), Record("speedup", 10.0, 9.0, 11.0), "not shown"),
    ],
)
def test_a_limit_is_met_only_by_the_whole_interval(
    limit: str, bound: float, old: Record, new: Record, held: str
) -> None:
    (verdict,) = check(_document(new, digest="n"), _document(old), {limit: bound})
    assert (verdict.file, verdict.held) == ("a.onnx", held)


def test_the_same_file_has_lost_nothing() -> None:
    (verdict,) = check(_document(_top1(0.91, 0.01)), _document(_top1(0.91, 0.01)), {"max-drop": 0.0})
    assert verdict.held == "met"


def test_time_is_compared_over_one_baseline_or_on_one_processor() -> None:
    old, new = Record("latency", 1.0, 0.99, 1.01, unit="ms"), Record("latency", 0.9, 0.89, 0.91, unit="ms")
    here = check(_document(new, teacher="other"), _document(old), {"max-latency": 0.0})
    assert [one.held for one in here] == ["met"]
    assert "latency 1 -> 0.9 ms, takes -10.0 %" in here[0].sentence
    (there,) = check(_document(new, teacher="other", cpu="two"), _document(old), {"max-latency": 0.0})
    assert (there.held, "another processor" in there.sentence) == ("not shown", True)


def test_what_cannot_be_compared_is_not_shown() -> None:
    (other,) = check(_document(_top1(0.9, 0.01), data="e"), _document(_top1(0.9, 0.01)), {"max-drop": 1.0})
    assert (other.held, "not measured on the same data" in other.sentence) == ("not shown", True)
    empty = _document()
    empty["files"] = empty["files"][1:]
    (gone,) = check({**empty, "baseline": 0}, _document(), {"max-size": 0.0})
    assert (gone.held, "is not in the new benchmark" in gone.sentence) == ("not shown", True)


def test_files_of_one_name_in_two_folders_are_told_apart() -> None:
    old, new = _document(Record("size", 1000)), _document(Record("size", 1000))
    for document, size in ((old, 500), (new, 600)):
        twin = {**document["files"][0], "name": "small/a.onnx", "records": [Record("size", size).to_dict()]}
        document["files"].append(twin)
    first, second = check(new, old, {"max-size": 0.0})
    assert (first.file, first.held) == ("dist/a.onnx", "met")
    assert (second.file, second.held) == ("small/a.onnx", "broken")
    moved = {**new, "files": [{**file, "name": f"/elsewhere/{file['name']}"} for file in new["files"]]}
    assert [one.held for one in check(moved, old, {"max-size": 0.0})] == ["met", "broken"]


def test_a_file_that_could_not_be_measured_again_says_why() -> None:
    new = _document()
    new["files"][0]["reason"] = "is not an ONNX model"
    (gone,) = check(new, _document(Record("size", 1000)), {"max-size": 0.0})
    assert gone.held == "not shown"
    assert gone.sentence == "a.onnx: was not measured: is not an ONNX model, allowed: +0 %"
    assert check(_document(Record("size", 1000)), new, {"max-size": 0.0}) == []


def test_a_table_for_a_pull_request() -> None:
    new = _document(Record("size", 900))
    text = markdown(check(new, _document(Record("size", 1000)), {"max-size": 0.0}), new)
    assert "| ✅ met | a.onnx: size 1,000 -> 900 bytes (-10.00 %), allowed: +0 % |" in text
    assert text.startswith("**edgepress gate: 1 of 1 limits met**\n\n| verdict | limit |\n")
    assert "edgepress 0.1.0" in text


def test_files_that_are_new_or_gone_are_named(tmp_path: Path) -> None:
    old, new = _document(Record("size", 1000)), _document(Record("size", 1000))
    kept = old["files"][0]
    old["files"] += [{**kept, "name": "dist/gone.onnx"}, {**kept, "name": "dist/odd.onnx", "reason": "is damaged"}]
    new["files"] += [{**kept, "name": f"dist/{name}.onnx"} for name in ("new", "odd")]
    for name, document in (("new", new), ("main", old), ("alike", _document(Record("size", 1000)))):
        text = json.dumps({**document, "digest": digest(document)})
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    words = ("--baseline", tmp_path / "main.json", "--max-size", "+1%", "--max-macs", "0%")
    done = _gate(tmp_path / "new.json", *words, "--markdown", tmp_path / "summary.md")
    assert done.exit_code == 3, "what is gone cannot be shown to keep to a limit"
    lines = done.stdout.splitlines()
    assert [one for one in lines if one.startswith("new ")] == [
        "new        new.onnx: not compared, for it is not in the earlier benchmark",
        "new        odd.onnx: not compared, for it was not measured in the earlier benchmark",
    ]
    assert [one for one in lines if "gone.onnx" in one] == [
        "gone       gone.onnx: is not in the new benchmark, so no limit of it is shown"
    ]
    summary = (tmp_path / "summary.md").read_text("utf-8")
    assert "| ➕ new | new.onnx: not compared" in summary
    assert "| ➖ gone | gone.onnx: is not in the new benchmark" in summary
    told = json.loads(_gate(tmp_path / "new.json", *words, "--json").stdout)["apart"]
    assert [(one["file"], one["kind"]) for one in told] == [
        ("new.onnx", "new"),
        ("odd.onnx", "new"),
        ("gone.onnx", "gone"),
    ]
    turned = {**old, "baseline": 0}
    assert [one.sentence for one in apart(turned, old)][-1].startswith("a.onnx: is the baseline of the new benchmark")
    more = _gate(tmp_path / "new.json", "--baseline", tmp_path / "alike.json", "--max-size", "+1%")
    assert (more.exit_code, "new.onnx: not compared" in more.stdout) == (0, True)


def _gate(*words: object) -> Any:
    return CliRunner().invoke(app, ["gate", *map(str, words)])


def _sampled(path: Path, content: bytes) -> None:
    """The benchmark in a file, with raw samples beside it."""
    path.with_suffix(".npz").write_bytes(content)
    samples = {"file": f"{path.stem}.npz", "sha256": sha256(content).hexdigest()}
    document = {**json.loads(path.read_text("utf-8")), "samples": samples}
    path.write_text(json.dumps({**document, "digest": digest(document)}), encoding="utf-8")


def test_the_command(tmp_path: Path) -> None:
    new, old, summary = tmp_path / "new.json", tmp_path / "main.json", tmp_path / "summary.md"
    for path, size in ((new, 1011), (old, 1000)):
        document = _document(Record("size", size))
        path.write_text(json.dumps({**document, "digest": digest(document)}), encoding="utf-8")
    done = _gate(new, "--baseline", old, "--max-size", "+1%", "--markdown", summary)
    assert done.exit_code == 3
    assert done.stdout.startswith("broken     a.onnx: size 1,000 -> 1,011 bytes (+1.10 %), allowed: +1 %\n")
    assert "1 of 1 limit not met" in done.stderr
    assert "❌ broken" in summary.read_text("utf-8")
    assert _gate(new, "--baseline", old, "--max-size", "+2%").exit_code == 0
    _sampled(old, b"samples")
    assert _gate(new, "--baseline", old, "--max-size", "+2%").exit_code == 0
    (tmp_path / "main.npz").write_bytes(b"sampled")
    altered = _gate(new, "--baseline", old, "--max-size", "+2%")
    assert altered.exit_code == 3
    assert "main.npz: is not what `edgepress benchmark` wrote beside main.json" in altered.stderr
    (tmp_path / "main.npz").unlink()
    page = tmp_path / "report.html"
    page.write_text("<!doctype html>", encoding="utf-8")
    refused = {
        (new, "--baseline", old): "give at least one of --max-size",
        (new, "--baseline", old, "--max-size", "1"): "give a change in percent, such as +1% or 0%",
        (page, "--baseline", old, "--max-size", "1%"): "report.html is a page; give the .json that",
        (new, "--baseline", tmp_path / "none.json", "--max-size", "1%"): "is not a file",
        (new, "--baseline", old, "--max-size", "1%", "--markdown", summary): "--force",
        (
            new,
            "--baseline",
            old,
            "--max-size",
            "1%",
            "--markdown",
            "x.html",
        ): "x.html: --markdown writes Markdown; give",
    }
    for words, mentions in refused.items():
        done = _gate(*words)
        assert (done.exit_code, mentions in done.output) == (2, True), done.output
    new.write_text(new.read_text("utf-8").replace("1011", "1001"), encoding="utf-8")
    done = _gate(new, "--baseline", old, "--max-size", "+2%")
    assert (done.exit_code, "is not as `edgepress benchmark` wrote it" in done.output) == (3, True)
