"""The pictures of a study: its methods side by side, its losses by phase, its scores against what was varied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pages.curves import Curves, losses_figure
from benchmarks.pages.look import COLOURS, GREY, LEGEND_LETTERS, MARKERS, Look, new_panels, write_pictures
from benchmarks.pages.words import amount
from benchmarks.studies.table import METRICS, about

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmarks.pages.look import Panels

VARIED = {
    "fraction": "share of the training images, %",
    "ratio": "share of the auxiliary's filters dropped, %",
    "depth": "depth, blocks",
    "size": "checkpoint on disk",
    "parameters": "parameters",
}
SHARES = ("fraction", "ratio")
RATIO = ", ratio "  # between a method and its ratio
DASHES = ("-", "--", ":", "-.")

Cell = Mapping[str, Any]
Document = Mapping[str, Any]


def draw(document: Document, curves: Curves, folder: Path) -> list[Path]:
    """The files of all pictures that a study has something to show in, as PNG and SVG; older ones are replaced.

    Args:
        document: Of a study.
        curves: Run to the records of its epochs.
        folder: Where they go; made where there is none.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return write_pictures(_figures(document, curves), folder)


def _figures(document: Document, curves: Curves) -> Iterable[tuple[str, Figure]]:
    cells = [cell for cell in document["summary"] if cell["scores"]]
    scores = about(document)
    if not cells or not scores:
        return
    looks = _looks(document)
    yield "methods", _methods(document, cells, scores, looks)
    for name in VARIED:
        panels = _panels(cells, scores, name)
        if panels:
            yield name, _against(name, panels, looks)
    for (student, fraction, depth), names in _runs(document, curves).items():
        deep = "" if depth is None else f"-d{depth}"
        about_it = f"losses-{Path(student).stem}{deep}-f{fraction}"
        seen = {label: looks[_method_of(label)] for label in names}
        yield about_it, losses_figure(names, curves, seen, f"{student}{deep}, {100 * fraction:g} % of the data")


def _looks(document: Document) -> dict[str, Look]:
    """Method to its look, in the order of the table; the baseline is grey, a control is it, dashed."""
    found, number = {}, 0
    for cell in document["summary"]:
        label = _label(cell)
        if label in found:
            continue
        if cell["method"] == document["baseline"]:
            found[label] = Look(GREY, "o", dashed=bool(cell["control"]))
        else:
            turn = number // len(COLOURS)
            found[label] = Look(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], dashed=turn % 2 == 1)
            number += 1
    return found


def _label(cell: Cell) -> str:
    return f"{cell['method']}, {cell['epochs']} epochs" if cell["control"] else str(cell["method"])


# the methods side by side


def _methods(document: Document, cells: Sequence[Cell], scores: Sequence[str], looks: Mapping[str, Look]) -> Figure:
    """A row for each place of the grid: every seed a dot, their mean a line across them."""
    heights = _heights(cells)
    figure, panels = new_panels(1, len(scores), 0.9 + 0.24 * heights[-1], sharey=True)
    for axes, score in zip(panels, scores, strict=True):
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{METRICS.get(score, score)}, %")
        for number, cell in zip(heights, cells, strict=True):
            look, values = looks[_label(cell)], _values(document, cell, score)
            axes.plot(values, [number] * len(values), "o", color=look.colour, alpha=0.6, markeredgewidth=0)
            if values:
                mean = sum(values) / len(values)
                axes.plot([mean, mean], [number - 0.3, number + 0.3], color=look.colour, linewidth=2)
                axes.annotate(
                    f"{mean:.2f}", (max(values), number), xytext=(6, 0), textcoords="offset points", va="center"
                )
        axes.margins(x=0.2)
    varied = [key for key in ("student", "depth", "fraction", "ratio") if len({cell[key] for cell in cells}) > 1]
    panels[0].set_yticks(heights, [_name(cell, varied) for cell in cells])
    panels[0].invert_yaxis()
    return figure


