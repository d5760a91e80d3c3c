"""The journal: the state of a run on disk, and when it may not be used."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.errors import CheckpointError, OutputError
from compress.evidence import weights_digest
from compress.losses import cross_entropy_loss
from compress.named import Named
from compress.opening import new_network
from compress.phase import LABELS, Fit, Lesson, Phase, S, Term
from compress.recipes import read_method
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, Task
from compress.training.engine import Run, run
from compress.training.journal import Journal, State, read_state

MakeFit = Callable[..., Fit]
PLAN = {"plan": "1", "seed": "2"}
OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999)}]}


def records(count: int) -> list[dict[str, Any]]:
    return [{"epoch": number + 1, "losses": {"ce": 2.0}} for number in range(count)]


def forge(path: Path, content: bytes) -> None:
    """Write a state as `Journal.write` does, digest and all."""
    path.write_bytes(b"edgepress-run 3 " + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def phases(make_fit: MakeFit) -> list[Phase]:
    """Two epochs, then three with a loss that learns, of which the best is kept."""
    terms = (Term(partial(nn.Linear, 2, 2), (S("logits"),), 1.0, "hint"),)
    plain = (Term(cross_entropy_loss, (S("logits"), LABELS), 1.0, "ce"),)
    return [Phase("first", plain, make_fit(2)), Phase("second", terms, make_fit(3, keep="best score"))]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "student.safetensors")


@pytest.fixture
def interrupted(journal: Journal) -> Journal:
    """A journal of a run that was stopped after its first epoch."""
    state = State(PLAN, 1, {"weight": torch.ones(3)}, OPTIMIZER, history=records(1))
    journal.note(state)
    journal.write(state)
    return journal


def test_its_files_lie_beside_the_output(journal: Journal, tmp_path: Path) -> None:
    for count in (1, 2):
        journal.note(State(PLAN, count, history=records(count)))
    journal.write(State(PLAN, 2, history=records(2)))
    assert {path.name for path in tmp_path.iterdir()} == {"student.resume.pt", "student.metrics.jsonl"}
    assert [json.loads(line) for line in journal.metrics_path.read_text().splitlines()] == records(2)
    journal.finish()
    assert {path.name for path in tmp_path.iterdir()} == {"student.metrics.jsonl"}
    journal.finish()


def test_what_was_written_is_what_is_resumed(journal: Journal, phases: list[Phase]) -> None:
    state = State(
        PLAN,
        3,
        {"weight": torch.randn(2, 3)},
        OPTIMIZER,
        {"hint": {"bias": torch.zeros(2)}},
        (0.25, {"weight": torch.randn(2, 3)}),
        records(3),
    )
    journal.write(state)
    read = replace(journal, resume=True).begin(PLAN, phases)
    assert torch.equal(read.model["weight"], state.model["weight"])
    assert read.best is not None
    assert state.best is not None
    assert torch.equal(read.best[1]["weight"], state.best[1]["weight"])
    assert read.best[0] == 0.25
    assert (read.plan, read.done, read.optimizer, read.history) == (PLAN, 3, state.optimizer, state.history)
    assert read.losses.keys() == {"hint"}


def test_metrics_are_whole_whenever_the_run_was_killed(interrupted: Journal, phases: list[Phase]) -> None:
    for left in (None, "", '{"epoch": 1, "lo', '{"epoch": 1}\n{"epoch": 2}\n'):
        interrupted.metrics_path.unlink()
        if left is not None:
            interrupted.metrics_path.write_text(left)
        replace(interrupted, resume=True).begin(PLAN, phases)
        assert [json.loads(line) for line in interrupted.metrics_path.read_text().splitlines()] == records(1)


def test_what_a_killed_run_left_half_written_goes(interrupted: Journal, phases: list[Phase], tmp_path: Path) -> None:
    for name in ("student.resume.pt", "student.metrics.jsonl", "student.safetensors"):
        (tmp_path / f".{name}-0123abcd.partial").mkdir()
    replace(interrupted, resume=True).begin(PLAN, phases)
    assert {path.name for path in tmp_path.iterdir()} == {"student.resume.pt", "student.metrics.jsonl"}


def test_an_interrupted_run_is_neither_lost_nor_used_by_mistake(interrupted: Journal, phases: list[Phase]) -> None:
    content = interrupted.state_path.read_bytes()
    for ask in (interrupted.check, lambda: interrupted.begin(PLAN, phases)):
        with pytest.raises(OutputError, match=r"student.resume.pt: an interrupted run.* --resume .*--force"):
            ask()
    assert interrupted.state_path.read_bytes() == content
    assert replace(interrupted, force=True).begin(PLAN, phases) == State(PLAN)
    assert replace(interrupted, resume=True).begin(PLAN, phases).done == 1
    assert replace(interrupted, resume=True, force=True).begin(PLAN, phases).done == 1


def test_resume_without_an_interrupted_run_begins_one(journal: Journal, phases: list[Phase]) -> None:
    assert replace(journal, resume=True).begin(PLAN, phases) == State(PLAN)


def test_an_output_that_exists_needs_force_or_is_finished(journal: Journal) -> None:
    journal.output.write_bytes(b"finished")
    journal.metrics_path.write_text("{}")
    with pytest.raises(OutputError, match="already exists; pass --force"):
        journal.check()
    replace(journal, force=True).check()
    again = replace(journal, resume=True)
    again.check()
    assert (journal.finished, again.finished) == (False, True)
    assert journal.output.read_bytes() == b"finished"


def test_the_metrics_of_a_finished_run_are_not_replaced_without_force(journal: Journal) -> None:
    journal.metrics_path.write_text("{}")
    with pytest.raises(OutputError, match=r"student.metrics.jsonl already exists; pass --force"):
        journal.check()
    replace(journal, force=True).check()


def test_a_checkpoint_is_a_safetensors_file(journal: Journal) -> None:
    with pytest.raises(OutputError, match=r"student.pt: a checkpoint is a .safetensors file"):
        replace(journal, output=journal.output.with_suffix(".pt")).check()
    with pytest.raises(OutputError, match=r"\. is a folder \(and so is an empty name\)"):
        Journal(Path()).check()


def test_an_interrupted_run_over_an_output_goes_on(interrupted: Journal) -> None:
    interrupted.output.write_bytes(b"finished")
    again = replace(interrupted, resume=True)
    again.check()
    assert not again.finished


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"force": True}, {"resume": True, "force": True}])
def test_a_run_never_writes_over_what_it_reads(interrupted: Journal, how: dict[str, bool]) -> None:
    for path in (interrupted.output, interrupted.metrics_path):
        path.write_bytes(b"precious")
        with pytest.raises(OutputError, match=rf"the output {path} and the input {path} are the same file"):
            replace(interrupted, inputs=(path,), **how).check()


def test_a_link_in_the_place_of_a_run_is_not_followed_unasked(interrupted: Journal, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    again = replace(interrupted, resume=True)
    interrupted.output.symlink_to(victim)
    with pytest.raises(OutputError, match=rf"student.safetensors is a link to {victim}; pass --force"):
        again.check()
    replace(again, force=True).check()
    interrupted.output.unlink()
    interrupted.state_path.unlink()
    interrupted.state_path.symlink_to(tmp_path / "gone")
    for ask in (interrupted, again, replace(interrupted, force=True)):
        with pytest.raises(OutputError, match=r"student.resume.pt is a link; .*: remove it"):
            ask.check()


# a state that cannot be trusted


def test_any_flipped_bit_and_any_cut_is_refused(interrupted: Journal, phases: list[Phase]) -> None:
    content = interrupted.state_path.read_bytes()
    damaged = [content[:length] for length in (0, 1, 20, 100, len(content) - 1)] + [content + b"\0"]
    for position in [*range(90), *range(90, len(content), 131), len(content) - 1]:
        damaged.append(bytearray(content))
        damaged[-1][position] ^= 1 << position % 8
    for wrong in damaged:
        interrupted.state_path.write_bytes(wrong)
        with pytest.raises(
            CheckpointError, match=r"student.resume.pt: (is damaged|was written by another version).*; b"
        ):
            replace(interrupted, resume=True).begin(PLAN, phases)


@pytest.mark.parametrize(
    "content",
    [
        saved({"format": 1, "plan": PLAN, "done": 1}),
        b"edgepress-run 2 0123\nwhat was",
        b"edgepress-run 4 0123\nwhat may come",
    ],
    ids="124",
)
def test_a_state_of_another_format_is_refused(journal: Journal, phases: list[Phase], content: bytes) -> None:
    journal.state_path.write_bytes(content)
    with pytest.raises(CheckpointError, match="was written by another version; begin anew with --force"):
        replace(journal, resume=True).begin(PLAN, phases)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_state_is_not_executed(
    journal: Journal, phases: list[Phase], tmp_path: Path, make_bomb: Callable[[Path], object], zipped: bool
) -> None:
    mark = tmp_path / "executed"
    content = {"plan": make_bomb(mark)}
    forge(journal.state_path, saved(content) if zipped else pickle.dumps(content))
    with pytest.raises(CheckpointError, match="is damaged"):
        replace(journal, resume=True).begin(PLAN, phases)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (None, "a state has exactly average, best, done"),
        ({"more": 1}, "a state has exactly average, best, done"),
        ({"plan": {"plan": 1}}, "plan: of a wrong type"),
        ({"done": True}, "done: of a wrong type"),
        ({"done": 1.0}, "done: of a wrong type"),
        ({"model": {"weight": [1.0]}}, "model: of a wrong type"),
        ({"model": {3: torch.ones(1)}, "losses": []}, "model, losses: of a wrong type"),
        ({"optimizer": [1]}, "optimizer: of a wrong type"),
        ({"losses": {"hint": 1}}, "losses: of a wrong type"),
        ({"best": (1, {})}, "best: of a wrong type"),
        ({"average": (1.0, {})}, "average: of a wrong type"),
        ({"average": (1, {"weight": 1.0})}, "average: of a wrong type"),
        ({"history": [1]}, "history: of a wrong type"),
    ],
)
def test_a_state_of_another_make_is_refused(
    interrupted: Journal, phases: list[Phase], changes: dict[str, object] | None, named: str
) -> None:
    good = vars(read_state(interrupted.state_path))
    forge(interrupted.state_path, saved(["no", "mapping"] if changes is None else good | changes))
    with pytest.raises(CheckpointError, match=rf"student.resume.pt: is damaged \(ValueError: {named}.*--force"):
        replace(interrupted, resume=True).begin(PLAN, phases)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"done": 0, "history": []}, "0 epochs are behind it, of 5"),
        ({"done": 99, "history": records(99)}, "99 epochs are behind it, of 5"),
        ({"done": -1}, "-1 epochs"),
        ({"history": records(2)}, "it has 2 records of 1 epochs"),
        ({"optimizer": None}, "an optimizer and losses belong to it within phases"),
        ({"losses": {"ce": {}}}, "an optimizer and losses"),
        ({"best": (0.5, {})}, "the best epoch belongs"),
        ({"average": (1, {})}, "an average of the weights belongs"),
        ({"done": 2, "history": records(2)}, "an optimizer and losses belong to it between phases"),
        ({"done": 3, "history": records(3)}, "an optimizer and losses"),
        ({"done": 3, "history": records(3), "losses": {"hint": {}}}, "the best epoch belongs"),
        ({"done": 5, "history": records(5)}, "an optimizer and losses belong to it between phases"),
    ],
)
def test_a_state_that_its_run_cannot_have_left_is_refused(
    interrupted: Journal, phases: list[Phase], changes: dict[str, Any], reason: str
) -> None:
    interrupted.write(replace(read_state(interrupted.state_path), **changes))
    with pytest.raises(CheckpointError, match=rf"student.resume.pt: does not fit this run \({reason}.*--force"):
        replace(interrupted, resume=True).begin(PLAN, phases)


def test_a_full_disk_leaves_the_epoch_before(
    interrupted: Journal, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(4096), pytest.raises(OutputError, match=r"student.resume.pt: not written: File too large"):
        interrupted.write(State(PLAN, 2, {"weight": torch.ones(10_000)}))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# as a run uses it


class Asked:
    """A run of two epochs, with one thing changed at will."""

    def __init__(self, data: Dataset, make_fit: MakeFit, journal: Journal, guide: Staged) -> None:
        self.data, self.fit, self.journal, self.guide = data, make_fit(2), journal, guide
        self.task: Task = CLASSIFICATION
        self.seed = 0
        self.student_seed = 3
        self.method = "okd"

    def phases(self, student: Staged) -> list[Phase]:
        lesson = Lesson(student, self.guide, CLASSIFICATION, len(self.data.train), len(self.data.classes), self.seed)
        return read_method(self.method).phases(lesson, self.fit)

    def begin(self, *, resume: bool) -> int:
        """The number of the first epoch that ran; the run is abandoned after it."""
        student = new_network(Named("cnn-s", options={"width": 4}), self.data, seed=self.student_seed).network
        asked, journal = Run(self.task, self.seed), replace(self.journal, resume=resume)
        reports = run(self.phases(student), student, self.data, asked, teacher=self.guide, journal=journal)
        first = next(reports).epoch
        reports.close()
        return first


@pytest.fixture
def asked(digits: Dataset, make_fit: MakeFit, journal: Journal, teacher: Checkpoint) -> Asked:
    made = Asked(digits, make_fit, journal, teacher.network)
    assert made.begin(resume=False) == 1
    return made


def test_the_same_run_is_resumed(asked: Asked) -> None:
    assert asked.begin(resume=True) == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, r"seed \(0, now 1\)"),
        ({"student_seed": 4}, "initial student"),
        ({"task": RETRIEVAL}, r"task \(classification, now retrieval\)"),
        ({"method": "pkt"}, r"plan \(phases: okd, now .*\)"),
        ({"seed": 1, "student_seed": 4, "method": "pkt"}, r"initial student, plan \(.*\), seed \(0, now 1\)"),
    ],
)
def test_another_run_is_refused_and_what_differs_is_named(asked: Asked, changes: dict[str, object], named: str) -> None:
    vars(asked).update(changes)
    before = asked.journal.state_path.read_bytes()
    with pytest.raises(CheckpointError, match=rf"the interrupted run differs in {named}; repeat its command"):
        asked.begin(resume=True)
    assert asked.journal.state_path.read_bytes() == before


def test_another_rate_schedule_data_or_teacher_is_refused(
    asked: Asked, make_fit: MakeFit, varied_digits: Dataset, student: Checkpoint
) -> None:
    same = dict(vars(asked))
    for changes, named in (
        ({"fit": make_fit(2, rate=1e-4)}, r"plan \(phase .*, optimizer: .*lr=0.003.*, now .*lr=0.0001.*\)"),
        ({"fit": make_fit(2, schedule="step")}, r"plan \(phase .*, schedule: 1.0, 1.0, now 1.0, 0.1\)"),
        ({"fit": make_fit(2, batch_size=31)}, r"plan \(phase .*, batch_size: 32, now 31\)"),
        ({"fit": replace(make_fit(2), ema=0.9)}, r"plan \(phase .*, ema: None, now 0.9\)"),
        ({"data": varied_digits}, "data"),
        ({"guide": student.network}, "teacher"),
        ({"guide": replace(asked.guide, keep={"map1": torch.tensor([1, 2])})}, "teacher"),
    ):
        vars(asked).update(same | changes)
        with pytest.raises(CheckpointError, match=rf"differs in {named};"):
            asked.begin(resume=True)


@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_a_state_of_another_network_is_refused(asked: Asked, part: str) -> None:
    state = read_state(asked.journal.state_path)
    if part == "model":
        state.model.popitem()
    else:
        assert state.optimizer is not None
        state.optimizer["param_groups"] = []
    asked.journal.write(state)
    with pytest.raises(
        CheckpointError, match=r"student.resume.pt: does not fit this run \(.*; begin anew with --force"
    ):
        asked.begin(resume=True)


def test_force_begins_anew(asked: Asked) -> None:
    asked.journal = replace(asked.journal, force=True)
    asked.seed = 5
    assert asked.begin(resume=False) == 1
    assert asked.begin(resume=True) == 2


def test_the_digest_of_weights_sees_every_value_and_name(student: Checkpoint) -> None:
    model = student.network.model
    before = weights_digest(model)
    assert before == weights_digest(model)
    norm = model.get_submodule("blocks.0.norm")
    norm.running_mean[0] += 1e-3  # type: ignore[index,operator]
    assert weights_digest(model) != before
    renamed = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(1, 1))
    moved = torch.nn.Sequential(renamed[1])
    assert weights_digest(renamed) != weights_digest(moved)
