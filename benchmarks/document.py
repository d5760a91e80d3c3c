"""A benchmark as a document: plain JSON-able data in which every number is a record.

The document of schema "edgepress-benchmark/5":

    schema      "edgepress-benchmark/5"
    created     when the measurement ended, ISO 8601, UTC
    command     what was typed; "" where it was called from Python
    machine     see compress.evidence.describe, the environment of all records; the load average is that before them
    protocol    runtime, threads, batch, sessions, rounds, turn_ms, warmup_ms, io_binding, level, power; batches (all
                numbers of images of a call, the first of which is `batch`), pin (CPUs; none: the system's choice),
                preprocessing ("outside": the input of a call is scaled and in place when its time begins; "outside and
                inside": calls that begin with pixels were timed as well), cold, minutes and fps (0: not measured)
    data        name, fingerprint, split, samples, classes; or null when quality was not measured
    seen        what files that say nothing of how they see an image were told: size, mean, std, resize, crop; or null
    baseline    the place, from 0, of the file that the others are held against; or null for a file alone
    files       in the order in which they were given; each with
        name        its path as it was given
        sha256      of the file that ran, see exports.Artefact
        lineage     the commands that led to it, the first first; empty where it does not say
        given_sha256   of the file that was given: another one where a checkpoint was exported for this
        network     of a plain state dict, as it was named: arch, options, stages; or null
        made        "as given", or "exported to ONNX for this benchmark" if a checkpoint was given
        input       [channels, height, width]
        classes     number of classes
        task        what it was trained for
        metric      the one of its task that stands for all: top1, miou, map_e_exact
        records     see compress.evidence.Record; those there are, by quantity:
            parameters, values, macs   learnt values, batch-norm not yet folded away; numbers stored; multiply-
                        accumulates of one image
            size        bytes of the file that ran
            latency     ms of wall time of one call, which is of protocol.batch images, of the network alone: the
                        geometric mean of the sessions' medians, and its interval over sessions
            latency_p95, latency_p99, latency_p20, latency_min   ms, over all calls (n)
            latency_cpu ms of CPU time; not where that is not counted (several threads, or too coarse a clock)
            throughput  images/s at that latency
            latency_with_preprocessing   ms of a call that begins with pixels, uint8 and of the size that the file
                        takes: scaled by NumPy, put in place, answered
            latency batch N, throughput batch N   the same of calls of N images, for each further batch; one that the
                        file does not take has a reason
            cold_start  ms in a fresh process that has imported Python and the runtime: opening the file and its first
                        answer; the median of n processes and their range
            peak_memory bytes that such a process held at most until then, above what it held after the imports
            sustained_latency, sustained_p99   ms, over the calls (n) of a run of protocol.minutes; where more were
                        made, over some 100,000 at even distances
            drift       the median of the last fifth of these calls over that of the first, and its interval over ten
                        blocks of each; above 1: it became slower
            longest_stall   ms, the longest time from one answer of that run to the next, less that from frame to
                            frame where they come by the clock; n calls or frames
            deadline_misses, deadline_miss_share   frames of protocol.fps that had no answer when the next one was due,
                        of n; the share with Wilson's interval, as if they were independent
            frames_dropped  those of them that were not looked at, because a newer one had come
            top1, miou, map_e_exact and the other metrics of the task, as shares, with their interval over the test
                        split: Wilson's, a bootstrap over the images, Student's over the queries
            calibration_error   of a file that decides images, a share, see compress.calibration
            top1 CLASS, iou CLASS   the same of each class that has images, by its name
            of a file that is held against the baseline also
            speedup, speedup_cpu   how many times as long the baseline takes, and its interval over the sessions
            speedup batch N and so on   the same on further batches
            least_speedup   the least that nine of ten such measurements would tell from 1
            drop        percentage points of the metric that the baseline has more, with its interval for paired images
            drop CLASS  the same of each class, its interval such that all of them hold at once, see benchmarks.scored
            agreement of the two: top1_agreement, pixel_agreement, a share
            images_lost, images_won, mcnemar_p   those that only the baseline, only this file gets right, and how likely
                        so uneven a division is if the two are equally good
        hurt        whom it hurts, see benchmarks.scored.hurt: names of classes, and the places of the images that
                    flipped; or null
        verdict     kind (faster, slower, same, unsure, noisy) and words, see benchmarks.verdict and benchmarks.noise;
                    or null
        verdicts    number of images of a call to the verdict on these; only where further batches were measured
        explained   see benchmarks.explain; only where that was asked for
        reason      why it was not measured; "" if it was, and then all of the above is there
    noise       of the baseline, or the file alone, held against itself in the same rounds; or null
        records     aa_ratio, x, with its interval; least_speedup, the least that nine of ten such pairs tell from 1
        words       the same as a sentence
    claims      see benchmarks.claims
    samples     file and sha256 of the raw samples beside it, see benchmarks.samples; or null
    warnings    sentences about what makes the numbers doubtful
    digest      of all that stands above, see `digest`; only once it is a file
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from compress.errors import DataError, GateError
from compress.evidence import file_digest
from compress.files import write_text

SCHEMA = "edgepress-benchmark/5"

Document = Mapping[str, Any]
File = Mapping[str, Any]


def number(file: File, quantity: str) -> float | None:
    """The value of a record of a file in a document, or None where there is none."""
    found = record(file, quantity)
    return None if found is None else found["value"]


def record(file: File, quantity: str) -> Mapping[str, Any] | None:
    """The record of a file in a document, or None where there is none."""
    return next((one for one in file["records"] if one["quantity"] == quantity), None)


def baseline(document: Document) -> File | None:
    """The file that the others are held against, if there is one."""
    place = document["baseline"]
    return None if place is None else document["files"][place]


def short_names(paths: Sequence[str]) -> list[str]:
    """What to call each file: its name, with as many of its folders as tell it from the others.

    Args:
        paths: Of a document's files, all of them.
    """
    return [_end(path, paths) for path in paths]


def _end(path: str, paths: Sequence[str]) -> str:
    """The fewest last parts of a path that no other has."""
    often = Counter(paths)
    for count in range(1, len(PurePath(path).parts)):
        tail = PurePath(path).parts[-count:]
        if sum(PurePath(one).parts[-count:] == tail for one in paths) == often[path] == 1:
            return str(PurePath(*tail))
    return path


def save(document: Document, path: Path, *, force: bool = False) -> Path:
    """`path`, holding a document as indented JSON.

    Args:
        document: A benchmark, or another document.
        path: The target file.
        force: Allow a file that already exists to be replaced.

    Raises:
        OutputError: The target may not or cannot be written.
    """
    return write_text(path, text(document), force=force)


def text(document: Document) -> str:
    """A document as indented JSON, as it stands in a file."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest(document: Document) -> str:
    """The hexadecimal SHA-256 of a document without its digest, so that a change of it is noticed."""
    rest = {name: part for name, part in document.items() if name != "digest"}
    return hashlib.sha256(text(rest).encode()).hexdigest()


