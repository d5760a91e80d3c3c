"""What a network weighs, knows and takes in every format and precision: `python -m benchmarks.studies.precisions`.

Each checkpoint (the same network of several seeds) is quantized, shipped and held against its float weights on the
whole test split; networks that were trained through their rounding are given beside them. Latency is that of the files
of the first checkpoint, which take turns with its .onnx of float32. The document of schema "edgepress-precisions/1":

    machine    see compress.evidence.describe
    data       name of the data set
    images     of its test split
    networks   what was given: file, digest of the weights, command of its last step
    trained    the same of those that were trained through their rounding
    protocol   sessions, rounds and turn of the latency
    rows       name ("w8.onnx"), precision, format, how ("rounded", "trained" or ""), and one value a network of: bytes,
               bare_bytes, metric, before, after, agreement, mcnemar; and of the first network: median_ms, and ratio
               (value, low, high: how many times as fast as float32 in ONNX) with its verdict in words, and speedup, the
               same against `against`
    against    optional: the teacher as float32 in ONNX: file, bytes, after (its score), median_ms
    refused    name to reason
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.derive import CPU, WALL
from benchmarks.document import save
from benchmarks.measure.latency import Call, Latency, measure
from benchmarks.protocol import Protocol
from benchmarks.studies.table import write_section
from benchmarks.verdict import judge, ratio
from compress import evidence
from compress.checkpoint import Checkpoint, load
from compress.data import DataOptions, Dataset
from compress.errors import CompressError, DataError
from compress.evidence import weights_digest
from compress.files import check_target
from compress.opening import data_for
from compress.quantization import SCHEMES
from compress.smaller import quantized_by
from compress.tasks import TASKS
from exports import CORE, Artefact, Settings, format_of, ship
from exports.answers import as_network
from exports.effect import Effect, effect
from exports.source import calibration, samples

SCHEMA = "edgepress-precisions/1"
FLOAT = "fp32"
REFERENCE, TEACHER = f"{FLOAT}.onnx", "teacher"
CALIBRATION = 256
USUAL = Protocol()


def study(
    files: Sequence[Path],
    trained: Mapping[str, Sequence[Path]],
    data: str,
    *,
    against: Path | None = None,
    schemes: Sequence[str] = tuple(SCHEMES),
    protocol: Protocol = USUAL,
) -> dict[str, Any]:
    """The document.

    Args:
        files: Checkpoints with float weights.
        trained: Precision to as many checkpoints that were trained through their rounding, in the same order.
        data: Name or path of the data set.
        against: The teacher, whose .onnx takes its turns, too.
        schemes: To round to, without training.
        protocol: How latency is measured.

    Raises:
        DataError: Another number of trained checkpoints than of those with float weights.
        CompressError: One cannot be opened.
    """
    for precision, paths in trained.items():
        if len(paths) != len(files):
            raise DataError(f"{precision}: {len(paths)} trained checkpoints for {len(files)} networks; give as many")
    networks = [load(file) for file in files]
    images = data_for(networks[0].card, data, DataOptions())
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        made: list[_Made] = []
        for number, network in enumerate(networks):
            own = {precision: load(paths[number]) for precision, paths in trained.items()}
            versions = _versions(network, own, schemes, images)
            made += _files(network, versions, images, Path(folder) / str(number))
        first = {one.path.name: one.path for one in reversed(made) if one.cells}
        teacher = _teacher(against, images, Path(folder)) if against else {}
        timed = {**first, **({TEACHER: teacher.pop("path")} if teacher else {})}
        taken = _latencies(timed, images, protocol)
    return {
        "schema": SCHEMA,
        "machine": evidence.describe(),
        "data": images.name,
        "images": len(images.test),
        "networks": [_told(file, network) for file, network in zip(files, networks, strict=True)],
        "trained": [_told(path, load(path)) for paths in trained.values() for path in paths],
        "protocol": {"sessions": protocol.sessions, "rounds": protocol.rounds, "turn_ms": protocol.turn_ms},
        "rows": [{**_row(name, made), **_times(name, taken)} for name in reversed(first)],
        **({"against": {**teacher, "median_ms": taken[TEACHER].median_ms}} if teacher else {}),
        "refused": {one.path.name: one.reason for one in made if one.reason},
    }


@dataclass(frozen=True)
class _Made:
    """A file, its cells by column, or why there is none."""

    path: Path
    precision: str
    how: str
    cells: Mapping[str, Any]
    reason: str = ""


_Version = tuple[str, str, Checkpoint]  # precision, how it was made, what


def _files(network: Checkpoint, versions: Sequence[_Version], images: Dataset, folder: Path) -> Iterator[_Made]:
    folder.mkdir()
    for precision, how, small in versions:
        for suffix in CORE:
            path = folder / f"{precision}{' trained' if how == 'trained' else ''}{suffix}"
            try:
                yield _Made(path, precision, how, _shipped(small, network, images, path))
            except CompressError as error:
                yield _Made(path, precision, how, {}, str(error).removeprefix(f"{path.name}: "))


def _row(name: str, made: Sequence[_Made]) -> dict[str, Any]:
    own = [one for one in made if one.path.name == name and one.cells]
    told = {"name": name, "precision": own[0].precision, "format": format_of(own[0].path).name, "how": own[0].how}
    return {**told, **{column: [one.cells[column] for one in own] for column in own[0].cells}}


def _versions(
    network: Checkpoint, trained: Mapping[str, Checkpoint], schemes: Sequence[str], images: Dataset
) -> list[_Version]:
    seen = calibration(network.card, images.train, CALIBRATION)
    made: list[_Version] = [(FLOAT, "", network)]
    for scheme in schemes:
        small = quantized_by(network, SCHEMES[scheme], "edgepress quantize", rounding="compensated", images=seen)
        made.append((scheme, "rounded", small))
    return [*made, *((precision, "trained", small) for precision, small in trained.items())]


def _shipped(small: Checkpoint, whole: Checkpoint, images: Dataset, path: Path) -> dict[str, Any]:
    """The file at `path`, held against the float weights: a cell a column."""
    found: list[Effect] = []

    def look(artefact: Artefact) -> None:
        other = as_network(artefact, images.scale)
        found.append(effect(whole.network, other, TASKS[whole.card.task], images))

    shipped = ship(small, path, samples(small.card, images.test), settings=Settings(lineage=False), approve=look)
    bare = path.with_name(f"bare-{path.name}")
    ship(small, bare, [next(samples(small.card, images.test))], settings=Settings(label=False))
    cost = found[0]
    return {
        "bytes": shipped.artefact.size_bytes,
        "bare_bytes": bare.stat().st_size,
        "metric": cost.metric,
        "before": cost.before,
        "after": cost.after,
        "agreement": cost.agreement[1] if cost.agreement else None,
        "mcnemar": cost.mcnemar,
    }


def _latencies(files: Mapping[str, Path], images: Dataset, protocol: Protocol) -> dict[str, Latency]:
    image = images.scale(next(images.test.batches(1)).image).numpy()
    sessions: dict[str, list[Call]] = {name: [] for name in files}
    for _ in range(protocol.sessions):
        for name, path in files.items():
            sessions[name].append(format_of(path).read(path, threads=protocol.threads).bind(image))
    return measure(sessions, rounds=protocol.rounds, turn_ms=protocol.turn_ms, warmup_ms=protocol.warmup_ms)


def _times(name: str, taken: Mapping[str, Latency]) -> dict[str, Any]:
    """A file's median, and how many times as fast as others it is."""
    own = taken[name]
    found = {"median_ms": own.median_ms, "ratio": ratio_of(taken[REFERENCE], own)}
    return found | ({"speedup": ratio_of(taken[TEACHER], own)} if TEACHER in taken else {})