def _heights(cells: Sequence[Cell]) -> list[float]:
    """Where each row stands: those of one student, depth and fraction close together."""
    found = [0.0]
    for before, cell in pairwise(cells):
        same = all(before[key] == cell[key] for key in ("student", "depth", "fraction"))
        found.append(found[-1] + (1.0 if same else 1.6))
    return found


def _name(cell: Cell, varied: Sequence[str]) -> str:
    words = {"depth": "depth {}", "ratio": "ratio {:g}"}
    shown = {key: 100 * cell[key] if key == "fraction" else cell[key] for key in varied if cell[key] is not None}
    places = [words.get(key, "{:g} %" if key == "fraction" else "{}").format(value) for key, value in shown.items()]
    return ", ".join([_label(cell), *places])


def _values(document: Document, cell: Cell, score: str) -> list[float]:
    """The score of every seed of a cell, in percent."""
    keys = ("student", "depth", "fraction", "method", "ratio", "epochs")
    rows = [row for row in document["rows"] if not row["reason"] and all(row[key] == cell[key] for key in keys)]
    records = (record for row in rows for record in row["records"])
    return [100 * record["value"] for record in records if record["quantity"] == score]


# a score against what was varied


def _panels(cells: Sequence[Cell], scores: Sequence[str], name: str) -> list[tuple[str, str, list[Cell]]]:
    """(title, score, cells) for each picture of a score against one thing, all else but the ratio being equal."""
    others = [key for key in ("student", "depth", "fraction") if key != name]
    if name == "size":
        cells, others = _sized(cells), ["fraction"]
    if name == "parameters":  # where no size is known
        cells, others = [cell for cell in cells if cell["size_bytes"] is None], ["fraction"]
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        if cell.get(name) is not None or name == "ratio":
            groups.setdefault(tuple(cell[key] for key in others), []).append(cell)
    told = [key for number, key in enumerate(others) if len({place[number] for place in groups}) > 1]
    counted = "parameters" if name == "size" else name
    return [
        (_title(dict(zip(others, place, strict=True)), told), score, group)
        for place, group in groups.items()
        if len({cell[counted] for cell in group} - {None}) > 1
        for score in scores
    ]


def _sized(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with the size in bytes of their checkpoint's file: the same for all of as many parameters.

    Files of one network differ in a few bytes, those of the words that made them.
    """
    sizes: dict[float, float] = {}
    for cell in cells:
        if cell["parameters"] is not None and cell["size_bytes"] is not None:
            sizes.setdefault(cell["parameters"], cell["size_bytes"])
    return [{**cell, "size": sizes.get(cell["parameters"])} for cell in cells]


def _title(place: Mapping[str, Any], told: Sequence[str]) -> str:
    words = {"student": "{}", "depth": "depth {}", "fraction": "{} of the data"}
    shown = {key: f"{100 * place[key]:g} %" if key == "fraction" else place[key] for key in told}
    return ", ".join(words[key].format(value) for key, value in shown.items() if value is not None)


def _against(name: str, panels: Sequence[tuple[str, str, list[Cell]]], looks: Mapping[str, Look]) -> Figure:
    """A panel for each: a line for each method, with the standard deviation over the seeds."""
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    alike = len({score for _, score, _ in panels}) == 1
    figure, axes_of = new_panels(rows, columns, 2.9 * rows if columns > 1 else 3.4, sharey=alike)
    for axes, (title, score, cells) in zip(axes_of, panels, strict=False):
        axes.set_title(title)
        axes.set_xlabel(VARIED[name])
        axes.set_ylabel(f"{METRICS.get(score, score)}, %")
        if name in ("fraction", "size", "parameters"):
            axes.set_xscale("log")
        ends, ticks = [], sorted({_place(name, cell) for cell in cells if cell[name] is not None})
        for label, line in _lines(name, score, cells, ticks).items():
            at, mean, sd = zip(*line, strict=True)
            axes.errorbar(at, mean, yerr=sd, **_drawn_as(label, looks, cells), label=label)
            ends.append((mean[-1], at[-1], label, looks[_method_of(label)].colour))
        _set_ticks(axes, name, ticks)
        if columns == 1:
            _name_ends(axes, ends)
    for axes in axes_of[len(panels) :]:
        axes.set_visible(False)
    if columns > 1:
        _name_below(figure, axes_of[: len(panels)])
    return figure


def _name_below(figure: Figure, panels: Panels) -> None:
    """The names of the lines of all panels, each once, below them."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    longest = max(map(len, handles))
    columns = max(1, min(len(handles), int(LEGEND_LETTERS / (longest + 6))))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=columns, frameon=False)


