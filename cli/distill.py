"""edgepress distill"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.options import PRUNED

if TYPE_CHECKING:
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.recipes import Method

_Student = Annotated[
    str,
    options.choice(
        "--student",
        options.NETWORKS,
        help="A network by name, a checkpoint, or pruned:0.75: the teacher with so many of its channels cut off.",
        group=options.NETWORK,
    ),
]
_Method = Annotated[
    str,
    options.choice("--method", options.METHODS, help="How: see `edgepress methods`.", group=options.METHOD),
]
_Auxiliary = Annotated[
    Path | None,
    options.words("--auxiliary", "PATH", help="InDistill's. [default: made beside the output]", group=options.METHOD),
]
_AuxiliaryArch = Annotated[
    str | None,
    options.choice(
        "--auxiliary-arch",
        options.NETWORKS,
        help="The network, where --auxiliary is a plain torch state dict.",
        group=options.METHOD,
    ),
]
_StudentArch = Annotated[
    str | None,
    options.choice(
        "--student-arch",
        options.NETWORKS,
        help="The network, where --student is a plain torch state dict.",
        group=options.NETWORK,
    ),
]
_AuxiliaryEpochs = Annotated[
    int,
    options.whole(
        "--auxiliary-epochs", 1, help="Of the auxiliary: on the labels, then on the teacher.", group=options.METHOD
    ),
]
_Ratio = Annotated[
    float,
    options.number("--ratio", 0, 1, "()", help="Share of the auxiliary's filters to drop.", group=options.METHOD),
]


def distill(
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER", help="The trained network: a checkpoint.")],
    data: options.Data,
    output: options.Output,
    student: _Student = "cnn-s",
    method: _Method = "indistill",
    auxiliary: _Auxiliary = None,
    auxiliary_epochs: _AuxiliaryEpochs = 50,
    ratio: _Ratio = 0.5,
    knobs: options.Knobs = None,
    task: options.TaskName = None,
    epochs: options.Epochs = 70,
    lr: options.Rate = 1e-3,
    optimizer: options.Optimizer = "adam",
    schedule: options.Schedule = "step",
    batch_size: options.BatchSize = 128,
    keep: options.Keep = "last",
    refined: options.Refined = options.PLAINLY,
    replayed: options.Replayed = options.NOT_REPLAYED,
    augment: options.Augment = None,
    fraction: options.Fraction = 1.0,
    val_fraction: options.ValFraction = 0.0,
    width: options.Width = None,
    depth: options.Depth = None,
    arguments: options.Arguments = None,
    stages: options.StageModules = None,
    arch: options.Arch = None,
    auxiliary_arch: _AuxiliaryArch = None,
    student_arch: _StudentArch = None,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Teach a student what a teacher knows.

    Examples:
        edgepress distill teacher.safetensors --student cnn-s --data digits -o student.safetensors
        edgepress distill teacher.safetensors --method okd --set tau=4 --data digits -o student.safetensors
        edgepress distill teacher.safetensors --student pruned:0.75 --data digits -o student.safetensors
    """
    from cli import parse, progress, say
    from compress.jobs import Auxiliary, Distillation, Job, Recovery, distil, recovered
    from compress.named import Named
    from compress.opening import open_beside, open_pair
    from compress.recipes import for_recovery, read_method
    from compress.training.journal import Journal

    plan, share = read_method(method, parse.read_settings(knobs)), _share(student)
    _refuse_ignored(plan, auxiliary, pruned=share is not None)
    named = options.Plain(None, width, depth, arguments, stages)
    small = parse.read_network(student, student_arch, named) if share is None else None
    fit = parse.read_fit(epochs, lr, optimizer, schedule, batch_size=batch_size, keep=keep, refined=refined)
    fit = parse.replaying(fit, replayed)
    read = (teacher, Path(student), *((auxiliary,) if auxiliary else ()))
    goal, journal = parse.read_task(task), Journal(output, resume, force, read)
    journal.check()
    before = progress.stamp(output)
    asked = parse.read_data_options(None, fraction, val_fraction, augment=augment, seed=seed)
    asked = parse.read_seen(asked, seen)
    source, images = open_pair(Named(str(teacher), arch or ""), data, asked)
    say.notes(images.notes)
    goal = goal or parse.task_for(images)
    job = Job(parse.command_line(), parse.read_run(goal, seed, refined, replayed), journal)
    if small is None:
        assert share is not None
        learner = _cut_and_fitted(source, share, images, job.command)
        training = recovered(learner, source, Recovery(for_recovery(plan), fit), images, job)
        progress.say_result(progress.follow(training, output), output, before)
        return
    learner = open_beside(f"--student {student}", small, images, seed=seed)
    long = parse.read_fit(auxiliary_epochs, lr, optimizer, "constant", batch_size=batch_size, refined=options.PLAINLY)
    between = Named(str(auxiliary), auxiliary_arch or "")
    made = open_beside(f"--auxiliary {auxiliary}", between, images, seed=seed) if auxiliary else None
    what = Distillation(learner, source, images, Auxiliary(made, long, ratio))
    progress.say_result(progress.follow(distil(plan, fit, what, job), output), output, before)


def _share(student: str) -> float | None:
    """The share of the channels to cut, where the student is the teacher with fewer of them."""
    from compress.errors import PlanError

    if not student.startswith(PRUNED):
        _check_spelled(student)
        return None
    try:
        share = float(student.removeprefix(PRUNED))
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise PlanError(f"--student {student}: give the share of the channels to cut, above 0 and below 1: pruned:0.75")
    return share


def _check_spelled(student: str) -> None:
    """Nothing, unless it is nearly the word for a cut teacher, with or without a share."""
    from difflib import get_close_matches

    from compress.errors import PlanError

    found = re.fullmatch(r"([a-z]+)(?::(.*)|=?([\d.]*))", student, re.IGNORECASE)
    if found is None or not get_close_matches(found[1].lower(), [PRUNED.rstrip(":")], cutoff=0.7):
        return
    share = found[2] or found[3]
    if ":" in student or not Path(student).exists():
        hint = f"Did you mean '{PRUNED}{share}'?" if share else f"Give {PRUNED}RATIO, such as {PRUNED}0.5"
        raise PlanError(f"--student {student}: unknown network {student!r}. {hint}")


def _cut_and_fitted(teacher: Checkpoint, share: float, images: Dataset, command: str) -> Checkpoint:
    from cli.choosing import LEAST_NORMS, fitted, look
    from compress.smaller import cut

    seen = look(teacher, images, LEAST_NORMS)
    return fitted(cut(teacher, share, command, calibration=seen), teacher, seen, command)


def _refuse_ignored(plan: Method, auxiliary: Path | None, *, pruned: bool) -> None:
    from cli.typed import refuse

    if pruned:
        refuse(("--width", "--depth", "--student-arch"), "the student is the teacher with fewer channels; leave it out")
        reason = "the channels that were not cut say what to learn, without an auxiliary; leave it out"
        refuse(("--auxiliary", "--auxiliary-arch", "--auxiliary-epochs", "--ratio"), reason)
    if plan.recipe.guide != "auxiliary":
        reason = f"method {plan.name!r} takes no auxiliary; leave it out, or take --method indistill"
        refuse(("--auxiliary", "--auxiliary-arch", "--auxiliary-epochs", "--ratio"), reason)
    elif auxiliary is not None:
        refuse(("--auxiliary-epochs", "--ratio"), "the auxiliary is finished already; leave it out")