def ratio_of(other: Latency, own: Latency) -> dict[str, Any]:
    """How many times as fast as another file one is, with the verdict in words; JSON-able."""
    clocks = {
        WALL: ratio(other.wall_medians_ms, own.wall_medians_ms),
        CPU: ratio(other.cpu_medians_ms, own.cpu_medians_ms),
    }
    wall = clocks[WALL]
    return {"value": wall.value, "low": wall.low, "high": wall.high, "verdict": judge(clocks).words}


def _teacher(file: Path, images: Dataset, folder: Path) -> dict[str, Any]:
    """The teacher's file as float32 in ONNX, and what it is."""
    whole = load(file)
    shipped = ship(
        whole, folder / f"{TEACHER}.onnx", samples(whole.card, images.test), settings=Settings(lineage=False)
    )
    task = TASKS[whole.card.task]
    found = task.evaluate(as_network(shipped.artefact, images.scale), images)
    return {
        **_told(file, whole),
        "path": shipped.artefact.path,
        "bytes": shipped.artefact.size_bytes,
        "after": found[task.headline],
    }


def _told(file: Path, network: Checkpoint) -> dict[str, Any]:
    last = network.card.lineage[-1] if network.card.lineage else {}
    return {"file": file.name, "weights": weights_digest(network.network.model), "command": last.get("command", "")}


