"""Which network goes into which format and precision: `python -m benchmarks.studies.compatibility docs/formats.md`.

Every network is built with random weights, its batch-norm warmed up, quantized by rounding to the nearest and shipped;
a file counts only once it gives the outputs of its network on noise. Formats that need an extra take part where it is
installed: `pip install 'edgepress[formats]'`. A page keeps what a run does not take.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import script
from benchmarks.studies.table import UNKNOWN, section_of, write_section
from benchmarks.studies.untrained import SAMPLES, untrained
from compress.errors import CompressError
from compress.evidence import versions
from compress.quantization import SCHEMES
from compress.smaller import cut, quantized_by
from exports import FORMATS, Settings, noise, ship

PRUNED = "pruned:"  # before the name of a network that loses half of its channels
NETWORKS = {
    "cnn-s": (32, 32),
    "resnet18": (64, 64),
    "torchvision:resnet18": (64, 64),
    "torchvision:mobilenet_v2": (64, 64),
    "torchvision:mobilenet_v3_small": (64, 64),
    "torchvision:efficientnet_b0": (64, 64),
    f"{PRUNED}torchvision:resnet18": (64, 64),
    "unet-resnet10": (64, 96),
}
PRECISIONS = ("fp32", *SCHEMES)

Cell = tuple[int, str]  # bytes of the file, 0 where there is none; and why, or what there is to say of it
Row = dict[tuple[str, str], Cell]  # of a network, by precision and suffix


def cells(name: str, size: tuple[int, int], precisions: Iterable[str]) -> Iterator[tuple[str, str, Cell]]:
    """(precision, suffix, what came of it) for every format.

    Args:
        name: Of a network, behind `PRUNED` or not.
        size: Height and width of its images.
        precisions: Of `PRECISIONS`.
    """
    network = untrained(name.removeprefix(PRUNED), size)
    if name.startswith(PRUNED):
        network = cut(network, 0.5, "edgepress prune")
    images = [noise(network.card, SAMPLES)]
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        for precision in precisions:
            small = network
            if precision in SCHEMES:
                scheme = SCHEMES[precision]
                small = quantized_by(network, scheme, "edgepress quantize", rounding="nearest", images=images)
            for suffix in FORMATS:
                path = Path(folder) / f"{precision}{suffix}"
                try:
                    shipped = ship(small, path, images, settings=Settings(lineage=False))
                    doubt = "" if shipped.parity else shipped.faithful.lines()[0]
                    yield precision, suffix, (shipped.artefact.size_bytes, doubt)
                except CompressError as error:
                    reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
                    yield precision, suffix, (0, " ".join(reason.split()))


def markdown(found: Mapping[str, Row]) -> str:
    """Network to its cells as a table of the bytes of each file (without lineage), and under it every reason once."""
    reasons: dict[str, int] = {}
    rows = []
    for name, row in sorted(found.items(), key=lambda one: list(NETWORKS).index(one[0])):
        for suffix, form in FORMATS.items():
            told = [_told(row.get((precision, suffix)), reasons) for precision in PRECISIONS]
            rows.append(f"| {name} | {form.name} | {' | '.join(told)} |")
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    made = ", ".join(f"{package} {version}" for package, version in versions().items())
    head = [f"| network | format | {' | '.join(PRECISIONS)} |", f"|---|---|{'---:|' * len(PRECISIONS)}"]
    return "\n".join([*head, *rows, "", *notes, "", made])


def rows_of(section: str) -> dict[str, Row]:
    """The cells of a table of `markdown`, of the networks, formats and precisions that are known today."""
    reasons = dict(re.findall(r"^(\d+)\. (.+)$", section, flags=re.MULTILINE))
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    suffixes = {form.name: suffix for suffix, form in FORMATS.items()}
    found: dict[str, Row] = {}
    for name, form, *told in lines[1:]:
        if name not in NETWORKS or form not in suffixes:
            continue
        for precision, cell in zip(lines[0][2:], told, strict=True):
            known = re.fullmatch(r"(no|[\d,]+)(?: \((\d+)\))?", cell)
            if known and precision in PRECISIONS:
                size, number = known.groups()
                size_bytes = 0 if size == "no" else int(size.replace(",", ""))
                found.setdefault(name, {})[precision, suffixes[form]] = (size_bytes, reasons[number] if number else "")
    return found


def _told(cell: Cell | None, reasons: dict[str, int]) -> str:
    if cell is None:
        return UNKNOWN
    size, reason = cell
    note = f" ({reasons.setdefault(reason, len(reasons) + 1)})" if reason else ""
    return f"{f'{size:,}' if size else 'no'}{note}"


def main(
    page: Annotated[Path, typer.Argument(help="Page whose marked section is rewritten; made if missing.")],
    only: Annotated[list[str] | None, typer.Option(help="These networks alone; the page keeps the others.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help="These alone; the page keeps the others.")] = None,
) -> None:
    """Ship each network in every format and precision, and write which files there are."""
    names, precisions = script.chosen("only", only, NETWORKS), script.chosen("precision", precision, PRECISIONS)
    for name in names:
        made: Row = {}
        for kind, suffix, cell in cells(name, NETWORKS[name], precisions):
            made[kind, suffix] = cell
            typer.echo(f"{name} {kind}{suffix}: {cell[0]:,} bytes {cell[1]}".rstrip())
        kept = rows_of(section_of(page))
        row = {**kept.get(name, {}), **made}
        write_section(page, markdown({**kept, name: row}), title="Which network goes into which format")


if __name__ == "__main__":
    script.run(main)
