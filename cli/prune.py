"""edgepress prune"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cli import options
from cli.budgets import NO_BUDGET, Budgets, read_budgets

if TYPE_CHECKING:
    from rich.table import Table

    from benchmarks.budget import Budget
    from benchmarks.proof import Proof
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.recipes import Method


USUAL = "okd"  # the recovery of one who names none
SAID_BEYOND = 0.02  # between the share of the channels that was asked for and the one that is left

_Ratio = Annotated[
    float | None,
    options.number("--ratio", 0, 1, "()", help="Share of the channels to cut, between 0 and 1.", group=options.METHOD),
]
_NoTiming = Annotated[
    bool,
    options.switch("--no-timing", help="Do not hold the two as .onnx files against each other.", group=options.OUTPUT),
]
_Recover = Annotated[
    str | None,
    options.choice(
        "--recover",
        options.METHODS,
        help=f"Recipe to train it with afterwards; the unpruned network teaches. [default, with --epochs: {USUAL}]",
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
_Calibrate = Annotated[
    int,
    options.whole(
        "--calibrate",
        0,
        help="Training images on which the layers that are left are fitted to what they said before, without labels; 0 "
        "leaves them as they are.",
        group=options.METHOD,
    ),
]
_OF_RECOVERY = (
    "--set",
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
    data: options.Data,
    output: options.Output,
    ratio: _Ratio = None,
    budgets: Budgets = NO_BUDGET,
    recover: _Recover = None,
    knobs: options.Knobs = None,
    epochs: _Epochs = None,
    lr: options.Rate = 1e-3,
    optimizer: options.Optimizer = "adam",
    schedule: options.Schedule = "cosine",
    batch_size: options.BatchSize = 128,
    calibrate: _Calibrate = 256,
    keep: options.Keep = "last",
    refined: options.Refined = options.PLAINLY,
    replayed: options.Replayed = options.NOT_REPLAYED,
    augment: options.Augment = None,
    fraction: options.Fraction = 1.0,
    val_fraction: options.ValFraction = 0.0,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    seed: options.Seed = 0,
    no_timing: _NoTiming = False,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Cut the least channels, fit what is left and train back.

    The channels are those with the least L1 norm. What is left is fitted, layer after layer and without labels, to what
    the whole network says on a few images; --recover then trains it, and the unpruned network teaches.

    Examples:
        edgepress prune teacher.safetensors --ratio 0.5 --data digits -o cut.safetensors
        edgepress prune teacher.safetensors --ratio 0.5 --recover okd --epochs 2 --data digits -o pruned.safetensors
    """
    from benchmarks.proof import prove
    from cli import parse, progress, say
    from compress.errors import PlanError
    from compress.jobs import Job, Recovery, recovered
    from compress.opening import open_pair
    from compress.smaller import cut, mended
    from compress.tasks import TASKS
    from compress.training.journal import Journal
    from exports.source import calibration

    method, wished = _method(recover, epochs, knobs), read_budgets(budgets)
    if (ratio is None) == (not wished):
        raise PlanError(
            "how much to cut: give either --ratio, or what may be left: --max-params, --max-macs, --max-size, "
            "--max-latency, --min-speedup"
        )
    journal = Journal(output, resume, force, (checkpoint,))
    journal.check()
    asked = parse.read_data_options(None, fraction, val_fraction, augment=augment, seed=seed)
    before, images = open_pair(parse.read_file(checkpoint, plain), data, parse.read_seen(asked, seen))
    say.notes(images.notes)
    job = Job(parse.command_line(), parse.read_run(TASKS[before.card.task], seed, refined, replayed), journal)
    ratio = ratio or _fitting(before, wished, job.command)
    small = cut(before, ratio, job.command)
    _say_share(before, small, ratio)
    networks = {"before": before, "cut": small}
    if calibrate:
        small, unfitted = mended(small, before, calibration(before.card, images.train, calibrate), job.command)
        say.notes([f"layers are not fitted, but have new statistics: {unfitted}"] if unfitted else [])
        networks["fitted"] = small
    recovery = None
    if method is not None:
        count = epochs or method.fewest_epochs(small.network) + 1
        fit = parse.read_fit(count, lr, optimizer, schedule, batch_size=batch_size, keep=keep, refined=refined)
        recovery = Recovery(method, parse.replaying(fit, replayed))
    stamp = progress.stamp(output)
    after = progress.follow(recovered(small, before, recovery, images, job), output)
    costs = _costs(networks | ({"recovered": after} if recovery else {}), images)
    say.aside(_table(costs))
    proof = None if no_timing else prove(after, before)
    records = parse.stamped(proof.records()) if proof else []
    say.result(
        {"output": output, "ratio": ratio, "networks": costs, "records": records},
        *([_won(proof, costs)] if proof else []),
        progress.written(output, stamp),
    )


def _method(recover: str | None, epochs: int | None, knobs: list[str] | None) -> Method | None:
    """What to recover with, if at all; the options of a recovery are refused where there is none."""
    from cli import parse
    from cli.typed import refuse
    from compress.recipes import read_method

    if recover is None and epochs is None:
        refuse(
            _OF_RECOVERY, f"nothing is trained without --recover or --epochs; leave it out, or add --recover {USUAL}"
        )
        return None
    return read_method(recover or USUAL, parse.read_settings(knobs))


def _fitting(before: Checkpoint, budgets: list[Budget], command: str) -> float:
    """The least ratio at which the network keeps to the budgets."""
    from benchmarks.budget import fit_budgets
    from cli import say
    from compress.errors import PlanError
    from compress.smaller import cut

    found = fit_budgets(lambda ratio: cut(before, ratio, command), before, budgets, say.line)
    if not found:
        raise PlanError(f"nothing has to be cut: the network has {' and '.join(one.words for one in budgets)} already")
    return found


def _won(proof: Proof, costs: dict[str, dict[str, Any]]) -> str:
    """The two files held against each other, and a word where fewer operations do not make it faster."""

    first, last = (list(costs.values())[at]["macs"] for at in (0, -1))
    (before, after), (slow, fast) = proof.size_bytes, proof.latency_ms
    said = f".onnx: {before:,} -> {after:,} bytes; {slow:.4g} -> {fast:.4g} ms, {proof.verdict.words}"
    return said if proof.verdict.kind == "faster" else f"{said}; {first / last:.2f}x fewer MACs did not make it faster"


def _say_share(before: Checkpoint, small: Checkpoint, ratio: float) -> None:
    from cli import say
    from compress.pruning import shares_left

    left = shares_left(before.network, small.network)
    if abs(left.channels_left - (1 - ratio)) <= SAID_BEYOND:
        return
    name, share = max(left.layers.items(), key=lambda layer: abs(layer[1].channels_left - (1 - ratio)))
    say.line(
        f"{100 * left.channels_left:.1f} % of the channels are left, where a ratio of {ratio:g} asks for "
        f"{100 * (1 - ratio):.1f} %: layers lose whole channels, as many in each of their groups "
        f"(farthest off: {name}, {share.channels[1]} of {share.channels[0]} left)"
    )


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
