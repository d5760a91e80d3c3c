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


def _row(
    method: str,
    seed: int,
    *,
    fraction: float = 0.1,
    depth: int | None = None,
    ratio: float | None = None,
    sized: bool = True,
) -> Any:
    place = {"student": "cnn-s", "depth": depth, "fraction": fraction, "ratio": ratio, "method": method, "seed": seed}
    place |= {"name": f"{method}{fraction}{depth}{ratio}{seed}", "task": "", "epochs": 4, "control": "", "reason": ""}
    parameters = 1000 * (depth or 1)
    known = [Record("top1", 0.5 + fraction / 4 + seed / 100), Record("parameters", parameters)]
    known += [Record("size_bytes", 4 * parameters + len(method))] if sized else []
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
    assert _drawn(draw(_study(rows), {}, tmp_path)) == ["methods", "ratio", "depth", "size"]
    text = (tmp_path / "size.svg").read_text("utf-8")
    assert all(said in text for said in ("checkpoint on disk", "8 kB", "12 kB"))


def test_methods_without_an_auxiliary_are_beside_each_ratio(tmp_path: Path) -> None:
    rows = [_row("base", 0, depth=depth) for depth in (2, 3)]
    rows += [_row("indistill", 0, depth=depth, ratio=ratio) for depth in (2, 3) for ratio in (0.5, 0.75)]
    draw(_study(rows), {}, tmp_path)
    by_ratio = (tmp_path / "ratio.svg").read_text("utf-8")
    assert all(by_ratio.count(f">{said}<") == 1 for said in ("base", "indistill", "depth 2", "depth 3"))
    by_depth = (tmp_path / "depth.svg").read_text("utf-8")
    names = ("base", "indistill, ratio 0.5", "indistill, ratio 0.75", "depth, blocks")
    assert all(by_depth.count(f">{said}<") == 1 for said in names)


def test_parameters_stand_in_for_a_size_that_is_not_known(tmp_path: Path) -> None:
    rows = [_row("base", 0, depth=depth, sized=False) for depth in (2, 3)]
    assert _drawn(draw(_study(rows), {}, tmp_path)) == ["methods", "depth", "parameters"]
    text = (tmp_path / "parameters.svg").read_text("utf-8")
    assert all(said in text for said in ("parameters", "2 k", "3 k"))


def test_files_of_one_network_have_one_size(tmp_path: Path) -> None:
    """They differ by what is written of how they were made, which is no picture."""
    assert _drawn(draw(_study([_row("base", 0), _row("indistill", 0)]), {}, tmp_path)) == ["methods"]


def test_every_line_is_named_though_they_end_at_the_top(tmp_path: Path) -> None:
    methods = ("base", "pkt", "okd", "attention", "fsp")
    draw(_study([_row(method, 0, fraction=share) for method in methods for share in (0.1, 0.2)]), {}, tmp_path)
    text = (tmp_path / "fraction.svg").read_text("utf-8")
    assert all(f">{method}<" in text for method in methods)


def test_epochs_that_are_a_phase_each_for_a_new_optimizer_are_one(tmp_path: Path) -> None:
    row = _row("indistill", 0)
    draw(_study([row]), {row["name"]: _epochs("map1.1", "map1.2", "embedding.1", "embedding.2")}, tmp_path)
    text = (tmp_path / "losses-cnn-s-f0.1.svg").read_text("utf-8")
    assert [text.count(name) for name in (">map1<", ">embedding<", "map1.1")] == [1, 1, 0]


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
