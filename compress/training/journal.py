"""The state of a run and its metrics on disk, so that a run that was ended goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.errors import CheckpointError, OutputError
from compress.files import append, check_free, check_target, sweep, write_whole
from compress.phase import Phase
from compress.processes import is_main
from compress.training.differences import differences

MAGIC = b"edgepress-run"
FORMAT = 3
SUFFIX = ".safetensors"
ANEW = "begin anew with --force"

_HEADER_BYTES = 128
_ZIP = b"PK"  # how a state of format 1 began


@dataclass
class State:
    """Everything an epoch leaves to the next one.

    Attributes:
        plan: What is being run: each fact that decides the result, by name.
        done: Epochs behind it, over all phases.
        model: The student's state dict.
        optimizer: The optimizer's state dict, or None between phases.
        losses: The state dict of each loss of the phase that owns parameters, by term.
        best: Score and state dict of the best epoch of the phase, where one is kept.
        history: One record an epoch.
        average: The steps behind the average of the weights and its tensors by name, within a phase that keeps one.
    """

    plan: Mapping[str, str]
    done: int = 0
    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] | None = None
    losses: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    best: tuple[float, dict[str, Tensor]] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    average: tuple[int, dict[str, Tensor]] | None = None


@dataclass(frozen=True)
class Journal:
    """Where a run keeps its state, beside what it will write.

    The state is one line, `edgepress-run 3 <sha256 of the rest>`, and what `torch.save` makes of a `State`.

    Attributes:
        output: The file that the run makes.
        resume: Go on with the run that was interrupted there, or be content with what it finished.
        force: Begin anew where an interrupted run lies.
        inputs: The files that the run reads; it never writes over one of them.
    """

    output: Path
    resume: bool = False
    force: bool = False
    inputs: tuple[Path, ...] = ()

    @property
    def state_path(self) -> Path:
        """The state of the interrupted run."""
        return self.output.parent / f"{self.output.stem}.resume.pt"

    @property
    def metrics_path(self) -> Path:
        """One JSON record an epoch."""
        return self.output.parent / f"{self.output.stem}.metrics.jsonl"

    @property
    def interrupted(self) -> bool:
        """Whether there is an interrupted run to go on with."""
        return self.resume and self.state_path.exists()

    @property
    def finished(self) -> bool:
        """Whether a run to go on with has left its output and nothing to do; whose it is, its lineage says."""
        return self.resume and self.output.exists() and not self.state_path.exists()

    def check(self) -> None:
        """Nothing, once the run may begin or go on.

        Raises:
            OutputError: The output is not named as a checkpoint, may not be written or is one of the inputs, another
                process is on the way to it, or an interrupted run lies there and neither `resume` nor `force` was
                given.
        """
        begun = os.path.lexists(self.state_path)
        for path in (self.output, self.metrics_path):
            known = (begun or self.finished) and not path.is_symlink()
            check_target(path, force=self.force or known, inputs=self.inputs)
        if self.output.suffix != SUFFIX:
            raise OutputError(f"{self.output}: a checkpoint is a {SUFFIX} file; give it a name that ends so")
        check_free(self.output)
        if self.state_path.is_symlink():
            raise OutputError(f"{self.state_path} is a link; a run keeps its state in a file of its own: remove it")
        if begun and not (self.resume or self.force):
            raise OutputError(
                f"{self.state_path}: an interrupted run lies here; pass --resume to go on with it, or --force to "
                "begin anew"
            )

    def begin(self, plan: Mapping[str, str], phases: Sequence[Phase]) -> State:
        """The state to start from: that of the interrupted run with `resume`, else an empty one.

        The metrics of an interrupted run are written again, as its state knows them.

        Args:
            plan: What is to be run: each fact that decides the result, by name.
            phases: What is to be run, for the limits of what a state may hold.

        Raises:
            CheckpointError: The interrupted run had another plan (the message says what differs), or is damaged.
            OutputError: See `check`.
        """
        self.check()
        if is_main():
            for path in (self.output, self.state_path, self.metrics_path):
                sweep(path)
        if not self.interrupted:
            return State(plan)
        state = read_state(self.state_path)
        differs = differences(state.plan, plan)
        if differs:
            raise CheckpointError(
                f"{self.state_path}: the interrupted run differs in {', '.join(differs)}; repeat its command to resume "
                f"it, or {ANEW}"
            )
        with self.restoring():
            _check_progress(state, phases)
        if is_main():
            self.write_metrics(state)
        return state

    def write(self, state: State) -> None:
        """Keep the state."""
        content = io.BytesIO()  # a full disk is an OSError for Python, but not for torch's own writer
        torch.save({**vars(state), "plan": dict(state.plan)}, content)
        payload = content.getbuffer()
        write_whole(self.state_path, lambda path: _write_bytes(path, _header(payload), payload), force=True)

    def note(self, state: State) -> None:
        """Keep the metrics of the latest epoch, behind those of the others."""
        if len(state.history) == 1:
            self.write_metrics(state)
        else:
            append(self.metrics_path, _line(state.history[-1]))

    def write_metrics(self, state: State) -> None:
        """Keep the metrics of every epoch so far, and no others."""
        lines = b"".join(map(_line, state.history))
        write_whole(self.metrics_path, lambda path: _write_bytes(path, lines), force=True)

    def finish(self) -> None:
        """Forget the state; to be called once the output is written."""
        self.state_path.unlink(missing_ok=True)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Inside the `with`, a state is put to use; what does not fit is a CheckpointError that names its file."""
        try:
            yield
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{self.state_path}: does not fit this run ({reason}); {ANEW}") from error