def _set_ticks(axes: Axes, name: str, values: Sequence[float]) -> None:
    """A tick at each of the values, but for those that would stand in the way of the one before."""
    axes.minorticks_off()
    scale = math.log if axes.get_xscale() == "log" else float
    least = 0.09 * (scale(values[-1]) - scale(values[0]))
    kept: list[float] = []
    for value in values:
        if not kept or scale(value) - scale(kept[-1]) >= least:
            kept.append(value)
    axes.set_xticks(kept, [_amount(name, value) for value in kept])


def _amount(name: str, value: float) -> str:
    if name in ("size", "parameters"):
        return amount(value, "B" if name == "size" else "")
    return f"{value:g}"


def _place(name: str, cell: Cell) -> float:
    return float(100 * cell[name] if name in SHARES else cell[name])


def _lines(
    name: str, score: str, cells: Sequence[Cell], ticks: Sequence[float]
) -> dict[str, list[tuple[float, float, float]]]:
    """Method to (what was varied, mean, standard deviation) in percent, in order.

    One that has an auxiliary is a line for each ratio; against the ratio, one that has none is level.
    """
    several = name != "ratio" and len({cell["ratio"] for cell in cells} - {None}) > 1
    found: dict[str, list[tuple[float, float, float]]] = {}
    for cell in cells:
        spread = cell["scores"].get(score)
        if spread is not None:
            of = f"{RATIO}{cell['ratio']:g}" if several and cell["ratio"] is not None else ""
            places = ticks if cell[name] is None else [_place(name, cell)]
            points = [(at, 100 * spread["mean"], 100 * (spread["sd"] or 0.0)) for at in places]
            found.setdefault(_label(cell) + of, []).extend(points)
    return {label: sorted(points) for label, points in found.items()}


def _method_of(label: str) -> str:
    return label.partition(RATIO)[0]


def _drawn_as(label: str, looks: Mapping[str, Look], cells: Sequence[Cell]) -> dict[str, Any]:
    """How a line is drawn: in its method's colour, dashed by its ratio where it is of one."""
    look, ratio = looks[_method_of(label)], label.partition(RATIO)[2]
    ratios = sorted({cell["ratio"] for cell in cells} - {None})
    dashes = DASHES[[f"{one:g}" for one in ratios].index(ratio) % len(DASHES)] if ratio else look.line
    return {"color": look.colour, "marker": look.marker, "linestyle": dashes, "capsize": 2}


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Each line's name at its end, none over another and none above the panel."""
    axes.margins(x=0.08)
    low, high = axes.get_ylim()
    step = 0.062 * (high - low)
    heights: list[float] = []
    for height, *_ in sorted(ends):
        heights.append(max(height, heights[-1] + step) if heights else height)
    ceiling = high
    for number in reversed(range(len(heights))):
        heights[number] = min(heights[number], ceiling)
        ceiling = heights[number] - step
    for placed, (_, at, label, colour) in zip(heights, sorted(ends), strict=True):
        beside: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(label, (at, placed), **beside, color=colour, va="center")


# losses by phase


def _runs(document: Document, curves: Curves) -> dict[tuple[str, float, int | None], dict[str, list[str]]]:
    """(student, fraction, depth) to method to the names of its runs that say how their epochs went."""
    found: dict[tuple[str, float, int | None], dict[str, list[str]]] = {}
    for row in document["rows"]:
        if curves.get(row["name"]):
            ratio = "" if row["ratio"] is None else f"{RATIO}{row['ratio']:g}"
            place = found.setdefault((row["student"], row["fraction"], row["depth"]), {})
            place.setdefault(_label(row) + ratio, []).append(row["name"])
    return found