def markdown(document: Mapping[str, Any]) -> str:
    """The document as a section of a page."""
    teacher = document.get("against")
    head = ["file", "bytes", "bare", "score %", "points", "agreement %", "us", "x float32 .onnx"]
    head += [f"x {teacher['file']}"] if teacher else []
    lines = [f"| {' | '.join(head)} |", f"|{' --- |'}{' ---: |' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in document["rows"]]
    if teacher:
        size = f"{teacher['bytes']:,}"
        score, time = f"{100 * teacher['after']:.2f}", f"{1000 * teacher['median_ms']:.0f}"
        lines.append(f"| {' | '.join([teacher['file'], size, '', score, '', '', time, '', ''])} |")
    refused = [f"- {name}: {reason}" for name, reason in document["refused"].items()]
    made = [one["command"] for one in (*document["networks"], *document["trained"]) if one["command"]]
    machine, count = document["machine"], len(document["networks"])
    notes = [
        f"- {document['data']}, {document['images']:,} test images; networks (seeds): {count}, mean ± deviation.",
        "- bytes: with label and seal, without lineage; bare: the network alone. points: of the score, against "
        "float32, paired by network. us: the median of one image at one thread. x: how many times as fast, with its "
        "95 % interval; all files took turns in one run.",
        f"- Machine: {machine['cpu']}, load {machine['load_average']}.",
    ]
    return "\n".join([*lines, "", *notes, *refused, "", "Networks:", "", "```", *made, "```"])


def _cells(row: Mapping[str, Any]) -> list[str]:
    drops = [100 * (after - before) for before, after in zip(row["before"], row["after"], strict=True)]
    agreement = [value for value in row["agreement"] if value is not None]
    times = [row["ratio"], *([row["speedup"]] if "speedup" in row else [])]
    return [
        row["name"],
        f"{max(row['bytes']):,}",
        f"{max(row['bare_bytes']):,}",
        _mean([100 * value for value in row["after"]]),
        _mean(drops, sign="+"),
        _mean([100 * value for value in agreement]) if agreement else "-",
        f"{1000 * row['median_ms']:.1f}",
        *(f"{one['value']:.3g} [{one['low']:.3g}, {one['high']:.3g}]" for one in times),
    ]


def _mean(values: Sequence[float], sign: str = "") -> str:
    middle = sum(values) / len(values)
    if len(values) < 2:
        return f"{middle:{sign}.2f}"
    spread = (sum((value - middle) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{middle:{sign}.2f} ±{spread:.2f}"


def main(
    files: Annotated[list[Path], typer.Argument(help="Checkpoints of one network, such as of several seeds.")],
    data: Annotated[str, typer.Option(help="Data set by name, or a folder.")],
    output: Annotated[Path, typer.Option("--json", help="Write the document to this file.")],
    page: Annotated[Path | None, typer.Option(help="Page whose marked section is rewritten; made if missing.")] = None,
    trained: Annotated[
        list[str] | None, typer.Option(help="w4=A.safetensors,B.safetensors: trained through the rounding.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="The teacher, whose .onnx takes its turns, too.")] = None,
    rounds: Annotated[int, typer.Option(min=10, help="Of the latency.")] = 30,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Ship networks in every format and precision, and say what each file weighs, knows and takes."""
    check_target(output, force=force, inputs=files)
    given = {word.partition("=")[0]: [*map(Path, word.partition("=")[2].split(","))] for word in trained or ()}
    document = study(files, given, data, against=against, protocol=Protocol(rounds=rounds))
    save(document, output, force=force)
    section = markdown(document)
    typer.echo(section)
    if page is not None:
        write_section(page, section, title="Formats and precisions")


if __name__ == "__main__":
    script.run(main)
