"""edgepress prune"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cli import options
from cli.choosing import LEAST_NORMS, Chosen

if TYPE_CHECKING:
    from rich.table import Table

    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.recipes import Method


_Ratio = Annotated[
    float,
    options.number(
        "--ratio",
        0,
        1,
        "[)",
        help="Share of the channels to cut; 0 cuts only what --layer-ratio and --blocks say.",
        group=options.METHOD,
    ),
]
_Recover = Annotated[
    str | None,
    options.choice(
        "--recover",
        options.METHODS,
        help="Recipe to train it with afterwards; the unpruned network teaches.",
        group=options.METHOD,
    ),
]


_Epochs = Annotated[
    int | None,
    options.whole(
        "--epochs",
        1,
        help="Of the recovery. [default: one more than the method needs, 2 or more]",
        group=options.TRAINING,
    ),
]
_OF_RECOVERY = (
    "--set",
    "--epochs",
    "--lr",
    "--optimizer",
    "--schedule",
    "--warm-up",
    "--label-smoothing",
    "--ema",
    "--precision",
    "--views",
    "--cache",
    "--batch-size",
    "--keep",
    "--augment",
)


def prune(
    checkpoint: options.CheckpointFile,
    ratio: _Ratio,
    data: options.Data,
    output: options.Output,
    chosen: Chosen = LEAST_NORMS,
    recover: _Recover = None,
    knobs: options.Knobs = None,
    epochs: _Epochs = None,
    lr: options.Rate = 1e-3,
    optimizer: options.Optimizer = "adam",
    schedule: options.Schedule = "cosine",
    batch_size: options.BatchSize = 128,
    keep: options.Keep = "last",
    refined: options.Refined = options.PLAINLY,
    replayed: options.Replayed = options.NOT_REPLAYED,
    augment: options.Augment = None,
    fraction: options.Fraction = 1.0,
    val_fraction: options.ValFraction = 0.0,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Cut the least channels and train back.

    Layers that are coupled lose the same channels; the unpruned network teaches.

    Examples:
        edgepress prune teacher.safetensors --ratio 0.4 --criterion lamp --scope global --data digits -o cut.safetensors
        edgepress prune teacher.safetensors --ratio 0 --blocks 2 --data digits -o shallow.safetensors
        edgepress prune teacher.safetensors --ratio 0.5 --recover okd --epochs 2 --data digits -o pruned.safetensors
    """
    from cli import parse, progress, say
    from cli.choosing import look, read_choice, say_blocks, say_shares
    from compress.jobs import Job, Recovery, recovered
    from compress.opening import open_pair
    from compress.pruning import followed, shares_left
    from compress.smaller import cut
    from compress.tasks import TASKS
    from compress.training.journal import Journal

    method, choice = _method(recover, knobs), read_choice(chosen, ratio, seed)
    journal = Journal(output, resume, force, (checkpoint,))
    journal.check()
    asked = parse.read_data_options(None, fraction, val_fraction, augment=augment, seed=seed)
    before, images = open_pair(parse.read_file(checkpoint, plain), data, parse.read_seen(asked, seen))
    say.notes(images.notes)
    job = Job(parse.command_line(), parse.read_run(TASKS[before.card.task], seed, refined, replayed), journal)
    small = cut(before, ratio, job.command, choice=choice, calibration=look(before, images, chosen))
    left = shares_left(before.network, small.network)
    say_blocks(small, before)
    say_shares(left, ratio, choice, whole=followed(before.network.model))
    recovery = None
    if method is not None:
        count = epochs or method.fewest_epochs(small.network) + 1
        fit = parse.read_fit(count, lr, optimizer, schedule, batch_size=batch_size, keep=keep, refined=refined)
        recovery = Recovery(method, parse.replaying(fit, replayed))
    stamp = progress.stamp(output)
    after = progress.follow(recovered(small, before, recovery, images, job), output)
    costs = _costs({"before": before, "cut": small} | ({"recovered": after} if recovery else {}), images)
    say.aside(_table(costs))
    layers = {name: share.channels for name, share in left.layers.items()}
    say.result({"output": output, "networks": costs, "layers": layers}, progress.written(output, stamp))


def _method(recover: str | None, knobs: list[str] | None) -> Method | None:
    """What to recover with, if at all; the options of a recovery are refused where there is none."""
    from cli import parse
    from cli.typed import refuse
    from compress.recipes import read_method

    if recover is None:
        refuse(_OF_RECOVERY, "nothing is trained without --recover; leave it out, or add --recover okd")
        return None
    return read_method(recover, parse.read_settings(knobs))


def _costs(networks: dict[str, Checkpoint], images: Dataset) -> dict[str, dict[str, Any]]:
    """What each network costs and scores: parameters, macs, weight_bytes, metrics."""
    from compress.tasks import TASKS
    from exports.graph.census import network_census

    costs = {}
    for name, checkpoint in networks.items():
        cost = network_census(checkpoint.network, checkpoint.card.preprocessing.shape)
        metrics = TASKS[checkpoint.card.task].evaluate(checkpoint.network, images)
        counts = {"parameters": cost.parameters, "macs": cost.macs, "weight_bytes": cost.weight_bytes}
        costs[name] = {**counts, "metrics": metrics}
    return costs


def _table(costs: dict[str, dict[str, Any]]) -> Table:
    from cli import say

    rows = []
    for name, cost in costs.items():
        metric, value = next(iter(cost["metrics"].items()))
        counts = (f"{cost['parameters']:,}", f"{cost['macs']:,}", f"{cost['weight_bytes']:,} B")
        rows.append((name, *counts, f"{metric} {100 * value:.2f} %"))
    return say.table(("", "parameters", "MACs", "weights", "test"), rows)
