"""Our files beside those of other quantizers, in one run: `python -m benchmarks.studies.peers student.safetensors`.

All start from the same float network and the same training images, answer the whole test split and take turns in one
measurement of latency. A quantizer that is not installed, or fails, is a row with its reason. The document of schema
"edgepress-peers/1":

    machine      see compress.evidence.describe
    data         name of the data set
    images       of its test split
    calibration  training images that were looked at
    network      file, digest of the weights, command of its last step
    protocol     sessions, rounds and turn of the latency
    rows         name, by (package and version), runtime, how, reason ("" where there is a file), and of a file: bytes
                 as it is written; bare_bytes without names, metadata and label; top1 with its 95 % interval; to_float
                 and to_ours (difference of top1 to the float network, and to the file of edgepress that `ours` names:
                 value, low, high, won, lost); agreement with the float network; error (how far its logits are from
                 those, root mean square, as a share); median_ms; ratio (value, low, high: how many times as fast as
                 float32 in ONNX) with its verdict in words
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks import script
from benchmarks.document import save
from benchmarks.measure.latency import Call, Latency, measure
from benchmarks.protocol import Protocol
from benchmarks.studies import bare
from benchmarks.studies.precisions import ratio_of
from benchmarks.studies.quantizers import QUANTIZERS, Quantizer, Source, first_line, made_by
from benchmarks.studies.table import write_section
from compress import __version__, evidence
from compress.checkpoint import Checkpoint, load
from compress.data import DataOptions, Dataset
from compress.errors import CompressError, DataError
from compress.evidence import weights_digest
from compress.files import check_target
from compress.intervals import wilson_interval
from compress.opening import data_for
from compress.quantization import FULL_RANGE, SCHEMES, Scheme
from compress.smaller import quantized_by
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, features
from exports import CORE, Artefact, Settings, format_of, ship
from exports.answers import FileNetwork, as_network
from exports.source import calibration

SCHEMA = "edgepress-peers/1"
OWN = "edgepress"
FLOAT = "fp32"
REFERENCE = f"{FLOAT}.onnx"
CALIBRATION = 256
SURE = 1.96  # deviations at either side of a mean that hold 95 %
USUAL = Protocol()
OURS: Mapping[str, Scheme] = {"w8": SCHEMES["w8"], "static": SCHEMES["static"], "static, 8 bits": FULL_RANGE}
HOW = {
    FLOAT: "the float network",
    "w8": "weights int8, compensated rounding",
    "static": "activations 8 bits, weights 7 bits, compensated rounding, ranges of least squared error",
    "static, 8 bits": "the same with weights of 8 bits (--full-range)",
}


def study(
    file: Path,
    data: str,
    *,
    ours: Mapping[str, Scheme] = OURS,
    peers: Mapping[str, Quantizer] = QUANTIZERS,
    protocol: Protocol = USUAL,
) -> dict[str, Any]:
    """The document.

    Args:
        file: Checkpoint of a classifier with float weights.
        data: Name or path of the data set.
        ours: Name, one of `HOW`, to the scheme.
        peers: Name to the quantizer; see `benchmarks.studies.quantizers`.
        protocol: How latency is measured.

    Raises:
        DataError: The network is no classifier.
        CompressError: The checkpoint or the data cannot be opened, or the float network cannot be exported.
    """
    network = load(file)
    if network.card.task != CLASSIFICATION.name:
        raise DataError(f"{file}: was trained for {network.card.task}; peers are compared on classification")
    images = data_for(network.card, data, DataOptions())
    seen = calibration(network.card, images.train, CALIBRATION)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as name:
        folder = Path(name)
        made = [*_ours(network, ours, seen, folder), *_theirs(peers, seen, folder)]
        files = {one.name: one for one in made if not one.reason}
        answers = {name: _answers(as_network(one.open(1), images.scale), images) for name, one in files.items()}
        answers[FLOAT] = _answers(network.network, images)
        taken = _latencies(files, images, protocol)
        rows = [{**_told(one), **(_facts(one, answers, taken) if one.name in files else {})} for one in made]
    return {
        "schema": SCHEMA,
        "machine": evidence.describe(),
        "data": images.name,
        "images": len(images.test),
        "calibration": sum(map(len, seen)),
        "network": _network(file, network),
        "protocol": {"sessions": protocol.sessions, "rounds": protocol.rounds, "turn_ms": protocol.turn_ms},
        "rows": rows,
    }


@dataclass(frozen=True)
class _Made:
    """A file, or why there is none."""

    name: str
    by: str
    how: str
    path: Path
    ours: str = ""
    reason: str = ""

    @property
    def bare(self) -> Path:
        """The same network without names, metadata and label."""
        return _bare(self.path)

    @property
    def runtime(self) -> str:
        """What runs it."""
        return format_of(self.path).runtime

    def open(self, threads: int) -> Artefact:
        """The file in its runtime."""
        return format_of(self.path).read(self.path, threads=threads)


@dataclass(frozen=True)
class _Answers:
    """What one network or file says of the test split.

    Attributes:
        logits: (N, classes).
        labels: (N,), what would be right.
    """

    logits: Tensor
    labels: Tensor

    @property
    def classes(self) -> Tensor:
        """(N,), what it decides on."""
        return self.logits.argmax(1)

    @property
    def right(self) -> Tensor:
        """(N,), whether that is right."""
        return self.classes == self.labels

    def error(self, whole: _Answers) -> float:
        """The root mean square of how far its logits are from others, as a share of theirs."""
        apart = (self.logits - whole.logits).square().mean() / whole.logits.square().mean()
        return float(apart.sqrt())


def _bare(path: Path) -> Path:
    return path.with_name(f"bare-{path.name}")


def _ours(network: Checkpoint, ours: Mapping[str, Scheme], seen: Sequence[Tensor], folder: Path) -> Iterator[_Made]:
    versions = {FLOAT: network}
    for name, scheme in ours.items():
        versions[name] = quantized_by(network, scheme, "edgepress quantize", rounding="compensated", images=seen)
    for name, small in versions.items():
        for suffix in CORE:
            path, reason = folder / f"{name}{suffix}", ""
            try:
                ship(small, path, seen, settings=Settings(lineage=False))
            except CompressError as error:
                if name == FLOAT:
                    raise
                reason = str(error).removeprefix(f"{path.name}: ")
            yield _checked(_Made(path.name, f"{OWN} {__version__}", HOW[name], path, path.name, reason), seen[0])


def _theirs(peers: Mapping[str, Quantizer], seen: Sequence[Tensor], folder: Path) -> Iterator[_Made]:
    source = Source({suffix: _bare(folder / f"{FLOAT}{suffix}") for suffix in CORE}, seen)
    for name, peer in peers.items():
        path = folder / f"{name}{peer.suffix}"
        reason = made_by(peer, source, path)
        yield _checked(
            _Made(name, f"{peer.package} {peer.version}".strip(), peer.how, path, peer.ours, reason), seen[0]
        )


def _checked(made: _Made, images: Tensor) -> _Made:
    """The same, with its bare file beside it; or why it does not count: it cannot be run, or answers otherwise bare."""
    if made.reason:
        return made
    try:
        bare.strip(made.path, made.bare)
        whole, less = (FileNetwork(one.open(1))(images) for one in (made, replace(made, path=made.bare)))
    except Exception as error:  # it may be a stranger's file, in a stranger's runtime
        return replace(made, reason=f"it cannot be run: {first_line(error)}")
    same = torch.equal(whole, less)
    return made if same else replace(made, reason="it answers otherwise once stripped of names and metadata")


def _answers(network: Staged, images: Dataset) -> _Answers:
    return _Answers(*features(network, images.test, CLASSIFICATION.output))


def _latencies(files: Mapping[str, _Made], images: Dataset, protocol: Protocol) -> dict[str, Latency]:
    image = images.scale(next(images.test.batches(1)).image).numpy()
    sessions: dict[str, list[Call]] = {name: [] for name in files}
    for _ in range(protocol.sessions):
        for name, one in files.items():
            sessions[name].append(one.open(protocol.threads).bind(image))
    return measure(sessions, rounds=protocol.rounds, turn_ms=protocol.turn_ms, warmup_ms=protocol.warmup_ms)


def _network(file: Path, network: Checkpoint) -> dict[str, Any]:
    last = network.card.lineage[-1] if network.card.lineage else {}
    return {"file": file.name, "weights": weights_digest(network.network.model), "command": last.get("command", "")}


def _told(one: _Made) -> dict[str, Any]:
    return {"name": one.name, "by": one.by, "runtime": one.runtime, "how": one.how, "reason": one.reason}


def _facts(one: _Made, answers: Mapping[str, _Answers], taken: Mapping[str, Latency]) -> dict[str, Any]:
    """What is known of a file that there is."""
    own, whole = answers[one.name], answers[FLOAT]
    correct, total = int(own.right.sum()), len(own.right)
    low, high = wilson_interval(correct, total)
    return {
        "bytes": bare.size_bytes(one.path),
        "bare_bytes": bare.size_bytes(one.bare),
        "top1": {"value": correct / total, "low": low, "high": high},
        "to_float": difference(whole.right, own.right),
        "ours": one.ours,
        "to_ours": difference(answers[one.ours].right, own.right) if one.ours in answers else None,
        "error": own.error(whole),
        "agreement": float((own.classes == whole.classes).double().mean()),
        "median_ms": taken[one.name].median_ms,
        "ratio": ratio_of(taken[REFERENCE], taken[one.name]),
    }


def difference(before: Tensor, after: Tensor) -> dict[str, float | int]:
    """How much larger the second share of right answers is, with its 95 % interval, and the images behind it.

    The interval is that of a mean of differences of pairs, each -1, 0 or 1.

    Args:
        before: (N,) whether an answer of the first is right.
        after: The same of the second, on the same images.
    """
    won, lost, total = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
    value = (won - lost) / total
    half = SURE * ((won + lost) / total - value**2) ** 0.5 / total**0.5
    return {"value": value, "low": value - half, "high": value + half, "won": won, "lost": lost}


def markdown(document: Mapping[str, Any]) -> str:
    """The document as a section of a page."""
    head = ["file", "by", "runtime", "bytes", "bare", "top-1 % [95 %]", "points to float32", "points to ours"]
    head += ["agreement %", "error %", "us", "x float32 .onnx"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * 3}{' ---: |' * (len(head) - 3)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in document["rows"] if not row["reason"]]
    hows = [f"- {row['name']}: {row['how']}." for row in document["rows"] if row["how"]]
    refused = [f"- {row['name']}: {row['reason']}" for row in document["rows"] if row["reason"]]
    machine, command = document["machine"], document["network"]["command"]
    notes = [
        f"- {document['data']}, {document['images']:,} test images; {document['calibration']} training images to "
        "calibrate on, the same for all.",
        "- bytes: as written, ours with label and seal but without lineage; bare: all alike without names, signatures, "
        "metadata and label (OpenVINO keeps the names of layers), which answers the same bit for bit.",
        "- points: of top-1 with their 95 % interval, paired by image; to ours: to the file of edgepress that is named "
        "behind. error: how far the logits are from those of the float network, root mean square, as a share of them.",
        "- us: the median of one image at one thread. x: how many times as fast, with its 95 % interval; all files "
        "took turns in one run.",
        f"- Machine: {machine['cpu']}, {', '.join(machine['flags'])}, load {machine['load_average']}.",
    ]
    missing = ["", "Without a file:", "", *refused] if refused else []
    made = ["", "The network:", "", "```", command, "```"] if command else []
    return "\n".join([*lines, "", *notes, "", "How:", "", *hows, *missing, *made])


def _cells(row: Mapping[str, Any]) -> list[str]:
    top, speed = row["top1"], row["ratio"]
    held = f"{_points(row['to_ours'])} {row['ours']}" if row["to_ours"] and row["ours"] != row["name"] else ""
    return [
        row["name"],
        row["by"],
        row["runtime"],
        f"{row['bytes']:,}",
        f"{row['bare_bytes']:,}",
        f"{100 * top['value']:.2f} [{100 * top['low']:.2f}, {100 * top['high']:.2f}]",
        _points(row["to_float"]),
        held,
        f"{100 * row['agreement']:.2f}",
        f"{100 * row['error']:.2f}",
        f"{1000 * row['median_ms']:.1f}",
        f"{speed['value']:.3g} [{speed['low']:.3g}, {speed['high']:.3g}]",
    ]


def _points(found: Mapping[str, float]) -> str:
    value, low, high = (100 * found[end] for end in ("value", "low", "high"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def main(
    file: Annotated[Path, typer.Argument(help="Checkpoint of a classifier with float weights.")],
    data: Annotated[str, typer.Option(help="Data set by name, or a folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the document to this file.")],
    page: Annotated[Path | None, typer.Option(help="Page whose marked section is rewritten; made if missing.")] = None,
    rounds: Annotated[int, typer.Option(min=10, help="Of the latency.")] = 30,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Quantize one network with edgepress and with other tools, and say what each file weighs, knows and takes."""
    check_target(output, force=force, inputs=[file])
    document = study(file, data, protocol=Protocol(rounds=rounds))
    save(document, output, force=force)
    section = markdown(document)
    typer.echo(section)
    if page is not None:
        write_section(page, section, title="Beside other quantizers")


if __name__ == "__main__":
    script.run(main)
