"""The state of a run on disk after each epoch, so that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compress.errors import CheckpointError, OutputError
from compress.files import check_target, write_whole

FORMAT = 1
SUFFIX = ".safetensors"


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
    """

    plan: Mapping[str, str]
    done: int = 0
    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] | None = None
    losses: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    best: tuple[float, dict[str, Tensor]] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Journal:
    """Where a run keeps its state, beside what it will write.

    Attributes:
        output: The file that the run makes.
        resume: Go on with the run that was interrupted there.
        force: Begin anew where an interrupted run lies.
    """

    output: Path
    resume: bool = False
    force: bool = False

    @property
    def state_path(self) -> Path:
        """The state of the interrupted run."""
        return self.output.with_suffix(".resume.pt")

    @property
    def metrics_path(self) -> Path:
        """One JSON record an epoch."""
        return self.output.with_suffix(".metrics.jsonl")

    @property
    def interrupted(self) -> bool:
        """Whether there is an interrupted run to go on with."""
        return self.resume and self.state_path.exists()

    def check(self) -> None:
        """Nothing, once the run may begin or go on.

        Raises:
            OutputError: The output is not named as a checkpoint or may not be written, or an interrupted run lies there
                and neither `resume` nor `force` was given.
        """
        if self.interrupted:
            return
        if self.resume and self.output.exists() and not self.force:
            raise OutputError(
                f"{self.output} already exists, finished: there is nothing to resume; pass --force to make it anew"
            )
        for path in (self.output, self.metrics_path):
            check_target(path, force=self.force or self.state_path.exists())
        if self.output.suffix != SUFFIX:
            raise OutputError(f"{self.output}: a checkpoint is a {SUFFIX} file; give it a name that ends so")
        if self.state_path.exists() and not self.force:
            raise OutputError(
                f"{self.state_path}: an interrupted run lies here; pass --resume to go on with it, or --force to "
                "begin anew"
            )

    def begin(self, plan: Mapping[str, str]) -> State:
        """The state to start from: that of the interrupted run with `resume`, else an empty one.

        Raises:
            CheckpointError: The interrupted run had another plan (the message says what differs), or is damaged.
            OutputError: See `check`.
        """
        self.check()
        return self._read(plan) if self.interrupted else State(plan)

    def write(self, state: State) -> None:
        """Keep the state and the metrics of every epoch so far."""
        content = io.BytesIO()  # a full disk is an OSError for Python, but not for torch's own writer
        torch.save({"format": FORMAT, **vars(state), "plan": dict(state.plan)}, content)
        write_whole(self.state_path, lambda path: _write_bytes(path, content.getbuffer()), force=True)
        lines = "".join(json.dumps(record) + "\n" for record in state.history)
        write_whole(self.metrics_path, lambda path: _write_text(path, lines), force=True)

    def finish(self) -> None:
        """Forget the state; to be called once the output is written."""
        self.state_path.unlink(missing_ok=True)

    def _read(self, plan: Mapping[str, str]) -> State:
        try:
            content = torch.load(self.state_path, map_location="cpu", weights_only=True)
            if content.pop("format") != FORMAT:
                raise CheckpointError(f"{self.state_path}: was written by another version; begin anew with --force")
            state = State(**content)
            state.plan = dict(state.plan)
        except CheckpointError:
            raise
        except Exception as error:  # torch raises whatever the unpickler met in a damaged file
            raise CheckpointError(
                f"{self.state_path}: is damaged ({type(error).__name__}); begin anew with --force"
            ) from error
        differs = sorted(key for key in plan.keys() | state.plan.keys() if plan.get(key) != state.plan.get(key))
        if differs:
            raise CheckpointError(
                f"{self.state_path}: the interrupted run differs in {', '.join(differs)}; repeat its command to resume "
                "it, or begin anew with --force"
            )
        return state


def _write_bytes(path: Path, content: memoryview) -> None:
    path.write_bytes(content)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
