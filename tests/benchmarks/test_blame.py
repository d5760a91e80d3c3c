"""Which layers are to blame where fewer multiply-accumulates are not faster, and why."""

from __future__ import annotations

import pytest

from benchmarks.blame import MOST_BLAMED, blame
from benchmarks.measure.operators import Operation, Spent
from benchmarks.proof import prove
from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.cost import Product
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.pruning import Choice
from compress.smaller import cut


def _ran(layer: str, time_ms: float, width: int, operator: str = "Conv") -> Operation:
    return Operation(layer, operator, "CPUExecutionProvider", layer, width, time_ms)


def _depthwise(layer: str, width: int) -> Product:
    return Product(layer, 100 * width, (width, 1, 3, 3), groups=width)


def _dense(layer: str, inputs: int, outputs: int) -> Product:
    return Product(layer, 100 * inputs * outputs, (outputs, inputs, 1, 1))


BEFORE = Spent(
    (
        _ran("narrow", 1.0, 32),
        _ran("wide", 1.0, 64),
        _ran("deep", 1.0, 64),
        _ran("thin", 1.0, 32),
        _ran("fair", 1.0, 64),
        _ran("", 0.1, 0, "ReorderOutput"),
    ),
    (
        _dense("narrow", 16, 32),
        _dense("wide", 32, 64),
        _depthwise("deep", 64),
        _depthwise("thin", 32),
        _dense("fair", 64, 64),
    ),
)
AFTER = Spent(
    (
        _ran("narrow", 0.8, 32),
        _ran("wide", 0.85, 48),
        _ran("deep", 1.9, 0),
        _ran("thin", 0.9, 16),
        _ran("fair", 0.26, 32),
        *(_ran("", 0.2, 0, "ReorderOutput") for _ in range(2)),
    ),
    (
        _dense("narrow", 12, 20),
        _dense("wide", 20, 40),
        _depthwise("deep", 42),
        _depthwise("thin", 16),
        _dense("fair", 32, 32),
    ),
)


def test_the_layers_that_did_not_fall_as_their_macs_did_are_blamed_and_why() -> None:
    found = blame(BEFORE, AFTER)
    assert [(one.name, one.reason) for one in found] == [
        ("deep", "42 channels: no multiple of 4, so not computed on blocks that fill the vector unit"),
        ("wide", "40 channels are computed as 48, which fill the vector unit"),
        ("thin", "depthwise: its time goes into memory more than into MACs"),
        ("narrow", "reads 12 channels, too few for a block of 16"),
        ("ReorderOutput", "2 changes between layouts where there was 1"),
    ]
    worst = found[0]
    assert (worst.macs, worst.time_ms) == ((6400, 4200), (1.0, 1.9))
    assert worst.excess_ms == pytest.approx(1.9 - 42 / 64)
    assert [one.excess_ms for one in found[1:]] == pytest.approx([0.85 - 800 / 2048, 0.4, 0.8 - 240 / 512, 0.3])


@pytest.mark.parametrize(
    ("operator", "reason"),
    [("ReorderInput", "1 change between layouts where there were none"), ("Add", "1 operation of its own where")],
)
def test_one_operation_is_counted_as_one(operator: str, reason: str) -> None:
    found = blame(BEFORE, Spent((*BEFORE.operations, _ran("", 0.5, 0, operator)), BEFORE.products))
    assert [(one.name, one.reason[: len(reason)]) for one in found] == [(operator, reason)]


def test_nobody_is_blamed_for_what_explains_nothing() -> None:
    assert blame(BEFORE, BEFORE) == []
    assert len(blame(BEFORE, Spent((*AFTER.operations, _ran("", 9.0, 0, "Add")), AFTER.products))) == MOST_BLAMED


@pytest.mark.slow
def test_depthwise_layers_of_odd_widths_are_blamed_in_a_network_that_got_slower() -> None:
    """The runtime computes these outside its blocks of channels, several times as slowly as the wider ones before."""
    size = (64, 64)
    architecture = Architecture("mobilenet_v2", 4, 3, size)
    network = build(architecture, seed=0)
    network.model.eval()
    whole = Checkpoint(network, Card(architecture, Preprocessing(size, 3, (0.5,) * 3, (0.5,) * 3), tuple("abcd")))
    small = cut(whole, 0.3, "edgepress prune", choice=Choice(multiple=1))
    proof = prove(small, whole)
    assert proof.verdict.kind != "faster"
    assert proof.blamed[0].time_ms[1] > 2 * proof.blamed[0].time_ms[0]
    assert "67 channels: no multiple of 4" in {one.reason.partition(",")[0] for one in proof.blamed}
