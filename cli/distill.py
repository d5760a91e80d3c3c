"""edgepress distill"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options


def distill(
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER", help="The trained network, a .safetensors file.")],
    data: options.Data,
    output: options.Output,
    student: Annotated[str, typer.Option("--student", help="A network by name, or a checkpoint.")] = "cnn-s",
    method: Annotated[str, typer.Option("--method", help="no_teacher, okd, pkt or indistill.")] = "indistill",
    auxiliary: Annotated[
        Path | None,
        typer.Option("--auxiliary", help="InDistill's. [default: made beside the output]"),
    ] = None,
    auxiliary_epochs: Annotated[
        int, typer.Option("--auxiliary-epochs", min=1, help="Of the auxiliary: on the labels, then on the teacher.")
    ] = 50,
    ratio: Annotated[float, typer.Option("--ratio", help="Share of the auxiliary's filters to drop.")] = 0.5,
    knobs: options.Knobs = None,
    task: options.TaskName = "classification",
    epochs: options.Epochs = 70,
    lr: options.Rate = 1e-3,
    optimizer: options.Optimizer = "adam",
    schedule: options.Schedule = "step",
    batch_size: options.BatchSize = 128,
    keep: options.Keep = "last",
    augment: options.Augment = None,
    fraction: options.Fraction = 1.0,
    val_fraction: options.ValFraction = 0.0,
    width: options.Width = None,
    depth: options.Depth = None,
    arch: options.Arch = None,
    size: options.Size = None,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Teach a student what a teacher knows."""
    from cli import inputs, progress
    from compress.distillation import Auxiliary, Distillation, distil
    from compress.errors import PlanError
    from compress.jobs import Job
    from compress.recipes import Method
    from compress.training.journal import Journal

    plan = Method(method, inputs.read_settings(knobs))
    if auxiliary is not None and not plan.narrows:
        raise PlanError(f"--auxiliary: method {method!r} takes none; leave it out, or take --method indistill")
    if not student.endswith(".safetensors"):
        inputs.check_network(student)
    fit = inputs.read_fit(epochs, lr, optimizer, schedule, batch_size=batch_size, keep=keep)
    job = Job(inputs.command_line(), inputs.read_task(task), seed, Journal(output, resume, force))
    job.journal.check()
    prepared = inputs.read_data_options(size, None, fraction, val_fraction, augment=augment, seed=seed)
    source, images = inputs.read_checkpoint(teacher, arch, data, prepared)
    small = inputs.read_student(student, images, seed=seed, options=inputs.read_options(width=width, depth=depth))
    between = inputs.read_fit(auxiliary_epochs, lr, optimizer, "constant", batch_size=batch_size)
    what = Distillation(small, source, images, Auxiliary(auxiliary, between, ratio))
    progress.say_result(progress.follow(distil(plan, fit, what, job), output), output)
