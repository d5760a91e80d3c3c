"""The pictures of a study: its methods side by side, its losses by phase, its scores against what was varied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.studies.table import METRICS, about
from compress.errors import MissingExtraError
from compress.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Panels = Sequence[Axes]

FORMATS = ("png", "svg")
WIDTH = 7.2  # inches: the width of a page
DOTS = 160  # an inch
# Okabe and Ito's colours, which are told apart whatever eyes one has, without their yellow; the baseline is grey
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "edgepress",
}
VARIED = {
    "fraction": "share of the training images, %",
    "ratio": "share of the auxiliary's filters dropped, %",
    "depth": "depth, blocks",
    "parameters": "parameters",
}
SHARES = ("fraction", "ratio")

Cell = Mapping[str, Any]
Document = Mapping[str, Any]
Curves = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Look:
    """How a method looks in every picture of a study."""

    colour: str
    marker: str
    dashed: bool

    @property
    def line(self) -> str:
        """Its line style."""
        return "--" if self.dashed else "-"


def draw(document: Document, curves: Curves, folder: Path) -> list[Path]:
    """The files of all pictures that a study has something to show in, as PNG and SVG; older ones are replaced.

    Args:
        document: Of a study.
        curves: Run to the records of its epochs.
        folder: Where they go; made where there is none.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError("pictures need matplotlib: pip install 'edgepress[plots]'") from error
    folder.mkdir(exist_ok=True)
    written: list[Path] = []
    with rc_context(STYLE):
        for name, figure in _figures(document, curves):
            written += [_write(figure, folder / f"{name}.{kind}") for kind in FORMATS]
    return written


def _write(figure: Figure, path: Path) -> Path:
    metadata = {"Date": None} if path.suffix == ".svg" else {}

    def write(staged: Path) -> None:
        figure.savefig(staged, format=path.suffix[1:], dpi=DOTS, metadata=metadata)

    return write_whole(path, write, force=True)


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
        yield about_it, _losses(names, curves, looks, f"{student}{deep}, {100 * fraction:g} % of the data")


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
    figure, panels = _new(1, len(scores), 0.9 + 0.24 * heights[-1], sharey=True)
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
                    f"{mean:.1f}", (max(values), number), xytext=(6, 0), textcoords="offset points", va="center"
                )
        axes.margins(x=0.15)
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
    places = [f"{100 * cell[key]:g} %" if key in SHARES else f"{cell[key]}" for key in varied if cell[key] is not None]
    return "  ".join([_label(cell), *places])


def _values(document: Document, cell: Cell, score: str) -> list[float]:
    """The score of every seed of a cell, in percent."""
    keys = ("student", "depth", "fraction", "method", "ratio", "epochs")
    rows = [row for row in document["rows"] if not row["reason"] and all(row[key] == cell[key] for key in keys)]
    records = (record for row in rows for record in row["records"])
    return [100 * record["value"] for record in records if record["quantity"] == score]


# a score against what was varied


def _panels(cells: Sequence[Cell], scores: Sequence[str], name: str) -> list[tuple[str, str, list[Cell]]]:
    """(title, score, cells) for each picture of a score against one thing, all else being equal."""
    others = [key for key in ("student", "depth", "fraction", "ratio") if key != name]
    if name == "parameters":
        others = ["fraction"]
    if name == "ratio":
        cells = [cell for cell in cells if cell["ratio"] is not None]
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        if cell[name] is not None:
            groups.setdefault(tuple(cell[key] for key in others), []).append(cell)
    told = [key for number, key in enumerate(others) if len({place[number] for place in groups}) > 1]
    return [
        (_title(dict(zip(others, place, strict=True)), told), score, group)
        for place, group in groups.items()
        if len({cell[name] for cell in group}) > 1
        for score in scores
    ]


def _title(place: Mapping[str, Any], told: Sequence[str]) -> str:
    words = {"student": "{}", "depth": "depth {}", "fraction": "{} of the data", "ratio": "ratio {}"}
    shown = {key: f"{100 * place[key]:g} %" if key == "fraction" else place[key] for key in told}
    return ", ".join(words[key].format(value) for key, value in shown.items() if value is not None)


