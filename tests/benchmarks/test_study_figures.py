"""The pictures of a study: which there are, and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.pages.figures import draw
from benchmarks.studies.summary import cells
from compress.errors import MissingExtraError
from compress.evidence import Record

pytestmark = pytest.mark.extra("plots", "matplotlib")


def _row(method: str, seed: int, *, fraction: float = 0.1, depth: int | None = None, ratio: float | None = None) -> Any:
    place = {"student": "cnn-s", "depth": depth, "fraction": fraction, "ratio": ratio, "method": method, "seed": seed}
    place |= {"name": f"{method}{fraction}{depth}{ratio}{seed}", "task": "", "epochs": 4, "control": "", "reason": ""}
    known = [Record("top1", 0.5 + fraction / 4 + seed / 100), Record("parameters", 1000 * (depth or 1))]
    return place | {"records": [one.to_dict() for one in known]}


def _study(rows: list[Any]) -> dict[str, Any]:
    return {"summary": cells(rows, "base"), "rows": rows, "baseline": "base", "task": ""}


def _epochs(*phases: str) -> list[dict[str, Any]]:
    return [
        {"phase": name, "epoch": number, "losses": {"mse": 1 / number}} for number, name in enumerate(phases, start=1)
    ]


def _drawn(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths if path.suffix == ".svg"]


def test_what_is_varied_is_drawn_against(tmp_path: Path) -> None:
    rows = [_row(method, seed, fraction=share) for method in ("base", "pkt") for share in (0.1, 0.2) for seed in (0, 1)]
    written = draw(_study(rows), {}, tmp_path / "figures")
    assert _drawn(written) == ["methods", "fraction"]
    assert all(path.is_file() for path in written)
    text = (tmp_path / "figures" / "fraction.svg").read_text("utf-8")
    for said in ("base", "pkt", "share of the training images, %", "top-1, %"):
        assert said in text


def test_depth_rate_and_size(tmp_path: Path) -> None:
    rows = [_row("base", 0, depth=depth) for depth in (2, 3)]
    rows += [_row("indistill", 0, depth=depth, ratio=ratio) for depth in (2, 3) for ratio in (0.5, 0.75)]
    assert _drawn(draw(_study(rows), {}, tmp_path)) == ["methods", "ratio", "depth", "parameters"]


def test_phases_are_marked_by_their_names(tmp_path: Path) -> None:
    rows = [_row("base", 0), _row("stages", 0)]
    curves = {rows[0]["name"]: _epochs("task", "task"), rows[1]["name"]: _epochs("stem", "layer1", "layer1", "head")}
    assert _drawn(draw(_study(rows), curves, tmp_path)) == ["methods", "losses-cnn-s-f0.1"]
    text = (tmp_path / "losses-cnn-s-f0.1.svg").read_text("utf-8")
    assert all(name in text for name in ("stem", "layer1", "head", "epoch"))


def test_drawing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    study = _study([_row("base", 0), _row("pkt", 0)])
    first, second = ([path.read_bytes() for path in draw(study, {}, tmp_path)] for _ in range(2))
    assert first == second


def test_without_matplotlib_the_message_says_how_to_install_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgepress\[plots\]'"):
        draw(_study([_row("base", 0)]), {}, tmp_path)
