"""The picture of what networks score against how long they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pages.look import COLOURS, GREY, MARKERS, new_panels, write_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 4.0  # inches
LINES = ("-", "--", ":", "-.")

Points = Sequence[tuple[float, float]]


def draw_front(
    families: Mapping[str, Mapping[str, Points]], alone: Mapping[str, tuple[float, float]], folder: Path, name: str
) -> list[Path]:
    """The files of a picture of accuracy against latency, as PNG and SVG; older ones are replaced.

    Args:
        families: A network to the ways in which it was made smaller, each to its (ms, %), from the whole one on: a
            colour a network, a line and mark a way.
        alone: Other networks by name, each (ms, %).
        folder: Where the files go.
        name: Of the files, without suffix.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return write_pictures(_figures(families, alone, name), folder)


def _figures(
    families: Mapping[str, Mapping[str, Points]], alone: Mapping[str, tuple[float, float]], name: str
) -> Iterable[tuple[str, Figure]]:
    figure, (axes,) = new_panels(1, 1, HEIGHT)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for one image: .onnx in ONNX Runtime, one thread")
    axes.set_ylabel("top-1, %")
    axes.grid(visible=True, axis="both")
    looks = _looks(families)
    for colour, (network, ways) in zip(COLOURS, families.items(), strict=False):
        for way, points in ways.items():
            times, scores = zip(*points, strict=True)
            look = looks[way]
            axes.plot(times, scores, look.line, marker=look.marker, color=colour, label=f"{network}: {way}")
        whole = next(iter(ways.values()))[0]
        axes.plot(*whole, "o", color=colour, markersize=8)
        _say(axes, network, whole)
    for label, point in alone.items():
        axes.plot(*point, "*", color=GREY, markersize=9)
        _say(axes, label, point)
    axes.margins(x=0.12)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    yield name, figure


@dataclass(frozen=True)
class _Way:
    line: str
    marker: str


def _looks(families: Mapping[str, Mapping[str, Points]]) -> dict[str, _Way]:
    ways = dict.fromkeys(way for one in families.values() for way in one)
    return {way: _Way(LINES[at % len(LINES)], MARKERS[at % len(MARKERS)]) for at, way in enumerate(ways)}


def _say(axes: Axes, text: str, point: tuple[float, float]) -> None:
    axes.annotate(text, point, xytext=(0, 7), textcoords="offset points", ha="center")
