"""One network in several formats and precisions: a folder of files, a row each, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from exports import Artefact, Settings, Shipped
    from exports.effect import Effect

FLOAT = "fp32"
CALIBRATION = 256


@dataclass(frozen=True)
class Wish:
    """A file that is wished for.

    Attributes:
        path: Where it goes.
        precision: Of its weights: fp32, or a scheme of `compress.quantization`.
    """

    path: Path
    precision: str


@dataclass(frozen=True)
class Row:
    """What became of a wish.

    Attributes:
        wish: What was wished for.
        shipped: The file; None where there is none.
        effect: What quantization cost; None without it, or without a file.
        reason: Why there is no file.
        missing: That is for want of an extra.
    """

    wish: Wish
    shipped: Shipped | None = None
    effect: Effect | None = None
    reason: str = ""
    missing: bool = False


def shipped_files(path: Path) -> list[Path]:
    """The exported files of a folder, in the order of their names; else the path itself.

    Raises:
        ExportError: It is a folder that has none.
    """
    from compress.errors import ExportError
    from exports import FORMATS

    if not path.is_dir() or path.suffix in FORMATS:
        return [path]
    found = sorted(entry for entry in path.iterdir() if entry.suffix in FORMATS)
    if not found:
        asked = f"give a file, or a folder of exported files ({', '.join(FORMATS)}), of which it has none"
        raise ExportError(f"{path} is a folder; {asked}")
    return found


def wishes(checkpoint: Path, folder: Path, formats: str | None, precisions: str | None) -> list[Wish]:
    """A file for each format and precision: student.onnx, student.w8.onnx and so on.

    Args:
        checkpoint: Whose name they take.
        folder: Where they go.
        formats: Names with commas between; None for those of the core install.
        precisions: Likewise; None for fp32 alone.

    Raises:
        ExportError, PlanError: A name is unknown.
    """
    from compress.quantization import read_scheme
    from exports import CORE, suffix_of

    suffixes = [*dict.fromkeys(map(suffix_of, formats.split(",")))] if formats else [*CORE]
    names = [*dict.fromkeys(precisions.split(","))] if precisions else [FLOAT]
    for name in names:
        if name != FLOAT:
            read_scheme(name)
    middle = {name: "" if name == FLOAT else f".{name}" for name in names}
    return [Wish(folder / f"{checkpoint.stem}{middle[name]}{suffix}", name) for name in names for suffix in suffixes]


def check(folder: Path, wished: Sequence[Wish], checkpoint: Path, *, force: bool) -> None:
    """Nothing, once every file may be written into the folder, or the folder may be made; OutputError if not."""
    from compress.files import check_target
    from exports import format_of

    if folder.is_dir():
        for wish in wished:
            check_target(wish.path, force=force, inputs=(checkpoint,), folder=format_of(wish.path).folder)
    else:
        check_target(folder, force=force, inputs=(checkpoint,), folder=True)


def rows(
    source: Checkpoint, images: Dataset, wished: Sequence[Wish], settings: Settings, *, force: bool
) -> Iterator[Row]:
    """A row for every wish, as soon as it is known what became of it.

    Args:
        source: With float weights, or with quantized ones where only fp32 is wished for.
        images: As it sees them: calibrated on its training split, compared on its test split.
        wished: What to write.
        settings: How.
        force: Replace files that exist.
    """
    from compress.errors import CompressError, MissingExtraError
    from exports import format_of

    made: dict[str, Checkpoint] = {}
    for wish in wished:
        try:
            format_of(wish.path).check_extra()
            wish.path.parent.mkdir(exist_ok=True)
            if wish.precision not in made:
                made[wish.precision] = _precise(source, images, wish.precision)
            yield _shipped(made[wish.precision], source, images, wish, settings, force=force)
        except CompressError as error:
            reason, missing = str(error).removeprefix(f"{wish.path.name}: "), isinstance(error, MissingExtraError)
            yield Row(wish, reason=reason, missing=missing)


def _precise(source: Checkpoint, images: Dataset, precision: str) -> Checkpoint:
    from cli import parse
    from compress.quantization import read_scheme
    from compress.smaller import quantized_by
    from exports.source import calibration

    if precision == FLOAT:
        return source
    seen, scheme = calibration(source.card, images.train, CALIBRATION), read_scheme(precision)
    return quantized_by(source, scheme, parse.command_line(), rounding="compensated", images=seen)


def _shipped(
    small: Checkpoint, source: Checkpoint, images: Dataset, wish: Wish, settings: Settings, *, force: bool
) -> Row:
    from cli.effects import Yardstick
    from exports import ship
    from exports.answers import as_network
    from exports.source import samples

    yardstick, found = Yardstick(source, images, None, wish.path), []

    def measure(artefact: Artefact) -> None:
        if small is not source:
            found.append(yardstick.checked(as_network(artefact, images.scale)))

    tests = samples(small.card, images.test, takes=settings.input)
    shipped = ship(small, wish.path, tests, settings=settings, approve=measure, force=force)
    return Row(wish, shipped, found[0] if found else None)


def said(row: Row) -> str:
    """What became of a wish, in a few words."""
    if row.shipped is None:
        return row.reason
    return "written" if row.shipped.parity else row.shipped.faithful.lines()[0]


def table(found: Sequence[Row]) -> Table:
    """The rows as a person reads them."""
    from cli import say

    return say.table(("file", "bytes", "score", "agreement"), [_cells(row) for row in found])


def _cells(row: Row) -> tuple[str, str, str, str]:
    from compress.text import share_text

    if row.shipped is None:
        return row.wish.path.name, "not written", "", ""
    size = f"{row.shipped.artefact.size_bytes:,}"
    if row.shipped.parity is None:
        return row.wish.path.name, size, "not verified", ""
    if row.effect is None:
        share = row.shipped.parity.agreement
        return row.wish.path.name, size, "as the network", "" if share is None else share_text(share)
    change = f"{100 * row.effect.after:.2f} % ({0.0 - row.effect.drop_points:+.2f})"
    agreement = row.effect.agreement
    return row.wish.path.name, size, change, share_text(agreement[1]) if agreement else ""


def facts(found: Sequence[Row], source: Checkpoint) -> list[dict[str, Any]]:
    """The rows as JSON-able data: `file`, `precision`, `records`; of a file that is not there, one with a reason.

    Args:
        found: The rows.
        source: What all of them were made from.
    """
    return [{"file": row.wish.path, "precision": row.wish.precision, "records": _records(row, source)} for row in found]


def _records(row: Row, source: Checkpoint) -> list[dict[str, Any]]:
    from cli import effects, parse
    from compress.evidence import Record

    if row.shipped is None:
        kept = [Record("size", None, unit="bytes", reason=row.reason)]
    else:
        sha256 = row.shipped.artefact.sha256
        kept = [
            Record("size", row.shipped.artefact.size_bytes, unit="bytes", sha256=sha256),
            *row.shipped.faithful.records(sha256),
            *(effects.records(row.effect, sha256, source) if row.effect else []),
        ]
    return parse.stamped(kept)
