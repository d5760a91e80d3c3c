"""What `prune` says of the networks on the way: what was won, what was not seen, what a recovery undid."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from benchmarks.measure.latency import Latency
from benchmarks.proof import Proof
from benchmarks.verdict import Ratio, Verdict
from cli.proven import shown, won
from compress.checkpoint import load
from compress.data import DataOptions
from compress.evidence import Record
from compress.models import build
from compress.opening import data_for

Run = Callable[[str, Path], Result]


@pytest.fixture(scope="module")
def folder(succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whole.safetensors, which knows the digits."""
    folder = tmp_path_factory.mktemp("proven")
    line = "train cnn-s --width 8 --depth 2 --data digits --epochs 3 --lr 1e-2 --batch-size 32 -o whole.safetensors"
    succeeds(line, folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "concludes"), [("faster", False), ("unsure", False), ("noisy", False), ("same", True), ("slower", True)]
)
def test_only_what_was_seen_not_to_be_faster_is_said_not_to_be(kind: str, concludes: bool) -> None:
    took = Latency(np.ones((2, 2, 2)), np.ones((2, 2)))
    proof = Proof((2, 1), (took, took), Ratio(2.0, 1.9, 2.1, 0.1), Verdict(kind, "as measured"))  # type: ignore[arg-type]
    said = won(proof, [Record("macs", 400)], [Record("macs", 100)])
    assert said.startswith(".onnx: as measured")
    assert ("4.00x fewer MACs did not make it faster" in said) == concludes


@pytest.mark.parametrize(("rate", "warned"), [("1", True), ("1e-6", False)])
def test_a_recovery_that_undoes_the_fit_is_warned_of(folder: Path, succeeds: Run, rate: str, warned: bool) -> None:
    line = f"prune whole.safetensors --ratio 0.25 --data digits --no-timing --epochs 1 --lr {rate}"
    said = succeeds(f"{line} -o taught.safetensors --force", folder).stderr
    told = r"top1 is [\d.]+ points \[.*\] less than as fitted; give more --epochs"
    assert (re.search(told, said) is not None) == warned


@pytest.mark.parametrize(("name", "warned"), [("fitted", True), ("fitted 2", True), ("cut", False)])
def test_a_fit_that_is_worse_than_the_cut_is_warned_of(
    folder: Path, name: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load(folder / "whole.safetensors")
    knows_nothing = replace(whole, network=build(whole.card.architecture, seed=1))
    images = data_for(whole.card, "digits", DataOptions())
    shown({"before": whole, name.replace("fitted", "cut"): whole, name: knows_nothing}, images, None, seed=0)
    said = capsys.readouterr().err
    told = rf"{name}: top1 is [\d.]+ points \[.*\] less than as cut; give --calibrate more images, or 0"
    assert (re.search(told, said) is not None) == warned


def test_a_network_of_retrieval_is_taught_by_its_embedding(folder: Path, succeeds: Run) -> None:
    few = "--data digits --fraction 0.1 --batch-size 32 --epochs 1"
    line = f"distill whole.safetensors --student cnn-s --width 4 --depth 2 --task retrieval --method pkt {few}"
    succeeds(f"{line} -o finds.safetensors", folder)
    line = f"prune finds.safetensors --ratio 0.5 --no-timing {few} --set beta=2"
    succeeds(f"{line} -o smaller.safetensors", folder)
    assert load(folder / "smaller.safetensors").card.lineage[-1]["phases"] == [["embedding", 1]]
