"""Runs that are killed, interrupted or diverge: what is kept of them, and that --resume ends with the same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

from compress.checkpoint import load
from compress.evidence import weights_digest
from compress.training.journal import read_state

Run = Callable[[str, Path], Result]
Start = Callable[..., subprocess.Popen[str]]

DISTIL = (
    "distill teacher.safetensors --data digits --fraction 0.5 --val-fraction 0.2 --keep best --augment crop "
    "--schedule cosine --batch-size 32 --student cnn-s --width 4 --depth 2 --method indistill --set a=1 --set b=1 "
    "--epochs 8 --auxiliary-epochs 3 -o student.safetensors"
)
TRAIN = "train cnn-s --width 4 --data digits --size 24 --batch-size 32 --epochs 6 -o net.safetensors"
ONE_BATCH = "train cnn-s --data digits --size 24 --fraction 0.2 --batch-size 500 --epochs 3 -o net.safetensors"
REPLAY = (
    "distill teacher.safetensors --data digits --fraction 0.5 --augment flip --batch-size 32 --student cnn-s --width 4 "
    "--method attention --epochs 6 --views 2 --cache 8MB -o student.safetensors"
)
TIMES = ("images_per_s", "seconds_left", "cpu_s")
PATIENCE_S = 600


def records(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run, without those that depend on the clock."""
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def assert_same_run(folder: Path, other: Path, *names: str) -> None:
    for name in names:
        checkpoints = (load(one / f"{name}.safetensors").network.model.state_dict() for one in (folder, other))
        first, second = checkpoints
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
        first_bytes, second_bytes = ((one / f"{name}.safetensors").read_bytes() for one in (folder, other))
        assert first_bytes == second_bytes
        assert records(folder / f"{name}.metrics.jsonl") == records(other / f"{name}.metrics.jsonl")
        assert not (folder / f"{name}.resume.pt").exists()


def wait_for(run: subprocess.Popen[str], moment: int | Path) -> None:
    """Come back when the run has printed the lines of so many epochs, or when the file is there."""
    if isinstance(moment, int):
        assert run.stdout is not None
        while moment:
            line = run.stdout.readline()
            assert line
            moment -= "images/s" in line
        return
    deadline = time.monotonic() + PATIENCE_S
    while not moment.exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)


def kill(run: subprocess.Popen[str]) -> None:
    run.kill()
    assert run.wait(PATIENCE_S) == -signal.SIGKILL, "it was over before it could be killed"