def read(path: Path) -> dict[str, Any]:
    """The benchmark in a file.

    Raises:
        DataError: There is none.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file; give one that `edgepress benchmark -o` wrote")
    if path.suffix == ".html":
        raise DataError(f"{path} is a page; give the .json that `edgepress benchmark -o` wrote")
    try:
        content = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    return parse(content, str(path))


def read_unaltered(path: Path) -> dict[str, Any]:
    """The benchmark in a file, once it is sure that it is the one that was written.

    Raises:
        DataError: There is none.
        GateError: It was altered, or the raw samples beside it were.
    """
    found = read(path)
    if found.get("digest") != digest(found):
        raise GateError(f"{path}: is not as `edgepress benchmark` wrote it; measure it anew")
    _check_samples(path, found)
    return found


def _check_samples(path: Path, document: Document) -> None:
    """Nothing, where no raw samples lie beside a benchmark, or those that it names; GateError otherwise."""
    named = document.get("samples")
    if not named:
        return
    samples = path.parent / Path(named["file"]).name
    if samples.is_file() and file_digest(samples) != named["sha256"]:
        raise GateError(f"{samples}: is not what `edgepress benchmark` wrote beside {path.name}; measure it anew")


def is_benchmark(path: Path) -> bool:
    """Whether a file is a benchmark, of this version or another."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and str(found.get("schema")).partition("/")[0] == SCHEMA.partition("/")[0]


def parse(content: str, name: str) -> dict[str, Any]:
    """The benchmark in a text.

    Args:
        content: JSON.
        name: What it is called where something is wrong with it.

    Raises:
        DataError: There is none.
    """
    try:
        found = json.loads(content)
    except ValueError as error:
        raise DataError(f"{name} is not JSON: {error}") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{name}: its schema is {schema!r}; give a benchmark, {SCHEMA!r}: measure it anew")
    assert isinstance(found, dict)
    return found