def read_state(path: Path) -> State:
    """The state in a file that `Journal.write` wrote; its digest is compared before anything in it is unpickled.

    Raises:
        CheckpointError: The file cannot be read, is damaged, or was written by another version.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    head, _, _ = bytes(content[:_HEADER_BYTES]).partition(b"\n")
    payload = content[len(head) + 1 :]
    magic, _, rest = head.partition(b" ")
    if head.startswith(_ZIP) or (magic == MAGIC and rest.split(b" ")[0] != str(FORMAT).encode()):
        raise CheckpointError(f"{path}: was written by another version; {ANEW}")
    if head + b"\n" != _header(payload):
        raise CheckpointError(f"{path}: is damaged: its content is not that of its digest; {ANEW}")
    try:
        return _state_of(torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises whatever the unpickler met
        raise CheckpointError(f"{path}: is damaged ({type(error).__name__}: {error}); {ANEW}") from error


def _header(payload: memoryview) -> bytes:
    return b"%s %d %s\n" % (MAGIC, FORMAT, hashlib.sha256(payload).hexdigest().encode())


def _state_of(content: object) -> State:
    """The state that was saved as a mapping of its fields; ValueError for a missing, unknown or wrong one."""
    names = {one.name for one in fields(State)}
    if not isinstance(content, dict) or content.keys() != names:
        raise ValueError(f"a state has exactly {', '.join(sorted(names))}")
    state = State(**content)
    right = {
        "plan": _maps(state.plan, str),
        "done": type(state.done) is int,
        "model": _maps(state.model, Tensor),
        "optimizer": state.optimizer is None or _maps(state.optimizer, dict | list),
        "losses": _maps(state.losses, dict) and all(_maps(loss, Tensor) for loss in state.losses.values()),
        "best": state.best is None or _is_counted(state.best, float),
        "average": state.average is None or _is_counted(state.average, int),
        "history": isinstance(state.history, list) and all(_maps(record, object) for record in state.history),
    }
    wrong = [name for name, is_right in right.items() if not is_right]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: of a wrong type")
    return state


def _maps(value: object, kind: Any) -> bool:
    """Whether it is a mapping of names to something."""
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, kind) for k, v in value.items())


def _is_counted(value: object, kind: type) -> bool:
    """Whether it is a number of that very type and tensors by name."""
    return isinstance(value, tuple) and len(value) == 2 and type(value[0]) is kind and _maps(value[1], Tensor)


def _check_progress(state: State, phases: Sequence[Phase]) -> None:
    """Nothing, once the state is one of a run of these phases; ValueError otherwise."""
    ends = list(accumulate(phase.fit.epochs for phase in phases))
    if not 0 < state.done <= (ends[-1] if ends else 0):
        raise ValueError(f"{state.done} epochs are behind it, of {ends[-1] if ends else 0}")
    if len(state.history) != state.done:
        raise ValueError(f"it has {len(state.history)} records of {state.done} epochs")
    within = state.done not in ends
    phase = phases[sum(end <= state.done for end in ends) if within else -1]
    learned = {term.name for term in phase.terms if term.learns} if within else set()
    if (state.optimizer is not None) != within or state.losses.keys() != learned:
        raise ValueError(f"an optimizer and losses belong to it {'within' if within else 'between'} phases")
    if (state.average is not None) != (within and phase.fit.ema > 0):
        raise ValueError("an average of the weights belongs to it within a phase that keeps one, and only there")
    if (state.best is not None) != (within and phase.fit.keep != "last"):
        raise ValueError("the best epoch belongs to it within a phase that keeps the best, and only there")


def _line(record: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(record)}\n".encode()


def _write_bytes(path: Path, *parts: bytes | memoryview) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
