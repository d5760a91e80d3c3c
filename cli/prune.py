"""edgepress prune"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import options

if TYPE_CHECKING:
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset

SAID_BEYOND = 0.02  # between the share of the channels that was asked for and the one that is left


def prune(
    checkpoint: options.CheckpointFile,
    ratio: Annotated[float, typer.Option("--ratio", help="Share of the channels to cut, between 0 and 1.")],
    data: options.Data,
    output: options.Output,
    recover: Annotated[
        str | None, typer.Option("--recover", help="Recipe to train it with afterwards; the unpruned network teaches.")
    ] = None,
    knobs: options.Knobs = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Of the recovery. [default: one more than the method needs, 2 or more]"),
    ] = None,
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

    method = read_method(recover, parse.read_settings(knobs)) if recover else None
    for option, given in (("--set", knobs), ("--epochs", epochs)):
        if given and not method:
            raise PlanError(f"{option}: nothing is trained; name a method to train with by --recover")
    if not 0 < ratio < 1:
        raise PlanError(f"--ratio {ratio}: it must be between 0 and 1, both excluded")
    journal = Journal(output, resume, force, (checkpoint,))
    journal.check()
    prepared = parse.read_data_options(size, None, fraction, val_fraction, augment=augment, seed=seed)
    before, images = open_pair(Named(str(checkpoint), arch or ""), data, prepared)
    job = Job(parse.command_line(), Run(parse.read_task(before.card.task), seed), journal)
    small = cut(before, ratio, job.command)
    _say_share(before, small, ratio)
    recovery = None
    if method:
        count = epochs or method.fewest_epochs(small.network) + 1
        fit = parse.read_fit(count, lr, optimizer, schedule, batch_size=batch_size, keep=keep)
        recovery = Recovery(method, fit)
    stamp = progress.stamp(output)
    after = progress.follow(recovered(small, before, recovery, images, job), output)
    _say_table({"before": before, "cut": small} | ({"recovered": after} if recovery else {}), images)
    progress.say_written(output, stamp)


def _say_share(before: Checkpoint, small: Checkpoint, ratio: float) -> None:
    from compress.pruning import shares_left

    left = shares_left(before.network, small.network)
    if abs(left.channels_left - (1 - ratio)) <= SAID_BEYOND:
        return
    name, share = max(left.layers.items(), key=lambda layer: abs(layer[1].channels_left - (1 - ratio)))
    typer.echo(
        f"{100 * left.channels_left:.1f} % of the channels are left, where a ratio of {ratio:g} asks for "
        f"{100 * (1 - ratio):.1f} %: layers lose whole channels, as many in each of their groups "
        f"(farthest off: {name}, {share.channels[1]} of {share.channels[0]} left)"
    )


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
