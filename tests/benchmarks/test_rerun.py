"""`verify --rerun`: the files of a benchmark measured again, through the commands, on real small files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch
from test_benchmark_compare import _checkpoint, _foreign
from typer.testing import CliRunner, Result

from benchmarks import claims
from benchmarks.derive import derive
from benchmarks.document import digest, record, save
from benchmarks.measure.latency import Latency
from benchmarks.raw import Raw
from benchmarks.rerun import check_there
from benchmarks.samples import beside, pack, read_samples
from cli.main import app
from compress.checkpoint import save as save_checkpoint
from compress.data import DataOptions, load
from compress.errors import DataError, GateError
from exports import noise, ship

QUICK = ("--rounds", 10, "--sessions", 4)
STUDENT = 1
Document = dict[str, Any]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bench.json of teacher.safetensors and student.onnx, with its samples and report.html."""
    folder = tmp_path_factory.mktemp("rerun")
    digits = load("digits", DataOptions()).classes
    student = _checkpoint("cnn-s", digits)
    save_checkpoint(_checkpoint("cnn-a", digits), folder / "teacher.safetensors")
    ship(student, folder / "student.onnx", [noise(student.card)])
    claims = ("--max-size", "1MB", "--max-drop", "100", "--min-speedup", "0.001", "--max-latency", "1us")
    files = [folder / name for name in ("teacher.safetensors", "student.onnx")]
    assert _run("benchmark", *files, "--data", "digits", *QUICK, *claims, "-o", folder / "bench.json").exit_code == 3
    assert _run("report", folder / "bench.json", "-o", folder / "report.html").exit_code == 0
    return folder