def _against(name: str, panels: Sequence[tuple[str, str, list[Cell]]], looks: Mapping[str, Look]) -> Figure:
    """A panel for each: a line for each method, with the standard deviation over the seeds, and its name at its end."""
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes_of = _new(rows, columns, 2.9 * rows if columns > 1 else 3.4)
    for axes, (title, score, cells) in zip(axes_of, panels, strict=False):
        axes.set_title(title)
        axes.set_xlabel(VARIED[name])
        axes.set_ylabel(f"{METRICS.get(score, score)}, %")
        if name in ("fraction", "parameters"):
            axes.set_xscale("log")
        ends = []
        for label, line in _lines(name, score, cells).items():
            look = looks[label]
            at, mean, sd = zip(*line, strict=True)
            axes.errorbar(at, mean, yerr=sd, color=look.colour, marker=look.marker, linestyle=look.line, capsize=2)
            ends.append((mean[-1], at[-1], label, look.colour))
        ticks = sorted({one for label in _lines(name, score, cells).values() for one, _, _ in label})
        axes.set_xticks(ticks, [_amount(tick) if name == "parameters" else f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        _name_ends(axes, ends)
    for axes in axes_of[len(panels) :]:
        axes.set_visible(False)
    return figure


def _lines(name: str, score: str, cells: Sequence[Cell]) -> dict[str, list[tuple[float, float, float]]]:
    """Method to (what was varied, mean, standard deviation) in percent, in order."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for cell in cells:
        spread = cell["scores"].get(score)
        if spread is not None:
            at = 100 * cell[name] if name in SHARES else cell[name]
            found.setdefault(_label(cell), []).append((at, 100 * spread["mean"], 100 * (spread["sd"] or 0.0)))
    return {label: sorted(points) for label, points in found.items()}


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Each line's name at its end, none over another."""
    low, high = axes.get_ylim()
    step = 0.062 * (high - low)
    placed = -math.inf
    for height, at, label, colour in sorted(ends):
        placed = max(height, placed + step)
        axes.annotate(label, (at, placed), xytext=(7, 0), textcoords="offset points", color=colour, va="center")
    axes.margins(x=0.08)


def _amount(value: float) -> str:
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:g}"


# losses by phase


def _runs(document: Document, curves: Curves) -> dict[tuple[str, float, int | None], dict[str, list[str]]]:
    """(student, fraction, depth) to method to the names of its runs that say how their epochs went."""
    found: dict[tuple[str, float, int | None], dict[str, list[str]]] = {}
    for row in document["rows"]:
        if curves.get(row["name"]):
            ratio = "" if row["ratio"] is None else f", ratio {row['ratio']:g}"
            place = found.setdefault((row["student"], row["fraction"], row["depth"]), {})
            place.setdefault(_label(row) + ratio, []).append(row["name"])
    return found


def _losses(names: Mapping[str, list[str]], curves: Curves, looks: Mapping[str, Look], title: str) -> Figure:
    """A panel for each method: the sum of its terms by epoch, on a logarithmic scale, in spans that are its phases."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    figure, axes_of = _new(rows, columns, 0.4 + 1.75 * rows)
    figure.suptitle(
        f"{title}: what each phase minimises, the sum of its terms before their weights", fontsize=9, x=0.01, ha="left"
    )
    for axes, (label, runs) in zip(axes_of, names.items(), strict=False):
        look = looks[label.partition(", ratio")[0]]
        axes.set_title(label, color=look.colour)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        for run in runs:
            for phase in _phases(curves[run]):
                at = [record["epoch"] for record in phase]
                total = [sum(record["losses"].values()) for record in phase]
                single = "o" if len(phase) == 1 else None
                axes.plot(at, total, color=look.colour, alpha=0.9 if run == runs[0] else 0.35, marker=single)
        _mark_phases(axes, [(phase[0]["phase"], phase[0]["epoch"]) for phase in _phases(curves[runs[0]])])
    for axes in axes_of[max(0, len(names) - columns) : len(names)]:
        axes.set_xlabel("epoch")
    for axes in axes_of[len(names) :]:
        axes.set_visible(False)
    return figure


def _phases(records: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    found: list[list[Mapping[str, Any]]] = []
    for record in records:
        if not found or found[-1][0]["phase"] != record["phase"]:
            found.append([])
        found[-1].append(record)
    return found


def _mark_phases(axes: Axes, begins: Sequence[tuple[str, int]]) -> None:
    """A thin line where a phase begins and its name beside it; where there are more than fit, the lines alone."""
    for number, (name, epoch) in enumerate(begins):
        if number:
            axes.axvline(epoch - 0.5, color="#aaaaaa", linewidth=0.7)
        if 1 < len(begins) <= 12:
            axes.text(epoch - 0.3, 0.98, name, transform=axes.get_xaxis_transform(), fontsize=7, color=GREY, va="top")


def _new(rows: int, columns: int, height: float, *, sharey: bool = False) -> tuple[Figure, Panels]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    return figure, [axes for row in panels for axes in row]
