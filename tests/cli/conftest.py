"""The commands as a person runs them: here through typer's runner, in test_cli_interrupt.py also as processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from cli.main import app

ROOT = Path(__file__).parents[2]

TRIO = {
    "teacher": "train cnn-a --data digits --size 24 --fraction 0.2 --epochs 4 --lr 3e-3 --batch-size 32 "
    "-o teacher.safetensors",
    "student": "distill teacher.safetensors --data digits --fraction 0.2 --epochs 6 --lr 3e-3 --batch-size 32 "
    "--student cnn-s --width 4 --depth 2 --method indistill --set a=0 --set b=1 --auxiliary-epochs 2 "
    "-o student.safetensors",
    "exported": "export student.safetensors -o student.onnx",
}


@dataclass(frozen=True)
class Trio:
    """A folder with teacher.safetensors, student.safetensors (its auxiliary beside it) and student.onnx.

    Attributes:
        folder: Only to be read.
        commands: What was typed, without `edgepress`: "teacher", "student", "exported".
        results: What each of them said.
    """

    folder: Path
    commands: Mapping[str, str]
    results: Mapping[str, Result]


def run_here(line: str, folder: Path) -> Result:
    """The result of one command, typed without `edgepress`, in a folder."""
    words = shlex.split(line)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edgepress", *words])
        return CliRunner().invoke(app, words, env={"COLUMNS": "200", "EDGEPRESS_DEBUG": ""})


def file_digests(folder: Path) -> dict[str, str]:
    """Every file below a folder, and the digest of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="session")
def edgepress() -> Callable[[str, Path], Result]:
    """`run_here`, once it is sure that no exception got past the command."""

    def run(line: str, folder: Path) -> Result:
        result = run_here(line, folder)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def succeeds(edgepress: Callable[[str, Path], Result]) -> Callable[[str, Path], Result]:
    """The result of a command that must end with exit code 0."""

    def run(line: str, folder: Path) -> Result:
        result = edgepress(line, folder)
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture(scope="session")
def refused(edgepress: Callable[[str, Path], Result]) -> Callable[..., str]:
    """The message of a command that must fail with an exit code, say certain things and leave every file as it is."""

    def run(line: str, folder: Path, *mentions: str, code: int = 2) -> str:
        before = file_digests(folder)
        result = edgepress(line, folder)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        message = result.stderr.strip()
        assert message.splitlines()[-1].lower().startswith("error: ")
        assert "Traceback" not in message
        for mention in mentions:
            assert mention in message
        assert file_digests(folder) == before
        return message

    return run


@pytest.fixture(scope="session")
def trio(succeeds: Callable[[str, Path], Result], tmp_path_factory: pytest.TempPathFactory) -> Trio:
    """The main job on few and small digits, made by the commands themselves."""
    folder = tmp_path_factory.mktemp("trio")
    return Trio(folder, TRIO, {name: succeeds(line, folder) for name, line in TRIO.items()})


@pytest.fixture
def workshop(trio: Trio, tmp_path: Path) -> Path:
    """A folder of its own with copies of the trio, to work in."""
    for path in trio.folder.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command as a process of its own, with as many threads as this one; killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(
        line: str, folder: Path, *, stdout: int = subprocess.PIPE, limit: Callable[[], None] = lambda: None
    ) -> subprocess.Popen[str]:
        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell may have started pytest deaf to Ctrl-C
            limit()

        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "cli.main", *shlex.split(line)],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())},
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=prepare,
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()