@pytest.fixture(scope="module")
def steady(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, of a machine so noisy that what it runs beside these tests makes no drift."""
    copy = Path(shutil.copytree(folder, tmp_path_factory.mktemp("steady") / "there"))
    _resampled(copy, partial(_spread, by=0.2))
    _rewritten(copy, _busy)
    (copy / "report.html").unlink()
    assert _run("report", copy / "bench.json", "-o", copy / "report.html").exit_code == 0
    return copy


@pytest.fixture
def moved(steady: Path, tmp_path: Path) -> Path:
    """A copy of it in another place, where the names in the document lead to other files."""
    return Path(shutil.copytree(steady, tmp_path / "moved"))


@pytest.fixture
def quiet(folder: Path, tmp_path: Path) -> Path:
    """A copy of the benchmark as it was measured."""
    return Path(shutil.copytree(folder, tmp_path / "quiet"))


def _found(done: Result) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for one in json.loads(done.stdout)["findings"]:
        kinds.setdefault(one["found"], []).append(one["sentence"])
    return kinds


def _rewritten(folder: Path, change: Callable[[Document], None], samples: bytes | None = None) -> Path:
    """bench.json with another document and other samples in it, and all digests as they should be."""
    path = folder / "bench.json"
    document, kept = beside(path)
    content = kept if samples is None else samples
    document["samples"]["sha256"] = sha256(content).hexdigest()
    change(document)
    document["digest"] = digest(document)
    (folder / document["samples"]["file"]).write_bytes(content)
    return save(document, path, force=True)


def _resampled(folder: Path, change: Callable[[Raw], Raw]) -> Path:
    """bench.json with other raw samples of the student, and everything that follows from them."""
    document, content = beside(folder / "bench.json")
    raws = read_samples(content, "samples")
    raws[STUDENT] = change(raws[STUDENT])
    raws = read_samples(pack(raws), "samples")
    derived = derive(raws[STUDENT], raws[0], document["data"]["classes"])

    def rewrite(whole: Document) -> None:
        file = whole["files"][STUDENT]
        names = {one.quantity for one in derived.records}
        costs = [one for one in file["records"] if one["quantity"] not in names]
        file["records"] = [*costs, *({**one.to_dict(), "sha256": file["sha256"]} for one in derived.records)]
        file["hurt"], file["verdict"] = derived.hurt, derived.verdict and derived.verdict.to_dict()
        bounds = {one["claim"]: one["bound"] for one in whole["claims"]}
        whole["claims"] = [one.to_dict() for one in claims.check(whole, bounds)]

    return _rewritten(folder, rewrite, pack(raws))


@pytest.mark.parametrize("name", ["report.html", "bench.json"])
def test_files_are_found_beside_and_measured_again(moved: Path, name: str) -> None:
    done = _run("verify", moved / name, "--rerun", "--json")
    assert done.exit_code == 0, done.output
    found = _found(done)
    measured = "\n".join(found["re-measured"])
    for said in (
        "measured again on the same machine",
        "teacher.safetensors: digest, parameters, macs, size, values: as they were",
        "student.onnx: accuracy: the same",
        "student.onnx: drop by class: the same",
        "claim: met: ",
    ):
        assert said in measured
    assert "student.onnx: speedup " in "\n".join([measured, *found["not covered"]])
    judged = [
        one for kind in ("re-measured", "not covered") for one in found.get(kind, []) if one.startswith("claim: ")
    ]
    assert len(judged) == 4
    assert not any("needs the file" in one for one in found.get("not covered", []))
    assert any(one.startswith("claim: broken: ") for one in found["re-derived"])


def test_a_file_that_is_missing_or_altered_is_refused(moved: Path) -> None:
    student = moved / "student.onnx"
    altered = bytearray(student.read_bytes())
    altered[len(altered) // 2] ^= 1
    student.write_bytes(altered)
    there = json.loads((moved / "bench.json").read_text("utf-8"))["files"][STUDENT]["name"]

    def elsewhere(document: Document) -> None:
        for one in document["claims"]:
            one["file"], one["sentence"] = "dist/student.onnx", one["sentence"].replace(there, "dist/student.onnx")
        for one, name in zip(document["files"], ("teacher.safetensors", "student.onnx"), strict=True):
            one["name"] = f"dist/{name}"

    path = _rewritten(moved, elsewhere)
    done = _run("verify", path, "--rerun")
    assert done.exit_code == 3
    assert "student.onnx: is not the file that was measured: its sha256 is" in " ".join(done.output.split())
    teacher, right = moved / "teacher.safetensors", (moved / "teacher.safetensors").read_bytes()
    for missing, other in ((student, teacher), (teacher, student)):  # 3, whichever of both stands first
        missing.unlink()
        other.write_bytes(b"another one")
        done = _run("verify", path, "--rerun")
        assert done.exit_code == 3
        said = " ".join(done.output.split())
        assert f"{other.name}: is not the file that was measured" in said
        assert f"{missing.name}: is neither in" in said
        assert "put it beside the benchmark" in said
        missing.write_bytes(right)
    student.unlink()
    teacher.unlink()
    done = _run("verify", path, "--rerun")
    assert done.exit_code == 2
    assert done.output.count("put it beside the benchmark") == 2


def test_the_files_of_all_benchmarks_of_a_page_are_looked_for_before_one_is_measured(moved: Path) -> None:
    measured, _ = beside(moved / "bench.json")
    names = [Path(file["name"]).name for file in measured["files"]]
    first, second = (
        {**measured, "files": [{**file, "name": f"{folder}{name}"} for file, name in zip(files, names, strict=True)]}
        for files, folder in ((measured["files"], "gone/"), (measured["files"], "other-"))
    )
    check_there([first], moved)
    with pytest.raises(DataError, match="is neither in") as missing:
        check_there([second, first], moved)
    assert str(missing.value).count("is neither in") == 2
    (moved / "student.onnx").write_bytes((moved / "teacher.safetensors").read_bytes())
    with pytest.raises(GateError, match="is neither in") as other:
        check_there([second, first, first], moved)
    counts = [str(other.value).count(said) for said in ("is neither in", "is not the file")]
    assert counts == [2, 1], "each once"


def _faster(raw: Raw) -> Raw:
    return replace(raw, latency=Latency(raw.latency.wall_ms / 64, raw.latency.cpu_ms / 64))


def _spread(raw: Raw, *, by: float) -> Raw:
    """Every other session takes more, and the others less, by the logarithm of so much."""
    times = np.exp(by * np.resize([-1, 1], len(raw.latency.wall_ms)))
    return replace(
        raw, latency=Latency(raw.latency.wall_ms * times[:, None, None], raw.latency.cpu_ms * times[:, None])
    )


def _busy(document: Document) -> None:
    document["machine"]["load_average"] = [9.0, 9.0, 9.0]


def _always_right(raw: Raw) -> Raw:
    assert raw.decided is not None
    return replace(raw, said=replace(raw.decided, decisions=raw.decided.labels))


def _boasting(raw: Raw) -> Raw:
    assert raw.decided is not None
    return replace(raw, said=replace(raw.decided, confidences=np.full_like(raw.decided.confidences, 65_535)))


@pytest.mark.parametrize(
    ("change", "cpu", "mentions"),
    [
        (_faster, "", "student.onnx: speedup "),
        (_always_right, "another processor", "student.onnx: accuracy: drifted: top1 1 -> "),
        (_boasting, "", "student.onnx: calibration: drifted: calibration_error "),
        pytest.param(_faster, "another processor", "student.onnx: speedup ", marks=pytest.mark.slow),
        pytest.param(_always_right, "", "student.onnx: accuracy: drifted: top1 1 -> ", marks=pytest.mark.slow),
        pytest.param(
            _boasting,
            "another processor",
            "student.onnx: calibration: drifted: calibration_error ",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_samples_that_are_not_those_of_the_file_have_drifted(
    moved: Path, change: Callable[[Raw], Raw], cpu: str, mentions: str
) -> None:
    path = _resampled(moved, change)
    if cpu:
        path = _rewritten(moved, lambda document: document["machine"].update(cpu=cpu))
    assert _run("verify", path).exit_code == 0
    done = _run("verify", path, "--rerun", "--json")
    assert done.exit_code == 3
    assert any(mentions in one for one in _found(done)["FAILED"])
    assert "drifted from what it says" in done.stderr


def test_milliseconds_are_compared_where_neither_run_was_disturbed(quiet: Path) -> None:
    def rested(document: Document) -> None:
        document["machine"]["load_average"] = [0.0, 0.0, 0.0]

    _resampled(quiet, _faster)
    found = _found(_run("verify", _rewritten(quiet, rested), "--rerun", "--json"))
    times = [
        one for kind in ("FAILED", "not covered") for one in found.get(kind, []) if "student.onnx: latency " in one
    ]
    said = [one for one in times if not one.startswith("claim: ")]
    assert len(said) == 1
    assert said[0].endswith((": drifted", ": one of the two runs began on a busy machine"))


def test_an_interval_that_nearly_every_file_is_in_counts_for_nothing(quiet: Path) -> None:
    done = _run("verify", _resampled(quiet, partial(_spread, by=1.0)), "--rerun", "--json")
    said = [one for one in _found(done)["not covered"] if "student.onnx: speedup " in one]
    assert len(said) == 1
    assert said[0].endswith(": too wide an interval to hold anything against")


def test_batches_and_starts_are_measured_again_and_long_runs_are_not(folder: Path, tmp_path: Path) -> None:
    student = Path(shutil.copy(folder / "student.onnx", tmp_path))
    more = ("--batch", "1,4", "--cold", "--with-preprocessing", "--minutes", 0.02)
    bench = tmp_path / "bench.json"
    done = _run("benchmark", student, "--data", "digits", *QUICK, *more, "-o", bench)
    assert done.exit_code == 0, done.output
    found = _found(_run("verify", bench, "--rerun", "--json"))
    again = "\n".join(one for kind in found for one in found[kind] if kind != "re-derived")
    for quantity in ("latency", "latency_with_preprocessing", "latency batch 4", "cold_start", "peak_memory"):
        assert f"student.onnx: {quantity} " in again
    assert "student.onnx: its long run: not done again" in again


def test_counts_that_no_sample_covers_have_drifted(moved: Path) -> None:
    def smaller(document: Document) -> None:
        found = record(document["files"][STUDENT], "size")
        assert found is not None
        found["value"] = 1  # type: ignore[index]
        for one in document["claims"]:
            if one["claim"] == "max-size":
                one["sentence"] = f"{document['files'][STUDENT]['name']}: size 1 bytes, asked: at most 1,000,000 bytes"

    path = _rewritten(moved, smaller)
    assert _run("verify", path).exit_code == 0
    done = _run("verify", path, "--rerun", "--json")
    assert done.exit_code == 3
    assert ["size 1 -> " in one for one in _found(done)["FAILED"]] == [True]


def test_a_claim_that_was_met_and_is_broken_has_drifted(moved: Path) -> None:
    def smaller(document: Document) -> None:
        found = record(document["files"][STUDENT], "size")
        assert found is not None
        found["value"] = 1  # type: ignore[index]
        (claim,) = (one for one in document["claims"] if one["claim"] == "max-size")
        name = document["files"][STUDENT]["name"]
        claim.update(bound=10.0, held="met", sentence=f"{name}: size 1 bytes, asked: at most 10 bytes")

    done = _run("verify", _rewritten(moved, smaller), "--rerun", "--json")
    assert any("claim: broken: " in one and "(was met)" in one for one in _found(done)["FAILED"])


def test_another_machine_is_held_to_the_intervals_and_to_no_milliseconds(moved: Path) -> None:
    path = _rewritten(moved, lambda document: document["machine"].update(cpu="another processor"))
    done = _run("verify", path, "--rerun", "--json")
    assert done.exit_code == 0, done.output
    found = _found(done)
    assert any("on another machine" in one and "was another processor" in one for one in found["re-measured"])
    assert any("numbers, within their intervals" in one for one in found["re-measured"])
    uncovered = "\n".join(found["not covered"])
    assert "student.onnx: latency " in uncovered
    assert "claim: broken: " in uncovered
    assert "was measured on another processor" in uncovered


def test_other_data_are_refused_and_the_folder_of_theirs_is_taken(moved: Path) -> None:
    def other(document: Document) -> None:
        document["data"]["fingerprint"] = "0" * 16

    done = _run("verify", _rewritten(moved, other), "--rerun")
    assert done.exit_code == 2
    assert "data set 'digits': has not the images that were measured on" in " ".join(done.output.split())
    done = _run("verify", moved / "report.html", "--rerun", "--data", "digits")
    assert done.exit_code == 0, done.output


def test_what_rerun_is_not_for(moved: Path) -> None:
    done = _run("verify", moved / "student.onnx", "--against", moved / "teacher.safetensors", "--rerun")
    assert done.exit_code == 2
    assert "--rerun: " in done.output
    done = _run("verify", moved / "report.html", "--data", "digits")
    assert done.exit_code == 2
    assert "or measure again: --rerun" in " ".join(done.output.split())


def test_files_that_say_nothing_of_themselves_are_asked_as_they_were(tmp_path: Path) -> None:
    _foreign(tmp_path / "other.onnx", ["n", 1, 8, 8])
    torch.save(_checkpoint("cnn-s", tuple("0123456789")).network.model.state_dict(), tmp_path / "plain.pt")
    bench, plain = (tmp_path / name / "bench.json" for name in ("other", "plain"))
    for path in (bench, plain):
        path.parent.mkdir()
    done = _run(
        "benchmark", tmp_path / "other.onnx", "--data", "digits", "--mean", 0.4, "--std", 0.2, *QUICK, "-o", bench
    )
    assert done.exit_code == 0, done.output
    assert json.loads(bench.read_text("utf-8"))["seen"]["mean"] == [0.4]
    done = _run("verify", _rewritten(bench.parent, _busy), "--rerun")
    assert done.exit_code == 0, done.output
    size = ("--size", "32", "--arch", "cnn-s")
    done = _run("benchmark", tmp_path / "plain.pt", *size, "--data", "digits", *QUICK, "-o", plain)
    assert done.exit_code == 0, done.output
    again = _run("verify", _rewritten(plain.parent, _busy), "--rerun", "--json")
    assert again.exit_code == 0, again.output
    assert any("plain.pt: accuracy: the same" in one for one in _found(again)["re-measured"])
    without = tmp_path / "without.json"
    assert _run("benchmark", tmp_path / "other.onnx", *QUICK, "-o", without).exit_code == 0
    done = _run("verify", without, "--rerun", "--data", "digits")
    assert done.exit_code == 2
    assert "was measured without any" in " ".join(done.output.split())


def test_a_network_that_is_code_is_run_where_its_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef build(classes, channels=1):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(8, classes))\n"
    )
    torch.save(run_path(str(tmp_path / "net.py"))["build"](10).state_dict(), tmp_path / "plain.pt")
    asked = ("--arch", f"{tmp_path / 'net.py'}:build", "--size", "32", "--data", "digits", *QUICK)
    done = _run("benchmark", tmp_path / "plain.pt", *asked, "-o", tmp_path / "bench.json")
    assert done.exit_code == 0, done.output
    _rewritten(tmp_path, _busy)
    done = _run("verify", tmp_path / "bench.json", "--rerun")
    assert done.exit_code == 2
    assert "only run when this command names it; add --code net.py" in " ".join(done.output.split())
    done = _run("verify", tmp_path / "bench.json", "--rerun", "--code", tmp_path / "net.py", "--json")
    assert done.exit_code == 0, done.output
    assert any("plain.pt: accuracy: the same" in one for one in _found(done)["re-measured"])
