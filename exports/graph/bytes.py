"""Where the bytes of an .onnx file go: to the node that uses them, to the graph itself, to the label or to the seal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from compress.file_bytes import StoredTensor
from exports import label
from exports.graph import seal
from exports.graph.census import Shape, shape_of
from exports.graph.model_file import at_batch_one, parse, read_bytes
from exports.graph.strip import graphs

_TYPES = {number: name.lower() for name, number in TensorProto.DataType.items()} | {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.UNDEFINED: "",
}
_TYPED_VALUES = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_OTHER_TENSORS = "tensors of no node"


@dataclass(frozen=True)
class NodeBytes:
    """A node that runs for every image, and what the file stores for it.

    Attributes:
        operator: "Conv", "Relu" and so on.
        shape: Of its first output at batch 1; None where that cannot be told.
        stored: The type of the tensor of most values that it uses, its weights; "" where it uses none.
        computes: The type of that output; "" where that cannot be told. A runtime may fuse nodes to another one.
        tensors: What it uses, the largest first, but for those that a node before it uses, too.
        unpacked_by: The operators that make its weights of what is stored, in order, such as Cast and Mul.
    """

    operator: str
    shape: Shape | None
    stored: str
    computes: str
    tensors: tuple[StoredTensor, ...]
    unpacked_by: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Of all its tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class FileBytes:
    """All bytes of a file.

    Attributes:
        nodes: Those that run for every image, in the order of the file, which is one of execution.
        rest: What else there is to its bytes, in order: the graph without the values of tensors, label, seal.
        size_bytes: Of the file: the sum of all the others.
    """

    nodes: tuple[NodeBytes, ...]
    rest: dict[str, int]
    size_bytes: int


def file_bytes(path: Path) -> FileBytes:
    """Where the bytes of an .onnx file go.

    A node that only turns stored tensors into weights (Cast, Mul by a scale, DequantizeLinear, Reshape) runs once, when
    the file is loaded: what it stores is counted with the node that uses the weights.

    Raises:
        ExportError: The file is not an ONNX model, or asks for more than `exports.graph.model_file` allows.
    """
    content = read_bytes(path)
    model = parse(path, content)
    account = _Account(model.graph)
    nodes = _described(account.nodes, at_batch_one(path, model))
    parts = {
        "nodes": sum(node.ByteSize() for node in model.graph.node) - account.inside_nodes,
        _OTHER_TENSORS: account.unused,
        **_of_metadata(model),
    }
    named = sum(parts.values()) + sum(node.size_bytes for node in nodes)
    rest = {"nodes": parts.pop("nodes"), "names and shapes": len(content) - named, **parts}
    return FileBytes(nodes, {part: size for part, size in rest.items() if size}, len(content))


@dataclass(frozen=True)
class _Used:
    """A node that runs, with the tensors that it takes from the file and the operators between."""

    node: NodeProto
    stored: str
    tensors: tuple[StoredTensor, ...]
    unpacked_by: tuple[str, ...]


@dataclass(frozen=True)
class _Made:
    """A value that is the same for every image: the tensors it is made of, by a key of their own, and how."""

    tensors: dict[str, StoredTensor]
    steps: dict[str, str]


class _Account:
    """Which node of a graph takes which stored tensor.

    Args:
        graph: The graph; branches and bodies inside a node are counted with that node.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.nodes: list[_Used] = []
        self.inside_nodes = 0
        stored = {tensor.name: _stored(tensor) for tensor in graph.initializer}
        self._made = {name: _Made({name: tensor}, {}) for name, tensor in stored.items()}
        self._free = dict(stored)
        for number, node in enumerate(graph.node):
            self._add(str(number), node)
        self.unused = sum(tensor.size_bytes for tensor in self._free.values())

    def _add(self, key: str, node: NodeProto) -> None:
        own = {f"{key}/{place}": _stored(tensor) for place, tensor in enumerate(_inside(node))}
        self.inside_nodes += sum(tensor.size_bytes for tensor in own.values())
        self._free |= own
        reads = list(_reads(node))
        made = [self._made[name] for name in reads if name in self._made]
        tensors = own | {name: tensor for one in made for name, tensor in one.tensors.items()}
        steps = {name: step for one in made for name, step in one.steps.items()}
        if node.op_type == "Constant" or (reads and len(made) == len(reads)):
            known = _Made(tensors, steps if node.op_type == "Constant" else {**steps, key: node.op_type})
            self._made |= dict.fromkeys(node.output, known)
            return
        ordered = sorted(tensors, key=lambda name: -math.prod(tensors[name].shape))
        taken = tuple(self._free.pop(name) for name in ordered if name in self._free)
        self.nodes.append(_Used(node, tensors[ordered[0]].type if ordered else "", taken, tuple(steps.values())))


def _inside(node: NodeProto) -> Iterator[TensorProto]:
    """Every tensor inside a node: its own values, and those of the graphs in it."""
    for attribute in node.attribute:
        yield from _of_attribute(attribute)
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            for graph in graphs(inner):
                yield from graph.initializer
                for part in graph.node:
                    for one in part.attribute:
                        yield from _of_attribute(one)


def _of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    yield from [attribute.t] if attribute.HasField("t") else attribute.tensors


def _reads(node: NodeProto) -> Iterator[str]:
    """The names of what a node reads, and the graphs in it."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            for graph in graphs(inner):
                yield from (name for part in graph.node for name in part.input if name)


def _stored(tensor: TensorProto) -> StoredTensor:
    values = TensorProto()
    for field in _TYPED_VALUES:
        if getattr(tensor, field):
            getattr(values, field).extend(getattr(tensor, field))
    size = len(tensor.raw_data) + values.ByteSize()
    return StoredTensor(_TYPES.get(tensor.data_type, str(tensor.data_type)), tuple(tensor.dims), size)


def _described(used: list[_Used], graph: GraphProto) -> tuple[NodeBytes, ...]:
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    return tuple(
        NodeBytes(
            one.node.op_type,
            shape_of(value) if value is not None and value.type.tensor_type.HasField("shape") else None,
            one.stored,
            _TYPES.get(value.type.tensor_type.elem_type, "") if value is not None else "",
            one.tensors,
            one.unpacked_by,
        )
        for one in used
        for value in (values.get(next(iter(one.node.output), "")),)
    )


def _of_metadata(model: ModelProto) -> dict[str, int]:
    """The bytes of label and seal, that of the label by its parts where it is written as edgepress does."""
    found: dict[str, int] = {}
    for entry in model.metadata_props:
        if entry.key == label.KEY:
            parts = _label_parts(entry.value)
            found |= parts | {"label: rest" if parts else "label": entry.ByteSize() - sum(parts.values())}
        elif entry.key == seal.KEY:
            found["seal"] = entry.ByteSize()
    return found


def _label_parts(text: str) -> dict[str, int]:
    try:
        return {f"label: {name}": size for name, size in label.sizes(text).items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
