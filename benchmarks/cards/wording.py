"""The records of a file as a person reads them: a name, digits that mean something, and a unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.claims import number_text
from benchmarks.pages.words import amount, milliseconds
from compress.evidence import Record

NAMES = {
    "parameters": "parameters",
    "values": "numbers stored",
    "macs": "multiply-accumulates of an image",
    "size": "size",
    "latency": "latency of a call",
    "latency_p95": "latency, 95th percentile",
    "latency_p99": "latency, 99th percentile",
    "latency_p20": "latency, 20th percentile",
    "latency_min": "latency, the least",
    "latency_cpu": "CPU time of a call",
    "latency_with_preprocessing": "latency from pixels",
    "throughput": "throughput",
    "cold_start": "cold start: opening it and its first answer",
    "peak_memory": "peak memory until the first answer",
    "sustained_latency": "latency in a long run",
    "sustained_p99": "latency in a long run, 99th percentile",
    "drift": "drift of a long run: its last fifth over its first",
    "longest_stall": "longest wait for an answer in a long run, beyond that for a frame",
    "deadline_misses": "frames answered too late",
    "deadline_miss_share": "share of frames answered too late",
    "frames_dropped": "frames not looked at",
    "top1": "top-1 accuracy",
    "miou": "mean IoU",
    "miou_per_image": "mean IoU, image by image",
    "iou": "IoU",
    "pixel_accuracy": "accuracy of pixels",
    "calibration_error": "calibration error",
    "speedup": "speed-up over the baseline",
    "speedup_cpu": "speed-up over the baseline, CPU time",
    "least_speedup": "least speed-up that would have been seen",
    "drop": "score below the baseline's",
    "top1_agreement": "images decided as the baseline does",
    "pixel_agreement": "pixels decided as the baseline does",
    "images_lost": "images that only the baseline gets right",
    "images_won": "images that only this file gets right",
    "mcnemar_p": "p of McNemar's test of these two",
}
RETRIEVAL = {
    f"{kind}_{by}_{how}": f"{words} by {distance}{ties}"
    for kind, words in (("map", "mAP"), ("precision100", "precision of the first 100"))
    for by, distance in (("e", "Euclidean distance"), ("c", "cosine"))
    for how, ties in (("exact", ""), ("paper", ", as published tables count it"))
}
UNITS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "share": ("%", lambda value: f"{100 * value:.2f}"),
    "points": ("points", lambda value: f"{value:.2f}"),
    "ms": ("ms", milliseconds),
    "bytes": ("", lambda value: amount(value, "B")),
    "x": ("times", lambda value: f"{value:.3g}"),
    "images/s": ("images/s", lambda value: f"{value:,.0f}"),
}


def name_text(quantity: str) -> str:
    """What a quantity is called: "top-1 accuracy, class cat" of "top1 cat"; one without a name of its own as it is.

    Args:
        quantity: Of a record, see `benchmarks.document`.
    """
    kind, _, part = quantity.partition(" ")
    of = part if part.startswith("batch ") else f"class {part}"
    return f"{(NAMES | RETRIEVAL).get(kind, kind)}{f', {of}' if part else ''}"


def value_texts(record: Record) -> tuple[str, str, str]:
    """The value, the interval around it ("" for none) and the unit of a record.

    Args:
        record: One that has a value.
    """
    if isinstance(record.value, str):
        return record.value, "", record.unit
    unit, words = UNITS.get(record.unit, (record.unit, number_text))
    value, *ends = ("" if one is None else words(one) for one in (record.value, record.low, record.high))
    return value, " to ".join(ends) if all(ends) else "", unit
