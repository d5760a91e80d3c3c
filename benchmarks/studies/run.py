"""The runs of a study as processes: some at a time, each as often as it takes, none twice at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.studies.grid import Trial, log_of, output_of
from compress.errors import OutputError
from compress.files import check_free
from compress.training.journal import Journal

POLL_S = 0.1
PATIENCE_S = 30.0  # of one that was asked to stop
SHOWN = 500  # characters of a reason

_ERROR = re.compile(r"^(?:error: |Error: )(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """How a command is started.

    Attributes:
        words: What stands before its own words.
        environment: What its process finds set, besides what this one does.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        trial: Which one.
        reason: Why it has no checkpoint; "" where it has one.
        seconds: How long its process ran; 0 where none was needed.
    """

    trial: Trial
    reason: str
    seconds: float


@dataclass(frozen=True)
class _Process:
    handle: subprocess.Popen[bytes]
    log: Path
    begun: int
    start: float


def is_finished(folder: Path, name: str) -> bool:
    """Whether a trial left its checkpoint and has nothing more to do."""
    return Journal(output_of(folder, name), resume=True).finished


def run_trials(trials: Sequence[Trial], folder: Path, program: Program, *, jobs: int) -> Generator[Outcome, None, None]:
    """How each trial ended, in the order of their ends; those that were finished before come first.

    One that fails leaves the others alone, but for those that need it. One that is at work already, in a process that a
    killed study left behind, is waited for. Closing the generator, or an exception in it, stops those at work.

    Args:
        trials: What others need comes before them.
        folder: Of the study; it has a folder of trials.
        program: How a command is started.
        jobs: How many at a time, at least 1.
    """
    done = {trial.name for trial in trials if is_finished(folder, trial.name)}
    yield from (Outcome(trial, "", 0.0) for trial in trials if trial.name in done)
    board = _Board(folder, program, jobs, [trial for trial in trials if trial.name not in done], done)
    try:
        while board.waiting or board.running:
            yield from board.ended()
            yield from board.began()
            time.sleep(POLL_S if board.running or board.waiting else 0)
    finally:
        _stop([process.handle for process in board.running.values()])


@dataclass
class _Board:
    """Where every trial stands."""

    folder: Path
    program: Program
    jobs: int
    waiting: list[Trial]
    done: set[str]
    running: dict[Trial, _Process] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def ended(self) -> Iterator[Outcome]:
        """Those whose process has ended."""
        for trial, process in list(self.running.items()):
            if process.handle.poll() is None:
                continue
            del self.running[trial]
            if is_finished(self.folder, trial.name) or _is_free(self.folder, trial):
                yield self._over(trial, process)
            else:
                self.waiting.insert(0, trial)  # it came upon one that was left behind, and which is waited for

    def began(self) -> Iterator[Outcome]:
        """Starts those for which there is room; yields those that cannot be started, or need not be."""
        for trial in list(self.waiting):
            lost = next((name for name in trial.needs if name in self.failed), None)
            if lost is not None:
                self.waiting.remove(trial)
                self.failed[trial.name] = f"it needs {lost}, which failed"
                yield Outcome(trial, self.failed[trial.name], 0.0)
            elif len(self.running) < self.jobs and self.done.issuperset(trial.needs) and _is_free(self.folder, trial):
                self.waiting.remove(trial)
                if is_finished(self.folder, trial.name):
                    yield self._over(trial, None)
                else:
                    self.running[trial] = _start(trial, self.folder, self.program)

    def _over(self, trial: Trial, process: _Process | None) -> Outcome:
        seconds = time.monotonic() - process.start if process else 0.0
        if is_finished(self.folder, trial.name):
            self.done.add(trial.name)
            return Outcome(trial, "", seconds)
        self.failed[trial.name] = _reason(process) if process else "it left nothing"
        return Outcome(trial, self.failed[trial.name], seconds)


def _is_free(folder: Path, trial: Trial) -> bool:
    try:
        check_free(output_of(folder, trial.name))
    except OutputError:
        return False
    return True


def _start(trial: Trial, folder: Path, program: Program) -> _Process:
    log = log_of(folder, trial.name)
    words = [*program.words, *trial.words, "-o", str(output_of(folder, trial.name)), "--resume"]
    with log.open("ab") as file:
        begun = file.tell()
        handle = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | program.environment,
            start_new_session=True,  # Ctrl-C comes from this process alone, once
        )
    return _Process(handle, log, begun, time.monotonic())


def _reason(process: _Process) -> str:
    """What the process said last of why it ended."""
    text = process.log.read_bytes()[process.begun :].decode("utf-8", "replace")
    said = _ERROR.findall(text) or [line for line in text.splitlines() if line.strip()] or ["it said nothing"]
    code = process.handle.returncode
    how = f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
    return f"{said[-1].strip()[:SHOWN]} ({how})"


def _stop(handles: Sequence[subprocess.Popen[bytes]]) -> None:
    """All of them have ended afterwards: they are asked to, and killed where they do not hear or Ctrl-C comes again."""
    try:
        for handle in handles:
            handle.send_signal(signal.SIGINT)
        until = time.monotonic() + PATIENCE_S
        for handle in handles:
            handle.wait(max(0.0, until - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        for handle in handles:
            handle.kill()
            handle.wait()
