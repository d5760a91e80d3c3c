"""A picture of what a network minds: which channels it minds losing, or which layers it minds being quantized.

The document of schema "edgepress-sensitivity/1":

    schema       "edgepress-sensitivity/1"
    of           "prune" or "quantize"
    command      what was typed; with it seed and environment, see compress.evidence
    file         of the document
    weights      digest of the network that everything is held against
    data         name, fingerprint, split, and images: how many of the split were looked at

and of a network whose layers were quantized one at a time:

    rounding     how
    images       the same as that of the data
    layers       the most sensitive first: layer, bits, weights, saved_bytes, record (of relative_squared_error)

or of one whose groups of coupled layers were cut one at a time:

    metric       the score of its task
    compared     of what the relative_squared_error is: outputs, or similarities of the images
    fitted_on    so many training images: the layers that read a group were fitted on them; 0: they were not
    unfitted     why some were not, all the same; ""
    ratio        how much is to be cut in all, for even and suggestion
    whole        parameters, macs, records (the score)
    groups       in the order of the network: group (its name), layers, channels, cuts. A cut has ratio, left
                 (channels), parameters and macs (that are saved), records (the score, and relative_squared_error)
    even         every group cut by the ratio: options (of edgepress prune), parameters, macs, records, as a cut
    suggestion   the same of another division with as many macs saved; or null
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pages.look import COLOURS, DOTS, GREY, WIDTH, drawing
from compress.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEMA = "edgepress-sensitivity/1"
ROW, EDGES = 0.235, 1.15  # inches: the height of a row, and of what is above and below all of them
WORST = 20.0  # points lost, from which on all cells are equally dark, unless more than half of the cells are
SHADES = ("#ffffff", "#fde0c5", "#f4a261", "#d1495b", "#5c1a3a")  # nothing lost, to all that is told apart

Document = Mapping[str, Any]


def draw(document: Document, path: Path, *, force: bool = False) -> Path:
    """The picture of a document, as PNG.

    Args:
        document: Of this page's schema.
        path: The target file.
        force: Allow a file that already exists to be replaced.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The target may not or cannot be written.
    """
    with drawing():
        figure = _of_cuts(document) if document["of"] == "prune" else _of_grids(document)
        return write_whole(path, lambda staged: figure.savefig(staged, format="png", dpi=DOTS), force=force)


def quantities(part: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the records of a cut, by quantity."""
    return {record["quantity"]: record["value"] for record in part["records"]}


def cut_at(group: Mapping[str, Any], ratio: float) -> Mapping[str, Any]:
    """The cut of a group by that ratio."""
    found: Mapping[str, Any] = next(cut for cut in group["cuts"] if cut["ratio"] == ratio)
    return found


def heading(group: Mapping[str, Any]) -> str:
    """The name of a group, and how many layers are cut with the one that it is called by."""
    others = len(group["layers"]) - 1
    return f"{group['group']} +{others}" if others else str(group["group"])


def _of_cuts(document: Document) -> Figure:
    """The score of each cut, a row for each group in the order of the network; beside it what the cut saves."""
    from matplotlib.figure import Figure

    groups = document["groups"]
    figure = Figure(figsize=(WIDTH, EDGES + ROW * len(groups)), layout="constrained")
    cells, bars = figure.subplots(1, 2, sharey=True, width_ratios=(2.6, 1))
    _draw_cells(cells, document)
    _draw_savings(bars, document)
    cells.set_yticks(range(len(groups)), [heading(group) for group in groups])
    cells.set_ylim(len(groups) - 0.5, -0.5)
    return figure


def _draw_cells(axes: Axes, document: Document) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    metric, ratios = document["metric"], [cut["ratio"] for cut in document["groups"][0]["cuts"]]
    before = 100 * quantities(document["whole"])[metric]
    scores = [[quantities(cut).get(metric) for cut in group["cuts"]] for group in document["groups"]]
    lost = [[before if score is None else max(before - 100 * score, 0.0) for score in row] for row in scores]
    most = max(1.0, min(WORST, max(max(row) for row in lost)))
    shades = LinearSegmentedColormap.from_list("lost", SHADES)
    axes.grid(visible=False)
    axes.imshow([[value / most for value in row] for row in lost], cmap=shades, vmin=0, vmax=1, aspect="auto")
    for at, (row, group) in enumerate(zip(scores, document["groups"], strict=True)):
        for column, (score, cut) in enumerate(zip(row, group["cuts"], strict=True)):
            dark = lost[at][column] > 0.6 * most
            uncut = cut["left"] == group["channels"]
            word = "" if uncut else "none" if score is None else f"{100 * score:.1f}"
            axes.text(column, at, word, ha="center", va="center", fontsize=8, color="white" if dark else "#333333")
    for edge in range(1, len(ratios)):
        axes.axvline(edge - 0.5, color="white", linewidth=2)
    for edge in range(1, len(scores)):
        axes.axhline(edge - 0.5, color="white", linewidth=1)
    axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("share of the group's channels that is cut")
    fitted = "fitted" if document["fitted_on"] and not document["unfitted"] else "not fitted"
    axes.set_title(f"{metric}, % (whole: {before:.1f}); each group cut alone, {fitted}", loc="left")


def _draw_savings(axes: Axes, document: Document) -> None:
    """What a cut of each group saves at the ratio, in percent of the network's operations and parameters."""
    whole, chosen = document["whole"], [cut_at(group, document["ratio"]) for group in document["groups"]]
    for name, shift, colour in (("macs", -0.19, COLOURS[0]), ("parameters", 0.19, COLOURS[5])):
        saved = [100 * cut[name] / whole[name] for cut in chosen]
        label = {"macs": "MACs", "parameters": "parameters"}[name]
        axes.barh([at + shift for at in range(len(saved))], saved, height=0.34, color=colour, label=label)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(GREY)
    axes.set_xlabel(f"saved at {document['ratio']:g}, %")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0)


def _of_grids(document: Document) -> Figure:
    """The error of each layer that was quantized alone, the most sensitive first."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    layers: Sequence[Mapping[str, Any]] = document["layers"]
    figure = Figure(figsize=(WIDTH, EDGES + ROW * len(layers)), layout="constrained")
    errors, bars = figure.subplots(1, 2, sharey=True, width_ratios=(2.6, 1))
    found = [(at, layer["record"]["value"]) for at, layer in enumerate(layers)]
    shown = [(at, error) for at, error in found if error and error > 0]
    errors.plot([error for _, error in shown], [at for at, _ in shown], "o", color=COLOURS[1])
    if shown:
        powers = [math.log10(error) for _, error in shown]
        errors.set_xscale("log")
        errors.set_xlim(10.0 ** math.floor(min(powers)), 10.0 ** math.ceil(max(powers)))
        errors.xaxis.set_minor_formatter(NullFormatter())
    errors.set_xlabel("mean squared change of the outputs, over their variance")
    errors.set_title("each layer quantized alone", loc="left")
    bars.barh(range(len(layers)), [layer["saved_bytes"] / 1000 for layer in layers], height=0.5, color=COLOURS[0])
    bars.set_xlabel("saved, kB")
    for axes, lines in ((errors, "both"), (bars, "x")):
        axes.set_axisbelow(True)
        axes.grid(visible=False)
        axes.grid(visible=True, axis=lines)
        axes.tick_params(axis="y", length=0)
    errors.set_yticks(range(len(layers)), [f"{layer['layer']}, {layer['bits']} bits" for layer in layers])
    errors.set_ylim(len(layers) - 0.5, -0.5)
    return figure
