"""What a page of many files takes, in bytes and seconds: `python -m benchmarks.speed.report [--json PATH]`.

The files are made up: each has the times of a benchmark of default length, with the spread and the outliers of real
ones, and says of every image what a network of its accuracy would. The document of schema "edgepress-speed-report/1":

    machine    see compress.evidence.describe
    files, images, classes   how many
    bytes      of the page, and of the raw samples in it
    derive_s, draw_s, verify_s   what the numbers of all files take, the page, and all of `edgepress verify`
    goal       bytes and seconds of the page; and whether both are met
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import script
from benchmarks.claims import check
from benchmarks.derive import Derived, derive
from benchmarks.document import SCHEMA as DOCUMENT_SCHEMA
from benchmarks.document import digest, save
from benchmarks.measure.latency import MAX_CALLS, Latency
from benchmarks.pages.report import page
from benchmarks.pages.report.check import page_findings
from benchmarks.protocol import Protocol
from benchmarks.raw import Decided, Raw, in_steps
from benchmarks.samples import NS_A_MS, pack
from compress import evidence
from compress.evidence import Record
from compress.files import check_target

SCHEMA = "edgepress-speed-report/1"
GOAL_BYTES, GOAL_S = 5_000_000, 10.0
FASTEST_MS, SLOWEST_MS = 0.02, 0.7
STEPS = {"derive": "derived", "draw": "drawn", "verify": "verified"}
CLAIMS = {"max-size": 40_000.0, "min-speedup": 5.0, "max-drop": 1.0}


@dataclass(frozen=True)
class MadeUp:
    """A benchmark of files that there are not.

    Attributes:
        document: See `benchmarks.document`.
        samples: The content of its raw samples.
        derive_s: How long its numbers took, all files together.
    """

    document: dict[str, Any]
    samples: bytes
    derive_s: float


def make_up(files: int, images: int, classes: int, *, seed: int = 0) -> MadeUp:
    """A benchmark whose first file is the slowest and knows the most.

    Args:
        files: How many, at least 1.
        images: Of the test split.
        classes: That it shows.
        seed: Of everything.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=images)
    raws = {at: _raw(random, labels, at / max(files - 1, 1), classes) for at in range(files)}
    names = [f"class {at}" for at in range(classes)]
    began = time.perf_counter()
    derived = [derive(raw, None if at == 0 else raws[0], names) for at, raw in raws.items()]
    took = time.perf_counter() - began
    samples = pack(raws)
    told = [_file(at, one, classes) for at, one in enumerate(derived)]
    document = {
        "schema": DOCUMENT_SCHEMA,
        "created": "2000-01-01T00:00:00+00:00",
        "command": "edgepress benchmark dist --data made-up",
        "machine": evidence.describe(),
        "protocol": Protocol().to_dict(["ONNX Runtime"]),
        "data": {"name": "made-up", "fingerprint": "0" * 16, "split": "test", "samples": images, "classes": names},
        "seen": None,
        "baseline": 0,
        "files": told,
        "noise": None,
        "claims": [],
        "samples": {"file": "bench.samples.npz", "sha256": sha256(samples).hexdigest()},
        "warnings": ["all of this is made up"],
    }
    document["claims"] = [one.to_dict() for one in check(document, CLAIMS)]
    document["digest"] = digest(document)
    return MadeUp(document, samples, took)


def _file(at: int, derived: Derived, classes: int) -> dict[str, Any]:
    """The file at a place, as a document has it."""
    mark, verdict = sha256(bytes([at % 256])).hexdigest(), derived.verdict
    records = [Record("parameters", 60_000 - 2_000 * at), Record("size", 240_000 // (at + 1), unit="bytes")]
    return {
        "name": f"dist/student-{at}.onnx",
        "sha256": mark,
        "given_sha256": mark,
        "network": None,
        "made": "as given",
        "lineage": ["edgepress train cnn-a --data made-up", f"edgepress prune --seed {at}"],
        "input": [1, 32, 32],
        "classes": classes,
        "task": "classification",
        "metric": "top1",
        "records": [{**record.to_dict(), "sha256": mark} for record in (*records, *derived.records)],
        "hurt": derived.hurt,
        "verdict": None if verdict is None else verdict.to_dict(),
        "reason": "",
    }


def compare(*, files: int = 20, images: int = 10_000, classes: int = 10) -> dict[str, Any]:
    """The measurement as JSON-able data, see the head of this file.

    Args:
        files: Of the benchmark.
        images: Of the test split.
        classes: That it shows.
    """
    where, made = evidence.describe(), make_up(files, images, classes)
    began = time.perf_counter()
    content = page.draw(made.document, made.samples)
    draw_s = time.perf_counter() - began
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "report.html"
        path.write_bytes(content)
        began = time.perf_counter()
        findings = page_findings(path)
        verify_s = time.perf_counter() - began
    return {
        "schema": SCHEMA,
        "machine": where,
        **{"files": files, "images": images, "classes": classes},
        "bytes": {"page": len(content), "samples": len(made.samples)},
        **{"derive_s": made.derive_s, "draw_s": draw_s, "verify_s": verify_s},
        "failed": [one.sentence for one in findings if one.found == "FAILED"],
        "goal": {"bytes": GOAL_BYTES, "seconds": GOAL_S},
        "met": len(content) < GOAL_BYTES and draw_s < GOAL_S,
    }


def main(
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    files: Annotated[int, typer.Option(min=1, help="Of the benchmark.")] = 20,
    images: Annotated[int, typer.Option(min=2, help="Of the test split.")] = 10_000,
    classes: Annotated[int, typer.Option(min=2, help="That it shows.")] = 10,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Draw and verify a page of files that are made up."""
    if json is not None:
        check_target(json, force=force)
    found = compare(files=files, images=images, classes=classes)
    took = ", ".join(f"{word} in {found[f'{part}_s']:.1f} s" for part, word in STEPS.items())
    typer.echo(
        f"{files} files x {images:,} images: {found['bytes']['page']:,} bytes, {found['bytes']['samples']:,} of them "
        f"raw samples before base64; {took}; goal {GOAL_BYTES:,} bytes and {GOAL_S:g} s to draw it: "
        f"{'met' if found['met'] else 'missed'}"
    )
    if json is not None:
        save(found, json, force=force)


def _raw(random: np.random.Generator, labels: np.ndarray[Any, Any], rank: float, classes: int) -> Raw:
    """Of the file at `rank`: 0 is the slowest that knows the most, 1 the fastest that knows the least."""
    protocol = Protocol()
    median_ms = SLOWEST_MS * (FASTEST_MS / SLOWEST_MS) ** rank
    calls = int(np.clip(round(protocol.turn_ms / median_ms), 1, MAX_CALLS))
    shape = (protocol.sessions, protocol.rounds, calls)
    wall = median_ms * np.exp(random.normal(0, 0.02, shape) + random.normal(0, 0.01, (shape[0], 1, 1)))
    wall *= np.where(random.random(shape) < 0.01, random.uniform(1, 4, shape), 1.0)
    hard, sure = random.random(len(labels)), 0.94 - 0.04 * rank
    right = hard < sure
    decisions = np.where(right, labels, (labels + random.integers(1, classes, len(labels))) % classes)
    confidences = np.clip(1 - np.abs(random.normal(0, 0.25, len(labels))) * np.where(right, 0.5, 1.5), 1 / classes, 1)
    wall = np.rint(wall * NS_A_MS) / NS_A_MS  # as clocks give it
    return Raw(Latency(wall, wall.mean(axis=2)), True, Decided(decisions, labels, in_steps(confidences)))


if __name__ == "__main__":
    script.run(main)
