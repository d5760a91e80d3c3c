"""One of the processes of a run, started by test_ranks.py: `rank.py FOLDER`, with torch's variables around it."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from plans import CE, HINT, Trip, make_guide, make_student
from torch import Tensor
from watch import watched

from compress.data import DataOptions, Dataset, load
from compress.errors import DivergedError
from compress.evidence import weights_digest
from compress.phase import INDEX, OPTIMIZERS, Fit, Phase, S, Term
from compress.schedule import Schedule
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, features, tallied
from compress.training.engine import Run, run


def index_loss(logits: Tensor, index: Tensor) -> Tensor:
    """The mean position of the images: what a reported loss makes of all of them is known."""
    return index.float().mean() + 0 * logits.sum()


def _trained(student: Staged, data: Dataset, keep: str) -> dict[str, Any]:
    """A run of the best epoch; the last one unlearns."""
    fit = Fit(3, OPTIMIZERS["adam"](1e-2), (1.0, 1.0, 300.0), keep, 16)  # type: ignore[arg-type]
    terms = (CE, HINT, Term(index_loss, (S("logits"), INDEX), 0.0, "index"))
    plan = [Phase("p", terms, fit)]
    reports, states = watched(run(plan, student, data, Run(CLASSIFICATION, 4), teacher=make_guide()), student)
    return {
        "scores": [report.score for report in reports],
        "losses": [report.losses for report in reports],
        "digest": weights_digest(student.model),
        "kept": [all(torch.equal(state[key], states[-1][key]) for key in state) for state in states[:-1]],
    }


def _averaged(data: Dataset) -> dict[str, Any]:
    """A run of one-cycle whose averaged weights are validated and leave, through a loss with parameters."""
    student = make_student()
    fit = Fit(3, OPTIMIZERS["adam"](1e-2), Schedule("one-cycle", 3), "best loss", 16, ema=0.9)
    plan = [Phase("p", (CE, HINT), fit)]
    reports, states = watched(run(plan, student, data, Run(CLASSIFICATION, 4), teacher=make_guide()), student)
    return {
        "scores": [report.score for report in reports],
        "cpu_s": [report.cpu_s for report in reports],
        "learnt": reports[-1].losses["ce"] < reports[0].losses["ce"],
        "digest": weights_digest(student.model),
        "latest": [float(sum(value.double().sum() for value in state.values())) for state in states],
    }


def _evaluated(student: Staged, data: Dataset) -> dict[str, Any]:
    """Over the processes, and how many images this one looked at."""
    seen: list[int] = []
    handle = student.model.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    counts = tallied(student, data.test, CLASSIFICATION).tolist()
    handle.remove()
    feature, targets = features(student, data.test, "embedding")
    return {
        "seen": sum(seen),
        "counts": counts,
        "top1": CLASSIFICATION.evaluate(student, data)["top1"],
        "retrieval": RETRIEVAL.evaluate(student, data),
        "in order": torch.equal(targets, data.test.targets.long()),
        "feature": float(feature.square().sum()),
    }


def _diverged(data: Dataset, rank: int) -> str:
    """What a process says when one of them met NaN."""
    trip = Trip(3 if rank == 1 else -1, partial(torch.mul, torch.tensor(math.nan)))
    fit = Fit(2, OPTIMIZERS["adam"](1e-3), (1.0, 1.0), "best score", 16)
    try:
        list(run([Phase("p", (Term(trip, CE.args, 1.0, "ce"),), fit)], make_student(), data, Run(CLASSIFICATION)))
    except DivergedError as error:
        return str(error)
    return "nothing"


def main(folder: Path) -> None:
    """Writes what this process found."""
    rank = PartialState(cpu=True).process_index
    data = load("digits", DataOptions(size=(24, 24), fraction=0.17, val_fraction=0.4, augment=("crop",)))
    assert data.val is not None
    student = make_student()
    found = {
        keep: _trained(make_student() if keep == "best loss" else student, data, keep)
        for keep in ("best score", "best loss")
    }
    found["evaluated"] = _evaluated(student, replace(data, test=data.val))
    found["averaged"] = _averaged(data)
    found["diverged"] = {"said": _diverged(data, rank)}
    if rank == 0:
        torch.save(student.model.state_dict(), folder / "student.pt")
    (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    PartialState().destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
