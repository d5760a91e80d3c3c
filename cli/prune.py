"""edgepress prune"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options

if TYPE_CHECKING:
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset


def prune(
    checkpoint: options.CheckpointFile,
    ratio: Annotated[float, typer.Option("--ratio", help="Share of the channels to cut, between 0 and 1.")],
    data: options.Data,
    output: options.Output,
    recover: Annotated[
        str | None, typer.Option("--recover", help="Recipe to train it with afterwards; the unpruned network teaches.")
    ] = None,
    knobs: options.Knobs = None,
    epochs: options.Epochs = 2,
    lr: options.Rate = 1e-3,
    optimizer: options.Optimizer = "adam",
    schedule: options.Schedule = "cosine",
    batch_size: options.BatchSize = 128,
    keep: options.Keep = "last",
    augment: options.Augment = None,
    fraction: options.Fraction = 1.0,
    val_fraction: options.ValFraction = 0.0,
    arch: options.Arch = None,
    size: options.Size = None,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Cut the least channels and train back.

    The channels are those with the least L1 norm; the unpruned network teaches.
    """
    from cli import parse, progress
    from compress.errors import PlanError
    from compress.jobs import Job, Recovery, cut, recovered
    from compress.opening import Named, open_pair
    from compress.recipes import read_method
    from compress.training.engine import Run
    from compress.training.journal import Journal

    fit = parse.read_fit(epochs, lr, optimizer, schedule, batch_size=batch_size, keep=keep)
    recovery = Recovery(read_method(recover, parse.read_settings(knobs)), fit) if recover else None
    if knobs and not recover:
        raise PlanError("--set: there is no method to set knobs of; name one with --recover")
    if not 0 < ratio < 1:
        raise PlanError(f"--ratio {ratio}: it must be between 0 and 1, both excluded")
    journal = Journal(output, resume, force)
    journal.check()
    prepared = parse.read_data_options(size, None, fraction, val_fraction, augment=augment, seed=seed)
    before, images = open_pair(Named(str(checkpoint), arch or ""), data, prepared)
    job = Job(parse.command_line(), Run(parse.read_task(before.card.task), seed), journal)
    small = cut(before, ratio, job.command)
    after = progress.follow(recovered(small, before, recovery, images, job), output)
    _say_table({"before": before, "cut": small} | ({"recovered": after} if recovery else {}), images)
    typer.echo(f"written: {output}")


def _say_table(networks: dict[str, Checkpoint], images: Dataset) -> None:
    from rich.console import Console
    from rich.table import Table

    from compress.tasks import TASKS
    from exports.graph.census import network_census

    table = Table("", "parameters", "MACs", "weights", "test")
    for name, checkpoint in networks.items():
        cost = network_census(checkpoint.network, checkpoint.card.preprocessing.shape)
        metrics = TASKS[checkpoint.card.task].evaluate(checkpoint.network, images)
        metric, value = next(iter(metrics.items()))
        counts = (f"{cost.parameters:,}", f"{cost.macs:,}", f"{cost.weight_bytes:,} B")
        table.add_row(name, *counts, f"{metric} {100 * value:.2f} %")
    Console().print(table)
