"""edgepress prune"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.budgets import NO_BUDGET, Budgets, read_budgets
from cli.choosing import LEAST_NORMS, Chosen
from cli.sensitivity import TOGETHER, Alone, only_looks, show_cuts
from compress.text import counted

if TYPE_CHECKING:
    from benchmarks.budget import Budget
    from cli.measured import Measured
    from compress.checkpoint import Checkpoint
    from compress.data import DataOptions, Dataset
    from compress.jobs import Recovery
    from compress.named import Named
    from compress.phase import Fit
    from compress.pruning import Scored
    from compress.recipes import Method


STATISTICS = ("fixed", "batch")
WRITTEN, LOOKED = "pruned.safetensors", "sensitivity.json"  # what stands behind the name of the network
_Data = Annotated[
    str | None,
    options.choice(
        "--data",
        options.DATA_SETS,
        help="A data set by name (see `edgepress data`) or a folder. [default: the one it was trained on]",
        group=options.DATA,
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        parser=options.file_name,
        help="The file to write. [default: NAME.pruned.safetensors beside it; of --sensitivity NAME.sensitivity.json]",
        rich_help_panel=options.OUTPUT,
    ),
]
_Ratio = Annotated[
    float | None,
    options.number(
        "--ratio",
        0,
        1,
        "[)",
        help="Share of the channels to cut; 0 cuts only what --layer-ratio and --blocks say.",
        group=options.METHOD,
    ),
]
_NoTiming = Annotated[
    bool,
    options.switch(
        "--no-timing",
        help="Time nothing: do not hold the two as .onnx files against each other; --blocks counts MACs.",
        group=options.OUTPUT,
    ),
]
_Recover = Annotated[
    str | None,
    options.choice(
        "--recover",
        options.METHODS,
        help="Recipe to train it with afterwards; the unpruned network teaches. [default, with --epochs: simultaneous "
        "with alpha=0.1; of retrieval pkt]",
        group=options.METHOD,
    ),
]


_Epochs = Annotated[
    int | None,
    options.whole(
        "--epochs",
        1,
        help="Of the recovery, over all steps. [default: in each one more than the method needs, 2 or more]",
        group=options.TRAINING,
    ),
]
_Steps = Annotated[
    int,
    options.whole(
        "--steps",
        1,
        help="In how many steps to cut; what is left is fitted, and trained, after each. Those before the last are "
        "kept as NAME.step1.safetensors and so on.",
        group=options.METHOD,
    ),
]
_BatchNorm = Annotated[
    str | None,
    options.choice(
        "--batch-norm",
        STATISTICS,
        help="What it normalises by in the recovery: fixed, the statistics that it has, or batch, those of each batch. "
        "[default: fixed where layers were fitted, or else batch]",
        group=options.TRAINING,
    ),
]
_Rate = Annotated[
    float | None,
    options.number(
        "--lr",
        0,
        options.LARGEST_RATE,
        "(]",
        help="Learning rate, above 0. [default: 0.001; of fitted layers less where there are fewer than 100 steps]",
        group=options.TRAINING,
    ),
]
_OF_RECOVERY = (
    "--set",
    "--lr",
    "--batch-norm",
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
    data: _Data = None,
    output: _Output = None,
    ratio: _Ratio = None,
    budgets: Budgets = NO_BUDGET,
    chosen: Chosen = LEAST_NORMS,
    alone: Alone = TOGETHER,
    steps: _Steps = 1,
    recover: _Recover = None,
    knobs: options.Knobs = None,
    epochs: _Epochs = None,
    lr: _Rate = None,
    batch_norm: _BatchNorm = None,
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
    no_timing: _NoTiming = False,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Cut the least channels, fit what is left and train back.

    Layers that are coupled lose the same channels. What is left is fitted, layer after layer and without labels, to
    what the whole network says on a few images; --recover then trains it, and the unpruned network teaches.

    Examples:
        edgepress prune teacher.safetensors --max-macs 10M
        edgepress prune teacher.safetensors --sensitivity --data digits -o sensitivity.json
        edgepress prune teacher.safetensors --ratio 0.5 --epochs 2 --data digits -o pruned.safetensors
    """
    from cli import parse, progress, say
    from cli.blocks import prices_of, say_blocks
    from cli.choosing import look, read_choice
    from cli.left import say_cut
    from cli.measured import Measured
    from cli.proven import shown
    from cli.steps import Cutting, check_targets, cut_in_steps, say_steps
    from compress.jobs import Job, usual_rate
    from compress.pruning import in_steps
    from compress.smaller import scored
    from compress.tasks import TASKS
    from compress.training.journal import Journal

    output = output or checkpoint.with_name(f"{checkpoint.stem}.{LOOKED if alone.sensitivity else WRITTEN}")
    journal = Journal(output, resume, force, (checkpoint,))
    asked = parse.read_data_options(None, fraction, val_fraction, augment=augment, seed=seed)
    opened = partial(_opened, parse.read_file(checkpoint, plain), data, parse.read_seen(asked, seen))
    if only_looks(alone, _OF_RECOVERY):
        show_cuts(alone, chosen, ratio, journal, opened, seed=seed)
        return
    named, wished = _named(recover, epochs, knobs), read_budgets(budgets, timed=not no_timing)
    choice = read_choice(chosen, ratio, wished, seed)
    check_targets(journal, steps)
    before, images = opened()
    method = named or _usual(epochs, knobs, before.card.task)
    say.notes(images.notes)
    job = Job(parse.command_line(), parse.read_run(TASKS[before.card.task], seed, refined, replayed), journal)
    looked_at = look(before, images, chosen)
    timed = Measured(journal)
    prices = prices_of(before, chosen.blocks, timed, timed=not no_timing)
    found = scored(before, choice, looked_at, prices=prices.deciding)
    ratio = _fitting(before, found, wished, job.command, timed) if wished else ratio or 0.0
    plan = in_steps(found, ratio, steps)
    say_steps(plan, steps)
    say_blocks(found, prices)
    left = say_cut(before, found, ratio)
    seen_anew, batches = bool(looked_at.batches), -(-len(images.train) // batch_size)
    fixed, rate = _fixed(batch_norm, usual=seen_anew), partial(usual_rate, fitted=seen_anew)
    fit = partial(parse.read_fit, optimizer=optimizer, schedule=schedule, batch_size=batch_size, keep=keep)
    fits = [fit(n, lr or rate(n * batches), refined=refined) for n in _shared(epochs, method, before, len(plan))]
    recoveries = _recoveries(method, fits, replayed, fixed=fixed)
    stamp = progress.stamp(output)
    cutting = Cutting(before, found, plan, recoveries, looked_at)
    networks = cut_in_steps(cutting, images, job)
    proven, said = shown(networks, images, None if no_timing else budgets, seed=seed)
    facts = {"output": output, "ratio": ratio, "layers": left.counts, **proven}
    say.result(facts, *said, progress.written(output, stamp))


def _opened(named: Named, data: str | None, asked: DataOptions) -> tuple[Checkpoint, Dataset]:
    """A network and its data, which are those that it was trained on last where none were given.

    Raises:
        DataError: None were given, and what it was trained on is not known or not here.
        CompressError: One of them cannot be opened, or they do not fit each other.
    """
    from cli import say
    from compress.errors import DataError
    from compress.header import read_card
    from compress.opening import open_pair, training_data

    known = None if data or named.arch else training_data(read_card(named.name)[0])
    if known is not None:
        say.notes([f"no --data was given: {known}, which {named.name} was trained on"])
    taken = data or known
    if taken is None:
        raise DataError(f"{named.name}: names no data that are on this machine; give those it was trained on: --data")
    return open_pair(named, taken, asked)


def _named(recover: str | None, epochs: int | None, knobs: list[str] | None) -> Method | None:
    """The method that was named, if any; the options of a recovery are refused where there is none."""
    from cli import parse
    from cli.typed import refuse
    from compress.recipes import for_recovery, read_method

    if recover is None and epochs is None:
        refuse(_OF_RECOVERY, "nothing is trained without --recover or --epochs; leave it out, or add --epochs 2")
    return for_recovery(read_method(recover, parse.read_settings(knobs))) if recover else None


def _usual(epochs: int | None, knobs: list[str] | None, task: str) -> Method | None:
    """What to recover with where epochs were given, but no method."""
    from cli import parse
    from compress.recipes import usual_recovery

    return None if epochs is None else usual_recovery(parse.read_settings(knobs), task=task)


def _recoveries(method: Method | None, fits: list[Fit], replayed: options.Replayed, *, fixed: bool) -> list[Recovery]:
    """One for each step of the cut; none without a method."""
    from cli import parse
    from compress.jobs import Recovery

    fits = [replace(parse.replaying(fit, replayed), fixed_statistics=fixed) for fit in fits]
    return [Recovery(method, fit) for fit in fits] if method else []


def _fixed(batch_norm: str | None, *, usual: bool) -> bool:
    """Whether the statistics of batch-norm stay in the recovery; PlanError for an unknown name."""
    from compress.errors import PlanError, unknown_name

    if batch_norm is not None and batch_norm not in STATISTICS:
        raise PlanError(unknown_name("--batch-norm", batch_norm, STATISTICS))
    return usual if batch_norm is None else batch_norm == "fixed"


def _shared(epochs: int | None, method: Method | None, before: Checkpoint, steps: int) -> list[int]:
    """The epochs of each step: alike, and to the last what is left over; PlanError where there are too few."""
    from compress.errors import PlanError

    if method is None:
        return []
    fewest = method.fewest_epochs(before.network)
    if epochs is None:
        return [fewest + 1] * steps
    if epochs < fewest * steps and steps > 1:
        raise PlanError(
            f"--epochs {epochs}: {steps} steps of at least {counted(fewest, 'epoch')} each take {fewest * steps}; "
            "give more, or fewer --steps"
        )
    each = epochs // steps
    return [*[each] * (steps - 1), epochs - each * (steps - 1)]


def _fitting(before: Checkpoint, found: Scored, budgets: list[Budget], command: str, timed: Measured) -> float:
    """The least ratio at which the network keeps to the budgets; of those of time that which was found first.

    Where there is none the result says how close it came.
    """
    from benchmarks.budget import BudgetError, fit_budgets
    from cli import say
    from compress.errors import PlanError
    from compress.smaller import cut_at

    def search() -> float:
        least = fit_budgets(lambda share: cut_at(before, found, share, command), before, budgets, say.line)
        if not least:
            told = " and ".join(one.words for one in budgets)
            raise PlanError(f"nothing has to be cut: the network has {told} already")
        return least

    by_time = any(one.quantity in ("latency", "speedup") for one in budgets)
    try:
        ratio: float = timed.once("ratio", search) if by_time else search()
    except BudgetError as error:
        asked = [one.to_dict() for one in budgets]
        say.result(
            {"output": None, "status": "not met", "budgets": asked, "not_met": error.facts, "reason": str(error)}
        )
        raise
    return ratio
