"""Results that cannot be written: found before the work begins where it can be, and never at the cost of an older file.

The epochs and rounds are so many that a command which began its work before it looked at its target would not end.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[[str, Path], Result]
Refused = Callable[..., str]
FullDisk = Callable[[int], AbstractContextManager[None]]

TRAIN = "train cnn-s --data digits --size 24 --epochs 100000"
DISTIL = "distill teacher.safetensors --data digits --epochs 100000"
PRUNE = "prune --no-timing teacher.safetensors --data digits --ratio 0.5 --recover okd --epochs 100000"
BENCHMARK = "benchmark student.onnx --against teacher.safetensors --rounds 100000"
WRITERS = [
    pytest.param(f"{TRAIN} -o {{}}.safetensors", id="train"),
    pytest.param(f"{DISTIL} -o {{}}.safetensors", id="distill"),
    pytest.param(f"{PRUNE} -o {{}}.safetensors", id="prune"),
    pytest.param("export student.safetensors -o {}.onnx", id="export"),
    pytest.param(f"{BENCHMARK} -o {{}}.json", id="benchmark"),
]


@pytest.mark.parametrize("line", WRITERS)
def test_a_target_in_a_folder_that_is_missing_or_a_file(workshop: Path, refused: Refused, line: str) -> None:
    refused(line.format("gone/new"), workshop, "gone/new.", "folder gone does not exist", "make it first")
    refused(line.format("student.onnx/new"), workshop, "student.onnx/new.", "student.onnx is a file, not a folder")


@pytest.mark.parametrize("line", WRITERS)
def test_a_target_that_exists(workshop: Path, refused: Refused, line: str) -> None:
    for suffix in ("safetensors", "onnx", "json"):
        (workshop / f"old.{suffix}").write_text("precious")
    refused(line.format("old"), workshop, "old.", "already exists", "--force")


@pytest.mark.parametrize("line", WRITERS)
def test_a_target_that_is_a_folder(workshop: Path, refused: Refused, line: str) -> None:
    for suffix in ("safetensors", "onnx", "json"):
        (workshop / f"new.{suffix}").mkdir()
    refused(f"{line.format('new')} --force", workshop, "new.", "is a folder", "name of a file")


@pytest.mark.parametrize("line", WRITERS)
def test_a_target_that_is_a_link(workshop: Path, refused: Refused, line: str) -> None:
    for suffix in ("safetensors", "onnx", "json"):
        (workshop / f"link.{suffix}").symlink_to(f"gone.{suffix}")
    refused(line.format("link"), workshop, "link.", f"is a link to {workshop}/gone.", "--force")
    assert not list(workshop.glob("gone.*"))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"{DISTIL} -o teacher.safetensors", "teacher.safetensors"),
        (f"{DISTIL} --student student.safetensors -o student.safetensors", "student.safetensors"),
        (f"{DISTIL} --auxiliary student.auxiliary.safetensors -o student.auxiliary.safetensors", "student.auxiliary"),
        (f"{PRUNE} -o ./teacher.safetensors", "teacher.safetensors"),
        (f"{PRUNE} -o link.safetensors", "link.safetensors"),
        ("export hard.onnx -o student.onnx", "student.onnx"),
        (f"{BENCHMARK} -o link.json", "link.json"),
        (f"{BENCHMARK} -o hard.json", "hard.json"),
    ],
)
def test_a_target_that_is_an_input(workshop: Path, refused: Refused, line: str, name: str) -> None:
    (workshop / "link.safetensors").symlink_to("teacher.safetensors")
    (workshop / "link.json").symlink_to("teacher.safetensors")
    for hard in ("hard.onnx", "hard.json"):
        (workshop / hard).hardlink_to(workshop / "student.onnx")
    for force in ("", " --force"):
        refused(f"{line}{force}", workshop, f"the output {name}", "and the input", "are the same file")


def test_an_auxiliary_never_replaces_the_teacher(workshop: Path, refused: Refused) -> None:
    (workshop / "new.auxiliary.safetensors").write_bytes((workshop / "teacher.safetensors").read_bytes())
    line = DISTIL.replace("teacher.safetensors", "new.auxiliary.safetensors")
    same = "new.auxiliary.safetensors and the input new.auxiliary.safetensors are the same file"
    refused(f"{line} -o new.safetensors --force", workshop, same)


def test_a_target_without_a_name(workshop: Path, refused: Refused) -> None:
    for line in (TRAIN, DISTIL, PRUNE):
        refused(f"{line} -o ''", workshop, "an empty name", "give the name of a file to write")
    refused(f"{BENCHMARK} -o ''", workshop, "an empty name", "give the name of a file to write")


@pytest.mark.parametrize("line", WRITERS)
def test_a_folder_that_cannot_be_written(workshop: Path, refused: Refused, line: str) -> None:
    if os.geteuid() == 0:  # no permission stops root, but not even root makes files in /proc
        refused(line.format("/proc/new"), workshop, "/proc/new.", "cannot write into /proc")
        return
    locked = workshop / "locked"
    locked.mkdir(mode=0o555)
    refused(line.format("locked/new"), workshop, "locked/new.", "cannot write into locked", "Permission denied")


@pytest.mark.parametrize("line", WRITERS)
def test_a_target_whose_name_is_too_long(workshop: Path, refused: Refused, line: str) -> None:
    name = "n" * 300
    refused(line.format(name), workshop, name, "name too long")


@pytest.mark.parametrize("name", ["net", "net.pt", "net-0.5"])
def test_a_checkpoint_must_be_called_so(workshop: Path, refused: Refused, name: str) -> None:
    for line in (TRAIN, DISTIL, PRUNE):
        refused(f"{line} -o {name}", workshop, f"{name}: a checkpoint is a .safetensors file")


@pytest.mark.parametrize("name", ["bench", "bench.md", "bench.csv", "student.onnx"])
def test_a_benchmark_must_be_called_so(workshop: Path, refused: Refused, name: str) -> None:
    for force in ("", " --force"):
        refused(f"{BENCHMARK} -o {name}{force}", workshop, f"{name}: a benchmark is written as .json; give a name that")


def test_a_benchmark_is_no_page(workshop: Path, refused: Refused) -> None:
    refused(f"{BENCHMARK} -o bench.html", workshop, "bench.html: a benchmark is written as .json (the page of it is")
    refused(f"{BENCHMARK} -o bench.html", workshop, "drawn by `edgepress report`")


@pytest.mark.parametrize(
    "line",
    [
        "compare teacher.safetensors --data digits --methods pkt --epochs 100000",
        "predict photo.png -m student.onnx",
        "card student.onnx",
    ],
)
@pytest.mark.parametrize("name", ["study.html", "study.md", "study.json", ""])
def test_a_folder_is_not_called_like_a_file(workshop: Path, refused: Refused, line: str, name: str) -> None:
    refused(f"{line} -o '{name}'", workshop, "'--output'", f"got {name!r}; give the name of a folder")


def test_an_auxiliary_is_not_overwritten(workshop: Path, refused: Refused) -> None:
    for name in ("student.safetensors", "student.metrics.jsonl"):
        (workshop / name).unlink()
    line = f"{DISTIL} -o student.safetensors"
    refused(line, workshop, "student.auxiliary.safetensors already exists", "--force")


def test_force_replaces_the_target(workshop: Path, succeeds: Run) -> None:
    before = {path: path.read_bytes() for path in workshop.iterdir()}
    lines = {
        "teacher.safetensors": "train cnn-s --data digits --size 24 --fraction 0.05 --epochs 1 -o",
        "student.onnx": "export student.auxiliary.safetensors -o",
        "bench.json": "benchmark student.onnx --rounds 10 --sessions 2 -o",
    }
    (workshop / "bench.json").write_text("old")
    for target, line in lines.items():
        succeeds(f"{line} {target} --force", workshop)
        assert (workshop / target).read_bytes() != before.get(workshop / target, b"old")


# ---- a disk that is full


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("train cnn-s --data digits --fraction 0.1 --epochs 2 -o new.safetensors", "new.resume.pt"),
        ("train cnn-s --data digits --fraction 0.1 --epochs 2 -o teacher.safetensors --force", "teacher.resume.pt"),
        ("prune --no-timing teacher.safetensors --data digits --ratio 0.5 -o new.safetensors", "new.safetensors"),
        (
            "prune --no-timing teacher.safetensors --data digits --ratio 0.5 -o student.safetensors --force",
            "student.safetensors",
        ),
        ("export teacher.safetensors -o student.onnx --force", "student.onnx"),
    ],
)
def test_a_full_disk_leaves_everything_as_it_was(
    workshop: Path, refused: Refused, full_disk: FullDisk, line: str, target: str
) -> None:
    with full_disk(10_000):
        refused(line, workshop, f"{target}: not written", "File too large")


def test_a_full_disk_leaves_no_half_of_a_report(workshop: Path, edgepress: Run, full_disk: FullDisk) -> None:
    before = sorted(workshop.iterdir())
    with full_disk(500):
        result = edgepress("benchmark student.onnx --rounds 10 --sessions 2 -o new.json", workshop)
    assert result.exit_code == 2
    assert "student.onnx" in result.stdout, "what was measured is shown all the same"
    assert result.stderr.splitlines()[-1].startswith("error: new.samples.npz: not written: File too large")
    assert sorted(workshop.iterdir()) == before


# ---- as the shell sees it


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        pytest.param(
            "train cnn-s --data digits --fraction 0.1 --epochs 2 -o new.safetensors",
            2,
            "new.resume.pt: not written",
            id="full disk",
        ),
        pytest.param(
            "train cnn-s --data digits --lr 1e30 --batch-size 32 -o new.safetensors",
            3,
            "phase 'task', epoch 1",
            id="diverged",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_shell_sees_exit_code_and_message(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]], line: str, code: int, message: str
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    run = process(line, tmp_path, limit=limit)
    out, err = run.communicate(timeout=600)
    assert (run.returncode, out) == (code, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
