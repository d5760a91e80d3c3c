"""Many files in the terminal: their names, what they share, and what is said of several of them at once."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from rich.console import Console
from test_benchmark_compare import QUICK, _checkpoint

from benchmarks.bench import compare
from benchmarks.claims import check
from benchmarks.document import record
from benchmarks.pages import tables, terminal
from benchmarks.pages.names import called, said_once, told_of
from compress.data import DataOptions, load
from exports import noise, ship

FOLDER = "a/folder/that/has/a/long/name"
FILES = [f"{FOLDER}/my-student-{kind}.onnx" for kind in ("plain", "w8", "static", "fp16")]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A student in four files against a teacher, with what was claimed of them."""
    folder = tmp_path_factory.mktemp("several")
    classes = load("digits", DataOptions()).classes
    for name, network in (("teacher", "cnn-a"), ("student", "cnn-s")):
        made = _checkpoint(network, classes)
        ship(made, folder / f"{name}.onnx", [noise(made.card)])
    files = [folder / "teacher.onnx", *[folder / "student.onnx"] * 4]
    found = compare(files, baseline=0, data="digits", protocol=QUICK).document
    for path, file in zip(["runs/teacher.onnx", *FILES], found["files"], strict=True):
        file["name"] = path
    return found


def _shown(document: dict[str, Any], width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal.render(document, console))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 120, 250])
def test_names_are_whole_and_what_they_share_is_said_once(document: dict[str, Any], width: int) -> None:
    text = _shown(document, width)
    assert max(map(len, text.splitlines())) <= width
    assert " ".join(text.split()).startswith(f"4 files, {FOLDER}/my-student-*, held against teacher.onnx")
    assert text.count(FOLDER) == text.count("my-student-") == 1
    names = ["teacher.onnx", "plain.onnx", "w8.onnx", "static.onnx", "fp16.onnx"]
    rows = re.findall(r"^ (\S+\.onnx) ", text, re.MULTILINE)
    assert rows == names * (len(rows) // len(names))
    words = " ".join(text.split())
    for part in ("median ms", "p95 ms", "size", "top-1 %", "calib.", "lost", "points", "decided", "smaller"):
        assert part in words
    assert re.search(r"(all|fp16\.onnx): (no class lost more|hurts) ", words)
    assert len(text.splitlines()) < (40 if width == 250 else 80)


def test_two_files_are_called_as_several_are(document: dict[str, Any]) -> None:
    one, other = document["files"][:2]
    names = ("runs/x/student.onnx", "runs/y/student.onnx")
    files = [{**file, "name": name} for file, name in zip((one, other), names, strict=True)]
    pair = {**document, "files": files, "warnings": [f"{names[1]}: is old"]}
    pair["claims"] = [claim.to_dict() for claim in check(pair, {"max-size": 1e9})]
    text = " ".join(_shown(pair, 80).split())
    assert "x/student.onnx" in text
    assert "warning: y/student.onnx: is old" in text
    assert "runs/" not in text
    assert terminal.claim_lines(pair)[0].startswith("met        y/student.onnx: size ")


def test_what_all_files_have_is_no_column(document: dict[str, Any]) -> None:
    assert "params" in _shown(document, 200)
    alike = copy.deepcopy(document)
    for file in alike["files"]:
        record(file, "parameters").update(value=12_345)  # type: ignore[union-attr]
    text = _shown(alike, 200)
    assert "all files: 12.3 k params" in text
    assert text.count("12.3 k") == 1


def test_a_latency_that_is_not_judged_has_its_reason_below(document: dict[str, Any]) -> None:
    said = copy.deepcopy(document)
    said["files"][1]["verdict"] = {"kind": "unsure", "words": "unsure: the clocks differ; measure longer"}
    for file in said["files"][2:4]:
        file["verdict"] = {"kind": "noisy", "words": "too noisy to judge: less than 40 % would not be seen; end it"}
    said["files"][4]["verdict"] = {"kind": "same", "words": "no detectable difference; would have seen 2 %"}
    text = _shown(said, 200)
    assert "latency of plain.onnx: unsure: the clocks differ\n" in text
    assert "latency of static.onnx: too noisy to judge: less than 40 % would not be seen\n" in text
    assert text.count("what to do about it: end it") == text.count("what to do about it: measure longer") == 1
    assert re.search(r"^ fp16\.onnx .* no difference; would see 2 % ", text, re.MULTILINE)


def test_broken_claims_have_a_line_each_and_met_ones_one(document: dict[str, Any]) -> None:
    claims = {"max-size": record(document["files"][1], "size")["value"], "min-speedup": 1e6}  # type: ignore[index]
    slower = {"kind": "slower", "words": "slower"}  # on a busy machine it may be too noisy to judge
    judged = [{**one, "verdict": one["verdict"] and slower} for one in document["files"]]
    found = {**document, "claims": [one.to_dict() for one in check({**document, "files": judged}, claims)]}
    *broken, met = terminal.claim_lines(found)
    assert [one.split(":")[0].split() for one in broken] == [
        ["broken", f"{name}.onnx"] for name in ("plain", "w8", "static", "fp16")
    ]
    assert all(f", asked: at least {1e6:,.0f} x" in one for one in broken)
    assert met.endswith(f"--max-size {claims['max-size']:,}: plain.onnx, w8.onnx, static.onnx, fp16.onnx")


def test_a_file_without_a_measurement_has_one_line_for_all_its_claims(document: dict[str, Any]) -> None:
    one, *rest = document["files"][1:]
    lost = {"name": one["name"], "records": [], "hurt": None, "verdict": None, "reason": "is damaged"}
    left = {**document, "files": [document["files"][0], lost, *rest]}
    found = {**left, "claims": [one.to_dict() for one in check(left, {"max-size": 1e9, "max-params": 1e9})]}
    shown, *met = terminal.claim_lines(found)
    assert shown.split(maxsplit=2) == ["not", "shown", "plain.onnx: 2 claims, for it could not be measured"]
    assert [one.split(": ")[1] for one in met] == ["w8.onnx, static.onnx, fp16.onnx"] * 2


@pytest.mark.parametrize(
    ("paths", "baseline", "names", "shared"),
    [
        (FILES[:2], None, ["my-student-plain.onnx", "my-student-w8.onnx"], f"{FOLDER}/*"),
        (["a-very-1.onnx", "a-very-2.onnx", "3.onnx"], None, ["a-very-1.onnx", "a-very-2.onnx", "3.onnx"], ""),
        (["runs/x/a.onnx", "runs/y/a.onnx"], 0, ["x/a.onnx", "y/a.onnx"], "runs/y/*"),
        (["x/a.onnx", "y/a.onnx", "y/b.onnx"], 0, ["x/a.onnx", "y/a.onnx", "b.onnx"], "y/*"),
        (["digits-a.onnx", "digits-b.onnx", "digits-c.onnx"], 0, ["a.onnx", "b.onnx", "c.onnx"], "digits-*"),
        (["digits-a.onnx", "digits-b.onnx", "a.onnx"], 2, ["digits-a.onnx", "digits-b.onnx", "a.onnx"], ""),
        (["d/a.onnx", "d/a.onnx", "d/b.onnx"], 0, ["d/a.onnx", "d/a.onnx", "b.onnx"], "d/*"),
    ],
)
def test_files_are_called_by_what_tells_them_apart(
    paths: list[str], baseline: int | None, names: list[str], shared: str
) -> None:
    found = called(paths, baseline)
    assert (list(found.names), found.shared) == (names, shared)


def test_a_sentence_is_said_once_for_all_that_it_is_about() -> None:
    said = [("a", "is slow"), ("b", ""), ("c", "is slow"), ("d", "is large")]
    assert [*said_once(said, 4)] == ["a, c: is slow", "d: is large"]
    assert [*said_once([("a", "is slow"), ("b", "is slow")], 2)] == ["all: is slow"]
    warnings = ["runs/a.onnx: says nothing", "the load was high", "runs/a.onnx2: says nothing"]
    names = {"runs/a.onnx": "a", "runs/a.onnx2": "b", "c": "c"}
    assert [*told_of(warnings, names)] == ["the load was high", "a, b: says nothing"]


def test_a_table_that_is_too_wide_goes_on_in_another() -> None:
    name, parts = ("file", "a.onnx"), [[("one", "1" * 10), ("two", "2" * 10)], [("three", "3" * 10)]]

    def heads(width: int) -> list[list[str]]:
        console = Console(width=width, color_system=None)
        with console.capture() as capture:
            console.print(*tables.drawn(name, parts, console), sep="\n")
        return [line.split() for line in capture.get().splitlines() if "file" in line or "one" in line]

    assert heads(60) == [["file", "one", "two", "three"]]
    assert heads(34) == [["file", "one", "two"], ["file", "three"]]
    assert heads(24) == [["file", "one"], ["file", "two"], ["file", "three"]]
    assert heads(19) == [["one", "1111111111"]], "lines, where not even one column fits"
