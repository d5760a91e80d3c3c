"""The losses of a study's runs by epoch, in spans that are the phases of a plan."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.pages.look import GREY, LETTERS, Look, new_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, Sequence[Mapping[str, Any]]]


def losses_figure(names: Mapping[str, list[str]], curves: Curves, looks: Mapping[str, Look], title: str) -> Figure:
    """A panel for each method: the sum of its terms by epoch, on a logarithmic scale, in spans that are its phases."""
    from matplotlib.ticker import MaxNLocator

    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    figure, axes_of = new_panels(rows, columns, 0.4 + 1.75 * rows)
    pale = "; pale: further seeds" if any(len(runs) > 1 for runs in names.values()) else ""
    figure.suptitle(
        f"{title}: the sum of each phase's losses before their weights{pale}", fontsize=9, x=0.01, ha="left"
    )
    for axes, (label, runs) in zip(axes_of, names.items(), strict=False):
        look = looks[label]
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        for run in runs:
            for phase in _phases(curves[run]):
                at = [record["epoch"] for record in phase]
                total = [sum(record["losses"].values()) for record in phase]
                single = "o" if len(phase) == 1 else None
                axes.plot(at, total, color=look.colour, alpha=0.9 if run == runs[0] else 0.35, marker=single)
        _set_loss_ticks(axes)
        first = _phases(curves[runs[0]])
        begins = [(_phase(phase[0]), phase[0]["epoch"]) for phase in first]
        above = _mark_phases(axes, begins, first[-1][-1]["epoch"], LETTERS // columns)
        axes.set_title(label, color=look.colour, pad=6 + above)
        axes.set_xlim(0.5, first[-1][-1]["epoch"] + 0.5)
    for axes in axes_of[max(0, len(names) - columns) : len(names)]:
        axes.set_xlabel("epoch")
    for axes in axes_of[: len(names) : columns]:
        axes.set_ylabel("training loss")
    for axes in axes_of[len(names) :]:
        axes.set_visible(False)
    return figure


def _set_loss_ticks(axes: Axes) -> None:
    """At most some six ticks on the logarithmic axis: at 1, 2 and 5 where it spans few powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axes.get_ylim()
    wide = low > 0 and math.log10(high / low) > 2
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=6))
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def _phases(records: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The epochs of each phase; those that are a phase each for a new optimizer ("map2.1", "map2.2") are one."""
    found: list[list[Mapping[str, Any]]] = []
    for record in records:
        if not found or _phase(found[-1][0]) != _phase(record):
            found.append([])
        found[-1].append(record)
    return found


def _phase(record: Mapping[str, Any]) -> str:
    return re.sub(r"\.\d+$", "", record["phase"])


def _mark_phases(axes: Axes, begins: Sequence[tuple[str, int]], last: int, letters: int) -> float:
    """The height in points of the names above the panel, each over its phase; upright where one is longer than that.

    A thin line stands where a phase begins.

    Args:
        axes: The panel.
        begins: (name, first epoch) of each phase; one alone is not marked.
        last: The last epoch.
        letters: So many fit across the panel.
    """
    if len(begins) < 2:
        return 0.0
    spans = [end - begin for (_, begin), end in zip(begins, [*(at for _, at in begins[1:]), last + 1], strict=True)]
    upright = any(len(name) > letters * span / last for (name, _), span in zip(begins, spans, strict=True))
    for number, ((name, epoch), span) in enumerate(zip(begins, spans, strict=True)):
        if number:
            axes.axvline(epoch - 0.5, color="#aaaaaa", linewidth=0.7)
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        axes.text(epoch - 0.5 + span / 2, 1.02, name, **place, fontsize=7, color=GREY, rotation=90 if upright else 0)
    return 4.5 * max(len(name) for name, _ in begins) if upright else 10.0
