"""What `edgepress prune` has to show: every network on the way before the next, in one table and as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from benchmarks.proof import Proof
    from cli.budgets import Budgets
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.evidence import Record

UNDONE = (
    ("fitted", "cut", "give --calibrate more images, or 0 to fit nothing"),
    ("recovered", "fitted", "give more --epochs, a lower --lr such as 1e-4, or neither --epochs nor --recover"),
)

Told = Mapping[str, list["Record"]]  # name of the network to its records


def shown(
    networks: Mapping[str, Checkpoint], images: Dataset, budgets: Budgets | None, *, seed: int
) -> tuple[dict[str, Any], list[str | Table]]:
    """`networks` and `blamed` for --json, and what is said: the table, and what the smaller file has won.

    Args:
        networks: By name, the whole one first and the one that was written last.
        images: To score them on.
        budgets: That the last one was cut to; None times nothing.
        seed: Of the cut.
    """
    from cli import blamed, parse

    records = {name: _counted(one, images) for name, one in networks.items()}
    first, *_, last = networks
    blame: list[dict[str, Any]] = []
    lines: list[str | Table] = []
    if budgets is not None:
        from benchmarks.proof import prove

        proof = prove(networks[last], networks[first])
        _warn_of_time(proof, budgets)
        records[first] += proof.before()
        records[last] += proof.after()
        blame, lines = blamed.facts(proof.blamed), [won(proof, records[first], records[last])]
        lines += blamed.drawn(proof.blamed)
    _warn_of_loss(records, networks, images)
    facts = {name: parse.stamped(_about(networks[name], found, seed)) for name, found in records.items()}
    return {"networks": facts, "blamed": blame}, [_table(records), *lines]


def _counted(checkpoint: Checkpoint, images: Dataset) -> list[Record]:
    """Parameters, multiply-accumulates, the metrics of its task and the bytes of its weights."""
    from compress.cost import network_census
    from compress.evidence import Record, metric_records
    from compress.tasks import TASKS

    cost = network_census(checkpoint.network, checkpoint.card.preprocessing.shape)
    metrics = TASKS[checkpoint.card.task].evaluate(checkpoint.network, images)
    return [
        Record("parameters", cost.parameters),
        Record("macs", cost.macs),
        Record("weights", cost.weight_bytes, unit="bytes"),
        *metric_records(metrics, len(images.test)),
    ]


def _about(checkpoint: Checkpoint, records: list[Record], seed: int) -> list[Record]:
    from compress.evidence import weights_digest

    digest = weights_digest(checkpoint.network.model)
    return [replace(record, sha256=digest, seed=seed) for record in records]


def _table(told: Told) -> Table:
    """A line for each network; what was measured of none of them has no column."""
    from cli import say

    metric = next(one.quantity for one in next(iter(told.values())) if one.unit == "share")
    columns = {
        "parameters": ("parameters", "{:,}", 1),
        "macs": ("MACs", "{:,}", 1),
        "weights": ("weights, B", "{:,}", 1),
        "size": (".onnx, B", "{:,}", 1),
        "latency": ("ms", "{:.4g}", 1),
        metric: (f"{metric} %", "{:.2f}", 100),
    }
    values = {name: {one.quantity: one.value for one in records} for name, records in told.items()}
    used = [quantity for quantity in columns if any(quantity in found for found in values.values())]
    rows = [
        (name, *(_cell(found.get(quantity), *columns[quantity][1:]) for quantity in used))
        for name, found in values.items()
    ]
    return say.numbers(("", *(columns[quantity][0] for quantity in used)), rows)


def _cell(value: float | str | None, form: str, factor: int) -> str:
    return "" if value is None else form.format(factor * value)


def _warn_of_loss(told: Told, networks: Mapping[str, Checkpoint], images: Dataset) -> None:
    """Say where a step has undone what the one before it had left or won, by more than chance explains."""
    from cli import say

    scores = {name: next(one for one in records if one.unit == "share") for name, records in told.items()}
    for name, left in scores.items():
        for done, before, advice in UNDONE:
            earlier = name.replace(done, before)
            if earlier == name or earlier not in scores:
                continue
            if lost := _lost((scores[earlier], networks[earlier]), (left, networks[name]), images):
                say.warning(f"{name}: {left.quantity} is {lost} less than as {before}; {advice}")


def _lost(before: tuple[Record, Checkpoint], after: tuple[Record, Checkpoint], images: Dataset) -> str:
    """How many points the second network has less than the first on the same images; "" where that may be chance."""
    from compress.tasks import TASKS
    from exports.effect import effect

    (was, one), (left, other) = before, after
    points = 100 * (float(was.value or 0) - float(left.value or 0))
    if points <= 0:
        return ""
    ends = effect(one.network, other.network, TASKS[other.card.task], images).drop_interval
    if ends is None:
        apart = left.high is not None and was.low is not None and left.high < was.low
        return f"{points:.2f} points" if apart else ""
    return f"{points:.2f} points [{ends[0]:.2f}, {ends[1]:.2f}]" if ends[0] > 0 else ""


def _warn_of_time(proof: Proof, budgets: Budgets) -> None:
    """Say where a bound of time that held during the search no longer does."""
    from cli import say

    advice = "measured once more; the bound is close, or the machine is busy: give a tighter one, or try again at rest"
    took, gained = proof.latency_ms[1], proof.ratio.low
    if budgets.max_latency is not None and took > budgets.max_latency:
        say.warning(f"--max-latency {budgets.max_latency:g} ms: it takes {took:.4g} ms, {advice}")
    if budgets.min_speedup is not None and gained < budgets.min_speedup:
        say.warning(f"--min-speedup {budgets.min_speedup:g}: it is {gained:.3g}x at least, {advice}")


def won(proof: Proof, before: list[Record], after: list[Record]) -> str:
    """How the two files compare, and a word where it was seen that fewer operations do not make it faster.

    Args:
        proof: What was measured.
        before: Records of the network before, its "macs" among them.
        after: The same of the network after.
    """
    said = f".onnx: {proof.verdict.words}"
    if not proof.gained_nothing:
        return said
    first, last = (next(one.value for one in records if one.quantity == "macs") for records in (before, after))
    assert isinstance(first, int)
    assert isinstance(last, int)
    return f"{said}; {first / last:.2f}x fewer MACs did not make it faster"
