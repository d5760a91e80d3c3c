"""Published values: for which rows they stand, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.published import published_for, read_published, sources
from compress.errors import DataError
from compress.models import MODELS
from compress.recipes import RECIPES

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
ENTRIES: list[dict[str, Any]] = [
    {"method": "pkt", "scores": {"top1": 0.9}, "source": "Table 1"},
    {"method": "pkt", "fraction": 0.1, "scores": {"top1": 0.8}, "source": "Table 1"},
    {"method": "no_teacher", "scores": {"top1": 0.7}},
    {"method": "no_teacher", "epochs": 60, "scores": {"top1": 0.75}, "source": "Table 3"},
]


def _cell(method: str, *, fraction: float = 1.0, epochs: int = 10, control: str = "") -> dict[str, Any]:
    place = {"student": "cnn-s", "depth": None, "fraction": fraction, "method": method, "task": "classification"}
    return {**place, "ratio": None, "epochs": epochs, "control": control}


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (_cell("pkt"), {"top1": 0.9}),
        (_cell("pkt", fraction=0.1), {"top1": 0.8}),
        (_cell("okd"), {}),
        (_cell("no_teacher"), {"top1": 0.7}),
        (_cell("no_teacher", epochs=60, control="pkt"), {"top1": 0.75}),
        (_cell("no_teacher", epochs=40, control="okd"), {}),
    ],
)
def test_a_value_stands_for_the_rows_that_agree(cell: dict[str, Any], value: dict[str, float]) -> None:
    assert published_for(cell, ENTRIES) == value


def test_sources_are_named_once() -> None:
    assert sources(ENTRIES) == ["Table 1", "Table 3"]


def test_a_file_gives_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "paper.json"
    path.write_text(json.dumps(ENTRIES), encoding="utf-8")
    assert read_published(path) == ENTRIES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("{}", "are a dict; give a list"),
        ('[{"method": "pkt"}]', "published value 1 has no scores"),
        ('[{"methods": "pkt", "scores": {"top1": 0.9}}]', "has methods; it may have student, depth"),
        ('[{"scores": {"top1": 90}}]', r"top1 is 90; scores are fractions in \[0, 1\]"),
        (None, "is not a file"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "paper.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"paper.json.*{said}"):
        read_published(path)


@pytest.mark.parametrize("path", sorted((RESULTS / "papers").glob("*.json")), ids=lambda path: path.stem)
def test_the_papers_tables_are_published_values_of_methods_that_there_are(path: Path) -> None:
    entries = read_published(path)
    assert len(entries) >= 100
    assert {entry["method"] for entry in entries} <= set(RECIPES)
    assert {entry["student"] for entry in entries} <= set(MODELS)
    assert all(0 < value < 1 for entry in entries for value in entry["scores"].values())
