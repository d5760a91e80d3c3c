"""How the pictures of a study look: their sizes, colours and marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import MissingExtraError
from compress.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Panels = Sequence[Axes]

FORMATS = ("png", "svg")
WIDTH = 7.2  # inches: the width of a page
DOTS = 160  # an inch
LETTERS, LEGEND_LETTERS = 105, 90  # of the small type, and of a legend's, that fit across the page
# Okabe and Ito's colours, which are told apart whatever eyes one has, without their yellow; the baseline is grey
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
MARKERS = ("s", "^", "D", "v", "P", "X")
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


def write_pictures(figures: Iterable[tuple[str, Figure]], folder: Path) -> list[Path]:
    """The files of some figures, each as PNG and SVG; older ones are replaced.

    Args:
        figures: Name and figure; they are drawn while this looks at them, in the style of all pictures.
        folder: Where they go; made where there is none.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    written: list[Path] = []
    with drawing():
        folder.mkdir(exist_ok=True)
        for name, figure in figures:
            written += [_write(figure, folder / f"{name}.{kind}") for kind in FORMATS]
    return written


@contextmanager
def drawing() -> Iterator[None]:
    """A `with` in which figures are in the style of all pictures; MissingExtraError where there is no matplotlib."""
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtraError("pictures need matplotlib: pip install 'edgepress[plots]'") from error
    with rc_context(STYLE):
        yield


def _write(figure: Figure, path: Path) -> Path:
    metadata = {"Date": None} if path.suffix == ".svg" else {}

    def write(staged: Path) -> None:
        figure.savefig(staged, format=path.suffix[1:], dpi=DOTS, metadata=metadata)

    return write_whole(path, write, force=True)


def new_panels(rows: int, columns: int, height: float, *, sharey: bool = False) -> tuple[Figure, Panels]:
    """A figure of the page's width, and its panels row by row.

    Args:
        rows: Of panels.
        columns: Likewise.
        height: Of the figure, in inches.
        sharey: All have one vertical axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    return figure, [axes for row in panels for axes in row]
