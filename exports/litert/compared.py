"""What two .tflite files of one checkpoint have otherwise."""

from __future__ import annotations

from pathlib import Path

from exports import label
from exports.litert.model_file import Model, Stored, note, parse, read_bytes

_File = tuple[Path, bytes, Model]


def differences(path: Path, other: Path) -> list[str]:
    """One phrase each for what the first file has otherwise than the second; empty if it is the same, bit for bit.

    Raises:
        ExportError: One of them cannot be read.
    """
    contents = read_bytes(path), read_bytes(other)
    if contents[0] == contents[1]:
        return []
    first, second = (
        (name, content, parse(name, content)) for name, content in zip((path, other), contents, strict=True)
    )
    found = [*_tensors(first, second), *_operators(first, second)]
    if _label(first) != _label(second):
        found.append("the label (card, preprocessing or provenance)")
    return found or ["bytes outside the graph and the label"]


def _tensors(first: _File, second: _File) -> list[str]:
    ours, theirs = (_stored(file) for file in (first, second))
    if len(ours) != len(theirs):
        return [f"{len(ours)} stored tensors, not {len(theirs)}"]
    changed = [tensor for (tensor, bits), (_, other) in zip(ours, theirs, strict=True) if bits != other]
    if not changed:
        return []
    shape = " x ".join(map(str, changed[0].shape))
    return [f"the values of {len(changed)} of {len(ours)} stored tensors (the first is of shape {shape})"]


def _stored(file: _File) -> list[tuple[Stored, tuple[object, ...]]]:
    """Each stored tensor with all that it is."""
    _, content, model = file
    tensors = [tensor for graph in model.graphs for tensor in graph.tensors if tensor.span[0] < tensor.span[1]]
    return [(one, (one.shape, one.kind, one.scales, content[slice(*one.span)])) for one in tensors]


def _operators(first: _File, second: _File) -> list[str]:
    ours, theirs = ([one for graph in model.graphs for one in graph.operators] for _, _, model in (first, second))
    changed = sum(one != other for one, other in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
    return [f"{changed} of {len(ours)} operators"] if changed else []


def _label(file: _File) -> bytes:
    path, content, model = file
    span = note(path, model, label.KEY)
    return content[slice(*span)] if span else b""
