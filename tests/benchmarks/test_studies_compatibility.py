"""The page of formats: what a run writes, and what it keeps of the runs before."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.studies import compatibility
from benchmarks.studies.compatibility import PRECISIONS, Row, main, markdown, rows_of
from benchmarks.studies.table import section_of, write_section
from compress.errors import DataError
from exports import CORE, FORMATS


def row(first: int) -> Row:
    """A cell of another size for every format and precision, one of them refused and one doubted."""
    places = [(precision, suffix) for suffix in FORMATS for precision in PRECISIONS]
    made: Row = {place: (first + 1_000 * number, "") for number, place in enumerate(places)}
    return {**made, ("w2", ".tflite"): (0, "no (2) | such type; take w8"), ("fp32", ".onnx"): (first, "a doubt")}


def test_what_a_page_says_is_read_as_it_was_written() -> None:
    found = {"torchvision:mobilenet_v2": row(7), "cnn-s": row(1_000_000)}
    assert rows_of(markdown(found)) == found
    assert list(rows_of(markdown(found))) == ["cnn-s", "torchvision:mobilenet_v2"]
    assert rows_of("") == {}


def test_what_was_never_tried_stays_open() -> None:
    found: dict[str, Row] = {"cnn-s": {("fp32", ".onnx"): (61_854, "")}}
    assert "| cnn-s | ONNX | 61,854 | – |" in markdown(found)
    assert rows_of(markdown(found)) == found


def test_a_run_replaces_the_rows_of_its_networks_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the formats of the core and two precisions, for the others take long."""
    monkeypatch.setattr(compatibility, "FORMATS", {suffix: FORMATS[suffix] for suffix in CORE})
    app, page = typer.Typer(), tmp_path / "formats.md"
    app.command()(main)
    old: Row = {("fp32", ".onnx"): (61_854, ""), ("w8", ".onnx"): (1, "old")}
    before: dict[str, Row] = {"cnn-s": old, "resnet18": {("w8", ".tflite"): (9, "")}}
    write_section(page, markdown(before), title="Formats")
    page.write_text(page.read_text(encoding="utf-8") + "\nProse.\n", encoding="utf-8")
    command = [str(page), "--only", "cnn-s", "--precision", "w8", "--precision", "static"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    after = rows_of(section_of(page))
    assert after["resnet18"] == before["resnet18"]
    sizes = {place: size for place, (size, _) in after["cnn-s"].items()}
    assert len(sizes) == 5
    assert all(17_000 < size < 66_000 for size in sizes.values())
    assert sizes["fp32", ".onnx"] == 61_854 > sizes["static", ".onnx"] > sizes["w8", ".onnx"]
    assert page.read_text(encoding="utf-8").endswith("\nProse.\n")


def test_an_unknown_name_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown --only 'resnet81'\. Did you mean 'resnet18'"):
        main(tmp_path / "formats.md", ["cnn-s", "resnet81"])
    with pytest.raises(DataError, match=r"unknown --precision 'w9'\. Did you mean 'w8'"):
        main(tmp_path / "formats.md", precision=["w9"])
    assert list(tmp_path.iterdir()) == []
