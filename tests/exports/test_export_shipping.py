from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.errors import ExportError, GateError, OutputError
from exports import FORMATS, Artefact, Format, Settings, ship, to_onnx
from exports.graph.census import graph_census
from exports.graph.compared import differences
from exports.run_onnx import read


def write_parts(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
    """A made-up format: a folder of two files, one of them an .onnx."""
    path.mkdir()
    (path / "readme").write_text("two parts")
    to_onnx.write(checkpoint, path / "graph.onnx", settings)


def read_parts(path: Path, *, threads: int = 1, sealed: bool = True) -> Artefact:
    if (path / "readme").read_text() != "two parts":
        raise ExportError(f"{path}: is damaged")
    return replace(read(path / "graph.onnx", threads=threads, sealed=sealed), path=path)


_RUN_HERE = [
    pytest.param(suffix, marks=[pytest.mark.extra(form.extra, *form.modules)] if form.extra else [])
    for suffix, form in FORMATS.items()
    if not form.unverified
]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    form = Format("Parts", "ONNX Runtime", write_parts, read_parts, differences, graph_census, folder=True)
    monkeypatch.setitem(FORMATS, ".parts", form)  # type: ignore[arg-type]


@pytest.mark.usefixtures("parts")
def test_a_folder_is_shipped_as_a_file_is(checkpoint: Checkpoint, images: Tensor, tmp_path: Path) -> None:
    target = tmp_path / "student.parts"
    shipped = ship(checkpoint, target, images.split(65))
    assert shipped.parity.samples == 130
    assert shipped.artefact.path == target
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["graph.onnx", "readme", "student.parts"]
    with torch.no_grad():
        assert torch.allclose(shipped.artefact(images), checkpoint.network.model(images), atol=1e-5)
    with pytest.raises(OutputError, match="--force"):
        ship(checkpoint, target, [images])
    ship(checkpoint, target, [images[:1]], force=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["graph.onnx", "readme", "student.parts"]


@pytest.mark.parametrize("suffix", [*_RUN_HERE, ".parts"])
@pytest.mark.usefixtures("parts")
def test_nothing_is_left_of_what_fails(checkpoint: Checkpoint, images: Tensor, tmp_path: Path, suffix: str) -> None:
    def interrupted() -> Iterator[Tensor]:
        yield images[:1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ship(checkpoint, tmp_path / f"student{suffix}", interrupted())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(GateError, match=rf"{tmp_path}/student{suffix}: the network it comes from: .* NaN"):
        ship(checkpoint, tmp_path / f"student{suffix}", [images * torch.nan])
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_back_is_not_shipped(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
        to_onnx.write(checkpoint, path, settings)
        path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setitem(FORMATS, ".onnx", replace(FORMATS[".onnx"], write=torn))  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="damaged"):
        ship(checkpoint, tmp_path / "student.onnx", [images])
    assert list(tmp_path.iterdir()) == []


def test_two_exports_of_one_file_do_not_meet(checkpoint: Checkpoint, images: Tensor, tmp_path: Path) -> None:
    target = tmp_path / "student.onnx"
    hold = "import sys; from pathlib import Path; from compress.files import exclusive\n"
    hold += "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(target)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=str(other.pid)):
            ship(checkpoint, target, [images])
        other.communicate("")
    assert ship(checkpoint, str(target), [images]).artefact.path == target
    assert list(tmp_path.iterdir()) == [target]
