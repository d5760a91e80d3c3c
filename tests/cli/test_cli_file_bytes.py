"""`edgepress inspect --bytes`, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from cli.main import app

Run = Callable[[str, Path], Result]


@pytest.mark.parametrize(("name", "rows"), [("student.onnx", "nodes"), ("student.safetensors", "modules")])
def test_the_sum_is_the_size_of_the_file(workshop: Path, succeeds: Run, name: str, rows: str) -> None:
    facts = json.loads(succeeds(f"inspect {name} --bytes --json", workshop).stdout)
    assert sum(row["size_bytes"] for row in facts[rows]) + sum(facts["rest"].values()) == facts["size_bytes"]
    assert facts["size_bytes"] == (workshop / name).stat().st_size
    for row in facts[rows]:
        tensors = row["tensors"].values() if rows == "modules" else row["tensors"]
        assert row["size_bytes"] == sum(tensor["size_bytes"] for tensor in tensors)
        assert row["share"] == row["size_bytes"] / facts["size_bytes"]


@pytest.mark.parametrize("name", ["student.onnx", "student.safetensors"])
def test_nothing_is_cut_off_where_the_terminal_is_narrow(workshop: Path, succeeds: Run, name: str) -> None:
    facts = json.loads(succeeds(f"inspect {name} --bytes --json", workshop).stdout)
    words = ["inspect", str(workshop / name), "--bytes"]
    shown = CliRunner().invoke(app, words, env={"COLUMNS": "60"}).stdout
    assert max(map(len, shown.splitlines())) <= 60
    assert "\u2026" not in shown
    heads = ("operator", "output", "stored", "runs in", "bytes", "share") if "nodes" in facts else ("module", "stored")
    for text in (*heads, *facts["rest"], f"{facts['size_bytes']:,}"):
        assert text in shown
    for row in facts.get("nodes", facts.get("modules")):
        assert row.get("operator", row.get("module")) in shown
        assert not row["size_bytes"] or f" {row['size_bytes']:,} " in shown


def test_what_would_be_ignored_or_cannot_be_counted_is_refused(workshop: Path, refused: Callable[..., str]) -> None:
    refused("inspect student.onnx --bytes --arch cnn-s", workshop, "--arch: --bytes counts a file without its network")
    torch.save({}, workshop / "plain.pt")
    refused("inspect plain.pt --bytes", workshop, "plain.pt: --bytes counts .onnx and .safetensors files")
    refused("inspect gone.onnx --bytes", workshop, "gone.onnx does not exist")
