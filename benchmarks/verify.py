"""A benchmark held against its own raw samples: every number and every claim that follows from them, derived anew."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks import claims
from benchmarks.derive import Derived, derive, told_noise, told_verdicts
from benchmarks.document import Document, File, digest, text
from benchmarks.raw import Raw
from benchmarks.samples import beside, read_samples
from benchmarks.scored import CALIBRATION, MIOU, TOP1
from compress.errors import DataError, GateError
from compress.evidence import Record

TOLERANCE = 1e-9  # relative: another machine's logarithm may differ in its last bit
NUMBERS = ("value", "low", "high")
WORDS = ("n", "unit", "seed", "reason")
RETRIEVED = tuple(
    f"{name}_{distance}_{how}" for name in ("map", "precision100") for distance in "ec" for how in ("exact", "paper")
)
OF_THE_FILE = ("parameters", "macs", "size")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "latency": ("latency", "latency_p95", "latency_p99", "latency_p20", "latency_min", "latency_cpu", "throughput"),
    "preprocessing": ("latency_with_preprocessing",),
    "start": ("cold_start", "peak_memory"),
    "long run": (
        "sustained_latency",
        "sustained_p99",
        "drift",
        "longest_stall",
        "deadline_misses",
        "deadline_miss_share",
        "frames_dropped",
    ),
    "accuracy": (TOP1, MIOU, "miou_per_image", "pixel_accuracy", *RETRIEVED),
    "calibration": (CALIBRATION,),
    "speed-up": ("speedup", "speedup_cpu", "least_speedup"),
    "drop and agreement": ("drop", "top1_agreement", "pixel_agreement", "images_lost", "images_won", "mcnemar_p"),
}
BY_CLASS: Mapping[str, str] = {TOP1: "accuracy by class", "iou": "accuracy by class", "drop": "drop by class"}
SHOWN = 8  # quantities of a group that a finding names

Found = Literal["re-derived", "re-measured", "not covered", "FAILED"]


@dataclass(frozen=True)
class Finding:
    """What became of one number, one group of them or one claim.

    Attributes:
        found: "re-derived": it follows from the raw samples; "re-measured": it was found again; "not covered": it would
            need more than these; or "FAILED".
        sentence: What it is about, and what was found.
        needs_file: It would be covered by the file itself.
    """

    found: Found
    sentence: str
    needs_file: bool = False

    def to_dict(self) -> dict[str, str]:
        """The finding as JSON-able data."""
        return {"found": self.found, "sentence": self.sentence}


def verify(document: Document, samples: bytes) -> list[Finding]:
    """A finding for the digests, for every group of numbers of every file, and for every claim.

    Args:
        document: A benchmark.
        samples: The content of the raw samples that belong to it.

    Raises:
        DataError: The samples are damaged in a way that leaves nothing to derive from, or the document lacks a part.
    """
    try:
        digests = list(_digests(document, samples))
        if digests[0].found == "FAILED":
            return digests
        return [*digests, *_findings(document, read_samples(samples, "the raw samples"))]
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"the document lacks a part of a benchmark, or has another there: {error!r}") from error


def verify_file(path: Path) -> list[Finding]:
    """A finding for the bytes of a benchmark's file, and then all of `verify` of what it says.

    Args:
        path: Of the document, its raw samples beside it.

    Raises:
        DataError: One of both is missing or damaged.
    """
    document, samples = beside(path)
    same = path.read_bytes() == text(document).encode()
    said = "no byte is other than it was written" if same else "it is not as it was written: something was altered"
    return [Finding("re-derived" if same else "FAILED", f"text of the document: {said}"), *verify(document, samples)]


def check_unaltered(document: Document, samples: bytes, name: str) -> None:
    """Nothing, where a document and its raw samples have the digests that it says.

    Args:
        document: A benchmark.
        samples: The content of its raw samples.
        name: What it is called where it was altered.

    Raises:
        GateError: One of them was altered.
    """
    for one in _digests(document, samples):
        if one.found == "FAILED":
            raise GateError(f"{name}: {one.sentence}; measure anew")


def _digests(document: Document, samples: bytes) -> Iterator[Finding]:
    told = document["samples"]["sha256"]
    same = hashlib.sha256(samples).hexdigest() == told
    yield Finding("re-derived" if same else "FAILED", f"digest of the raw samples {_beside(same, told)}")
    same = digest(document) == document.get("digest")
    yield Finding("re-derived" if same else "FAILED", f"digest of the document {_beside(same, document.get('digest'))}")


def _beside(same: bool, told: object) -> str:
    return f"is {told!s:.12}..." if same else f"is not the {told!s:.12}... that it says: something was altered"


def _findings(document: Document, raws: Mapping[int, Raw]) -> Iterator[Finding]:
    files, place, data = document["files"], document["baseline"], document["data"]
    classes = data["classes"] if data else ()
    base = None if place is None else raws.get(place)
    if place is not None and base is None:
        yield Finding("FAILED", "the baseline has no raw samples: nothing can be held against it")
    yield from _noise(document, raws.get(0 if place is None else place))
    whole = []
    for at, file in enumerate(files):
        raw = raws.get(at)
        derived = derive(raw, None if at == place else base, classes) if raw is not None else None
        yield from _of_file(file, derived)
        kept = [one for one in file["records"] if one["quantity"] not in _names(derived)]
        new = [] if derived is None else [one.to_dict() for one in derived.records]
        whole.append({**file, "records": [*kept, *new]})
    if stray := sorted(set(raws) - set(range(len(files)))):
        yield Finding("FAILED", f"there are raw samples of files {stray}, which the document does not have")
    yield from _claims(document, {**document, "files": whole})


def _of_file(file: File, derived: Derived | None) -> Iterator[Finding]:
    name = file["name"]
    if derived is None:
        measured = bool(file["records"]) or not file["reason"]
        said = "has numbers, but no raw samples" if measured else f"was not measured: {file['reason']}"
        yield Finding("FAILED" if measured else "not covered", f"{name}: {said}")
        return
    told: dict[str, list[Mapping[str, Any]]] = {}
    for one in file["records"]:
        told.setdefault(one["quantity"], []).append(one)
    groups: dict[str, list[str]] = {}
    for quantity in dict.fromkeys((*told, *(one.quantity for one in derived.records))):
        groups.setdefault(group_of(quantity), []).append(quantity)
    rest = groups.pop("", [])
    for group, quantities in groups.items():
        yield from _group(f"{name}: {group}", {quantity: told.get(quantity, ()) for quantity in quantities}, derived)
    yield from _hurt(file, derived)
    yield from _verdicts(file, derived)
    if strays := [one["quantity"] for one in file["records"] if one["sha256"] != file["sha256"]]:
        yield Finding("FAILED", f"{name}: {', '.join(strays)} are about another file than it is, by their sha256")
    if file.get("explained"):
        yield Finding("not covered", f"{name}: where its time goes: needs a profile of the file")
    if rest:
        yield Finding("not covered", f"{name}: {', '.join(rest)}: need the file {file['sha256']:.12}...", True)


def _hurt(file: File, derived: Derived) -> Iterator[Finding]:
    """Whether the document names the classes and the images that follow from the samples."""
    if file["hurt"] != derived.hurt:
        yield Finding("FAILED", f"{file['name']}: whom it hurts: not the classes and images that the samples say")
    elif derived.hurt is not None:
        yield Finding(
            "re-derived", f"{file['name']}: whom it hurts: {', '.join(derived.hurt['classes']) or 'no class'}"
        )


def group_of(quantity: str) -> str:
    """What a quantity is one of; "" where it does not follow from the raw samples."""
    first, space, last = quantity.partition(" ")
    if space:
        return BY_CLASS.get(first, last if last.startswith("batch ") else "")
    return next((group for group, names in GROUPS.items() if quantity in names), "")


def _group(about: str, told: Mapping[str, Sequence[Mapping[str, Any]]], derived: Derived) -> Iterator[Finding]:
    """What became of the numbers of a group; nothing where none of them was measured."""
    differ = [said for quantity, records in told.items() if (said := _difference(records, derived, quantity))]
    known = [quantity for quantity in told if quantity in _names(derived)]
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    if differ:
        yield Finding("FAILED", f"{about}: {'; '.join(differ)}")
    elif known:
        yield Finding("re-derived", f"{about}: {', '.join(known[:SHOWN])}{more}")


def _verdicts(file: File, derived: Derived) -> Iterator[Finding]:
    name, pairs = file["name"], {"verdict": (file["verdict"], derived.verdict and derived.verdict.to_dict())}
    told, new = file.get("verdicts", {}), told_verdicts(derived)
    pairs |= {f"verdict on batch {size}": (told.get(size), new.get(size)) for size in {**told, **new}}
    for what, (says, words) in pairs.items():
        if says != words:
            yield Finding("FAILED", f"{name}: {what}: says {says}, the samples say {words}")
        elif words:
            yield Finding("re-derived", f"{name}: {what}: {words['words']}")


def _noise(document: Document, raw: Raw | None) -> Iterator[Finding]:
    """The noise floor, derived anew from the raw samples of the baseline or the file alone."""
    told, new = document["noise"], None if raw is None else told_noise(raw)
    if told is None or new is None:
        if told != new:
            yield Finding("FAILED", f"noise: says {told}, the samples say {new}")
        return
    derived = Derived([Record.from_dict(one) for one in new["records"]], None)
    named = {one["quantity"]: [one] for one in told["records"]}
    names = {*named, *_names(derived)}
    differ = [said for name in sorted(names) if (said := _difference(named.get(name, ()), derived, name))]
    if differ or told["words"] != new["words"]:
        yield Finding("FAILED", f"noise: {'; '.join(differ) or told['words']}")
    else:
        yield Finding("re-derived", f"noise: {told['words']}")


def _names(derived: Derived | None) -> set[str]:
    return set() if derived is None else {one.quantity for one in derived.records}


def _difference(told: Sequence[Mapping[str, Any]], derived: Derived, quantity: str) -> str:
    """In what a record differs from what follows from the samples; "" where it does not."""
    new = next((one.to_dict() for one in derived.records if one.quantity == quantity), None)
    if new is None:
        return f"{quantity} does not follow from the samples" if any(one["value"] is not None for one in told) else ""
    if len(told) != 1:
        return f"{quantity} is there {len(told)} times"
    differ = [part for part in NUMBERS if not _close(told[0][part], new[part])]
    differ += [part for part in WORDS if told[0][part] != new[part]]
    return ", ".join(f"{quantity}: {part} is {told[0][part]}, the samples say {new[part]}" for part in differ)


def _close(told: object, new: object) -> bool:
    if not isinstance(told, int | float) or not isinstance(new, int | float):
        return told is None and new is None
    return not isinstance(told, bool) and math.isclose(told, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE**2)


def _claims(document: Document, derived: Document) -> Iterator[Finding]:
    """Every claim of a document judged again, on what was derived; and that none was left out for one file alone."""
    told = document["claims"]
    bounds = {one["claim"]: one["bound"] for one in told}
    if unknown := sorted(set(bounds) - set(claims.BOUNDS)):
        yield Finding("FAILED", f"claims: {', '.join(unknown)} are none that can be judged")
        return
    new = [one.to_dict() for one in claims.check(derived, bounds)]
    if len(new) != len(told):
        yield Finding("FAILED", f"claims: there are {len(told)}; of these files there have to be {len(new)}")
    for one, other in zip(told, new, strict=False):
        said = f"claim: {one['held']}: {one['sentence']}"
        if one != other:
            yield Finding("FAILED", f"{said}; the samples say: {other['held']}: {other['sentence']}")
        elif claims.BOUNDS[one["claim"]].quantity in OF_THE_FILE:
            yield Finding("not covered", f"{said} (it follows from its number, which needs the file)", True)
        else:
            yield Finding("re-derived", said)
