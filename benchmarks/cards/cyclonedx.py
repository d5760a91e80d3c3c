"""A shipped file as an ML-BOM of CycloneDX 1.7: what it is, its hashes, its numbers, its data and how it was made.

Reference: the JSON schema at https://cyclonedx.org/schema/bom-1.7.schema.json, and the OWASP guide to ML-BOM.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from benchmarks.cards.known import Known, is_of_images
from compress.evidence import Record
from exports import Artefact
from exports.label import tool_version

SCHEMA = "http://cyclonedx.org/schema/bom-1.7.schema.json"
SPACE = UUID("7f8b3f0e-5c5a-5a53-9a42-6f1f6d1c8b11")  # of our serial numbers: equal content has an equal one


def bom(known: Known) -> dict[str, Any]:
    """The ML-BOM as JSON-able data; the same for the same file and benchmark.

    The file is `metadata.component`, the data sets are `components`, the lineage is the workflow under `formulation`.

    Args:
        known: The file.
    """
    data = list(_data_sets(known))
    steps = [_step(step) for step in known.lineage]
    content = {
        "metadata": {
            **({"timestamp": known.bench.document["created"]} if known.bench else {}),
            "tools": {"components": _tools(known)},
            "component": _model(known, [one["bom-ref"] for one in data]),
        },
        **({"components": data} if data else {}),
        **({"formulation": [_formula(known, steps)]} if steps else {}),
    }
    serial = uuid5(SPACE, json.dumps(content, sort_keys=True))
    head = {"$schema": SCHEMA, "bomFormat": "CycloneDX", "specVersion": "1.7", "serialNumber": f"urn:uuid:{serial}"}
    return {**head, "version": 1, **content}


def _model(known: Known, data: list[str]) -> dict[str, Any]:
    artefact, bench = known.artefact, known.bench
    parts = [{"type": "file", "name": name, **_hashes(digest)} for name, digest in known.digests.items()]
    reference = {"url": bench.name, "type": "quality-metrics", **_hashes(bench.sha256)} if bench else None
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{artefact.sha256}",
        "name": known.name,
        **({"components": parts} if artefact.path.is_dir() else _hashes(artefact.sha256)),
        "modelCard": {
            "modelParameters": _parameters(artefact, data),
            "quantitativeAnalysis": {"performanceMetrics": [*_metrics(known)]},
        },
        **({"externalReferences": [reference]} if reference else {}),
        "properties": [*_properties(known)],
    }


def _parameters(artefact: Artefact, data: list[str]) -> dict[str, Any]:
    card = artefact.card
    batch = artefact.batch or "batch"
    sides = dict(zip("CHW", artefact.image_shape, strict=False))
    shape = ", ".join(str(sides.get(axis) or axis) for axis in artefact.layout[1:])
    return {
        **({"task": card.task, "modelArchitecture": card.architecture.name} if card else {}),
        **({"datasets": [{"ref": ref} for ref in data]} if data else {}),
        "inputs": [{"format": f"{artefact.dtype} of shape ({batch}, {shape}), {artefact.layout}"}],
    }


def _metrics(known: Known) -> Iterator[dict[str, Any]]:
    """Every number, its unit beside its name, for the schema has no place of its own for it."""
    for record in known.records:
        if not isinstance(record.value, int | float):
            continue
        bounds = {"lowerBound": record.low, "upperBound": record.high}
        ends = {name: str(bound) for name, bound in bounds.items() if bound is not None}
        name, slice_ = _slice(record, known)
        yield {
            "type": name + (f" [{record.unit}]" if record.unit else ""),
            "value": str(record.value),
            **({"slice": slice_} if slice_ else {}),
            **({"confidenceInterval": ends} if ends else {}),
        }


def _slice(record: Record, known: Known) -> tuple[str, str]:
    """What is measured, and on which images: a split, or one class of it ("top1 cat"); "" where it is about none."""
    if known.data is None or not is_of_images(record):
        return record.quantity, ""
    name, _, part = record.quantity.partition(" ")
    split = f"{known.data['split']} split of {known.data['name']}"
    return name, f"{split}, class {part}" if part else split


def _properties(known: Known) -> Iterator[dict[str, str]]:
    """What the schema has no place for: where the file comes from, and what its numbers rest on."""
    artefact, bench = known.artefact, known.bench
    if artefact.provenance:
        for name, value in asdict(artefact.provenance).items():
            if value != "":
                yield _property(name, value)
    if bench:
        yield _property("benchmark:command", bench.document["command"])
        if bench.baseline:
            yield _property("benchmark:baseline", Path(bench.baseline["name"]).name)
            yield _property("benchmark:baseline:sha256", bench.baseline["sha256"])
        for name, value in bench.document["machine"].items():
            if value is not None:
                yield _property(f"benchmark:machine:{name}", value)
        for name, value in bench.document["protocol"].items():
            yield _property(f"benchmark:protocol:{name}", value)
        for record in known.records:
            if record.n is not None:
                yield _property(f"benchmark:samples:{record.quantity}", record.n)


def _data_sets(known: Known) -> Iterator[dict[str, Any]]:
    """Those that the file was made from and those that it was measured on, each once."""
    found: dict[str, dict[str, Any]] = {}
    steps = [step["data"] for step in known.lineage if isinstance(step.get("data"), Mapping)]
    for facts in (*steps, *([known.data] if known.data else ())):
        ref = f"data:{facts.get('name')}:{facts.get('fingerprint')}"
        told = {name: value for name, value in facts.items() if name not in ("name", "classes")}
        found[ref] = {"name": str(facts.get("name")), **found.get(ref, {}), **told}
    for ref, facts in found.items():
        name = facts.pop("name")
        contents = {"properties": [_property(key, value) for key, value in facts.items()]}
        held = {"type": "dataset", "name": name, "contents": contents}
        yield {"type": "data", "bom-ref": ref, "name": name, "data": [held]}


def _formula(known: Known, steps: list[dict[str, Any]]) -> dict[str, Any]:
    ref = f"lineage:{known.artefact.sha256}"
    return {"workflows": [{"bom-ref": ref, "uid": ref, "taskTypes": ["build"], "steps": steps}]}


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in step.items() if name != "command"}
    command = {"commands": [{"executed": str(step["command"])}]} if step.get("command") else {}
    return {**command, "properties": [_property(name, value) for name, value in told.items()]}


def _tools(known: Known) -> list[dict[str, str]]:
    """What wrote this, and the versions of what measured the file."""
    own = {"type": "application", "name": "edgepress", "version": tool_version()}
    provenance = known.artefact.provenance
    made = {"torch": provenance.torch_version} if provenance else {}
    return [own, *({"type": "library", "name": name, "version": version} for name, version in made.items())]


def _hashes(sha256: str) -> dict[str, list[dict[str, str]]]:
    return {"hashes": [{"alg": "SHA-256", "content": sha256}]}


def _property(name: str, value: object) -> dict[str, str]:
    return {"name": f"edgepress:{name}", "value": value if isinstance(value, str) else json.dumps(value)}
