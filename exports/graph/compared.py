"""What two .onnx files of one checkpoint have otherwise."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto, NodeProto, TensorProto

from exports import label
from exports.graph.model_file import parse, read_bytes


def differences(path: Path, other: Path) -> list[str]:
    """One phrase each for what the first file has otherwise than the second; empty if it is the same, bit for bit.

    Raises:
        ExportError: One of them cannot be read.
    """
    contents = read_bytes(path), read_bytes(other)
    if contents[0] == contents[1]:
        return []
    first, second = (parse(name, content) for name, content in zip((path, other), contents, strict=True))
    found = [*_tensors(first, second), *_nodes(first, second)]
    if _label(first) != _label(second):
        found.append("the label (card, preprocessing or provenance)")
    return found or ["bytes outside the graph and the label"]


def _tensors(first: ModelProto, second: ModelProto) -> list[str]:
    ours, theirs = ({tensor.name: tensor for tensor in model.graph.initializer} for model in (first, second))
    if ours.keys() != theirs.keys():
        return [f"{len(ours)} stored tensors, not {len(theirs)}"]
    changed = [name for name, tensor in ours.items() if _bits(tensor) != _bits(theirs[name])]
    if not changed:
        return []
    shape = " x ".join(map(str, ours[changed[0]].dims))
    return [f"the values of {len(changed)} of {len(ours)} stored tensors (the first is of shape {shape})"]


def _nodes(first: ModelProto, second: ModelProto) -> list[str]:
    ours, theirs = ([_node(node) for node in model.graph.node] for model in (first, second))
    changed = sum(one != other for one, other in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
    return [f"{changed} of {len(ours)} nodes"] if changed else []


def _bits(tensor: TensorProto) -> bytes:
    return bytes(tensor.SerializeToString(deterministic=True))


def _node(node: NodeProto) -> bytes:
    return bytes(node.SerializeToString(deterministic=True))


def _label(model: ModelProto) -> list[str]:
    return [entry.value for entry in model.metadata_props if entry.key == label.KEY]