@pytest.fixture(scope="module")
def uninterrupted(trio: Any, succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of DISTIL and TRAIN as they end when nothing comes between."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    shutil.copy(trio.folder / "teacher.safetensors", folder)
    lines = [line for line in succeeds(DISTIL, folder).stdout.splitlines() if "images/s" in line]
    assert [line.split()[0] for line in lines[6:14]] == ["map1"] * 2 + ["map2"] * 3 + ["embedding"] * 3
    succeeds(TRAIN, folder)
    return folder


@pytest.fixture
def folder(uninterrupted: Path, tmp_path: Path) -> Path:
    """A folder with the teacher, to run DISTIL in."""
    shutil.copy(uninterrupted / "teacher.safetensors", tmp_path)
    return tmp_path


def test_a_killed_run_ends_with_the_same_bytes(
    folder: Path, uninterrupted: Path, process: Start, succeeds: Run
) -> None:
    run = process(DISTIL, folder)
    wait_for(run, 9)
    kill(run)
    assert not (folder / "student.safetensors").exists()
    lines = succeeds(f"{DISTIL} --resume", folder).stdout.splitlines()
    assert_same_run(folder, uninterrupted, "student.auxiliary", "student")
    epochs = [line for line in lines if "images/s" in line]
    assert len(epochs) <= 14 - 8, "the phase that ended with epoch 8 is kept, however short its epochs are"


def test_a_killed_run_that_keeps_features_in_files_ends_with_the_same_bytes(
    folder: Path, process: Start, succeeds: Run
) -> None:
    whole = REPLAY.replace("-o student", "-o whole")
    succeeds(whole, folder)
    run = process(REPLAY, folder)
    wait_for(run, 3)
    kill(run)
    succeeds(f"{REPLAY} --resume", folder)
    first, second = (load(folder / f"{name}.safetensors").network.model.state_dict() for name in ("student", "whole"))
    assert all(torch.equal(first[key], second[key]) for key in first | second)
    kept = records(folder / "student.metrics.jsonl")
    assert {line["features"] for line in kept} == {"teacher cached"}
    assert [line["losses"] for line in kept] == [line["losses"] for line in records(folder / "whole.metrics.jsonl")]
    assert not list(folder.glob(".*"))


def test_a_killed_run_is_known_whatever_the_order_of_its_options(
    folder: Path, uninterrupted: Path, process: Start, succeeds: Run
) -> None:
    run = process(DISTIL, folder)
    wait_for(run, folder / "student.resume.pt")
    kill(run)
    words = DISTIL.split()
    turned = f"{' '.join(words[:2])} --keep best {' '.join(words[2:]).replace('--keep best ', '')} --resume"
    assert turned.count("--keep") == 1
    first = next(line for line in succeeds(turned, folder).stdout.splitlines() if "images/s" in line)
    assert first.split()[0] in ("map1", "map2", "map3", "embedding")
    for name in ("student.auxiliary", "student"):
        made, whole = (load(place / f"{name}.safetensors") for place in (folder, uninterrupted))
        assert weights_digest(made.network.model) == weights_digest(whole.network.model)
        assert records(folder / f"{name}.metrics.jsonl") == records(uninterrupted / f"{name}.metrics.jsonl")


def test_a_finished_run_is_told_and_left_as_it_is(folder: Path, uninterrupted: Path, succeeds: Run) -> None:
    for path in uninterrupted.iterdir():
        shutil.copy(path, folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for line, output in ((DISTIL, "student.safetensors"), (TRAIN, "net.safetensors")):
        said = succeeds(f"{line} --resume", folder).stdout.splitlines()
        assert said[-1] == f"already finished: {output}; there was nothing to resume"
        assert not any("images/s" in part for part in said)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_finished_run_of_another_plan_is_not_taken_for_ones_own(
    folder: Path, uninterrupted: Path, refused: Callable[..., str]
) -> None:
    for path in uninterrupted.glob("net.*"):
        shutil.copy(path, folder)
    refused(f"{TRAIN} --lr 0.5 --resume", folder, "net.safetensors already exists, finished by another run", TRAIN)


def test_a_second_run_is_refused_at_once(folder: Path, process: Start, edgepress: Run) -> None:
    run = process(DISTIL, folder)
    wait_for(run, folder / ".student.auxiliary.safetensors.lock")
    student, auxiliary = (f"{TRAIN.rpartition(' ')[0]} {name}.safetensors" for name in ("student", "student.auxiliary"))
    for line in (student, auxiliary, f"{auxiliary} --force", f"{student} --resume"):
        result = edgepress(line, folder)
        assert result.exit_code == 2, result.output
        assert f"another run is on the way to it (process {run.pid})" in result.stderr
        assert result.stdout == ""
    kill(run)


def full_pipe() -> tuple[int, int]:
    """Both ends of a pipe into which not a byte fits: who writes to it waits."""
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    for size in (65_536, 1):
        try:
            while True:
                os.write(ends[1], b"\n" * size)
        except BlockingIOError:
            continue
    os.set_blocking(ends[1], True)
    return ends


def test_killed_between_the_last_epoch_and_the_result(tmp_path: Path, process: Start, succeeds: Run) -> None:
    line = TRAIN.replace("--epochs 6", "--epochs 1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    succeeds(line, whole)
    ends = full_pipe()
    try:
        run = process(line, killed, stdout=ends[1])
        wait_for(run, killed / "net.metrics.jsonl")
        kill(run)
    finally:
        for end in ends:
            os.close(end)
    assert not (killed / "net.safetensors").exists()
    state = (killed / "net.resume.pt").read_bytes()
    assert "images/s" not in succeeds(f"{line} --resume", killed).stdout
    assert_same_run(killed, whole, "net")
    # The other side of that moment: the result is there, the state not yet gone.
    (killed / "net.resume.pt").write_bytes(state)
    succeeds(f"{line} --resume", killed)
    assert_same_run(killed, whole, "net")


def test_ctrl_c_says_how_to_go_on(folder: Path, uninterrupted: Path, process: Start, succeeds: Run) -> None:
    run = process(TRAIN, folder)
    wait_for(run, 2)
    run.send_signal(signal.SIGINT)
    _, message = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 130
    assert message.startswith("error: interrupted on the way to net.safetensors")
    assert "repeat the command with --resume" in message
    assert len(message.splitlines()) == 1
    assert sorted(path.name for path in folder.glob("*net*")) == ["net.metrics.jsonl", "net.resume.pt"]
    succeeds(f"{TRAIN} --resume", folder)
    assert_same_run(folder, uninterrupted, "net")


def test_an_interrupted_run_is_neither_lost_nor_taken_for_another(
    folder: Path, uninterrupted: Path, process: Start, succeeds: Run, refused: Callable[..., str]
) -> None:
    run = process(DISTIL, folder)
    wait_for(run, 1)
    kill(run)
    for path in folder.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    state = "student.auxiliary.resume.pt"
    refused(DISTIL, folder, state, "interrupted run", "--resume", "--force")
    refused(
        f"{DISTIL} --resume --lr 0.01",
        folder,
        state,
        "differs in plan (phase ",
        "lr=0.00",
        "now ",
        "lr=0.01",
        "--force",
    )
    refused(f"{DISTIL} --resume --seed 5", folder, state, "differs in", "initial student", "seed (0, now 5)")
    succeeds(f"{DISTIL} --force", folder)
    assert_same_run(folder, uninterrupted, "student.auxiliary", "student")


def test_an_auxiliary_of_another_teacher_is_not_taken_up(
    folder: Path, uninterrupted: Path, succeeds: Run, refused: Callable[..., str]
) -> None:
    shutil.copy(uninterrupted / "student.auxiliary.safetensors", folder)
    succeeds("train cnn-a --data digits --size 24 --fraction 0.1 --epochs 1 -o teacher.safetensors --force", folder)
    refused(f"{DISTIL} --resume", folder, "student.auxiliary.safetensors already exists", "--force")


def test_a_damaged_state_is_told(folder: Path, succeeds: Run, edgepress: Run, refused: Callable[..., str]) -> None:
    assert edgepress(f"{ONE_BATCH} --lr 1e30", folder).exit_code == 3
    state = folder / "net.resume.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 0x40
    state.write_bytes(content)
    message = refused(f"{ONE_BATCH} --lr 1e30 --resume", folder, "net.resume.pt", "damaged", "--force")
    assert len(message.splitlines()) == 1
    succeeds(f"{ONE_BATCH} --force", folder)


def test_a_loss_that_is_not_finite_ends_the_run(folder: Path, refused: Callable[..., str]) -> None:
    line = "train cnn-s --data digits --size 24 --fraction 0.2 --batch-size 32 --lr 1e30"
    refused(f"{line} -o net.safetensors", folder, "phase 'task'", "epoch 1", "not finite", "learning rate", code=3)
    refused(f"{line} -o teacher.safetensors --force", folder, "phase 'task'", code=3)


def test_a_run_that_diverges_later_keeps_its_last_good_epoch(folder: Path, edgepress: Run) -> None:
    result = edgepress(f"{ONE_BATCH} --lr 1e30", folder)
    assert result.exit_code == 3
    assert re.match(
        r"error: phase 'task', epoch 2: .* is not finite .*; the epoch before is kept in net.resume.pt; .*--force$",
        result.stderr,
    )
    state = read_state(folder / "net.resume.pt")
    assert state.done == 1
    assert all(torch.isfinite(value).all() for value in state.model.values())
    assert [record["epoch"] for record in records(folder / "net.metrics.jsonl")] == [1]
    assert not (folder / "net.safetensors").exists()
