"""What a .pte file weighs and costs: the graphs that it hands to XNNPACK, and the operators that are left to it."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from compress.errors import ExportError
from exports.extras import need
from exports.graph.census import GraphCensus, Shape
from exports.graph.model_file import read_bytes
from exports.quiet import quiet
from exports.run_executorch import KIND
from exports.to_executorch import EXTRA, METHOD

_SERIALIZED, _XNNPACK = "executorch.exir._serialize", "executorch.backends.xnnpack.serialization"
_NOT_FINITE = re.compile(r":\s*[-+]?(?:inf|nan)\b")
_FLOAT_BYTES = 4
_PRODUCT = re.compile(r"conv|mm\b|matmul|linear|attention")


@dataclass(frozen=True)
class Graph:
    """A part of the network that XNNPACK runs.

    Attributes:
        nodes: Each with the name of its kind under "xnode_union_type", what it is under "xnode_union".
        shapes: Of every value, by its number.
        stored: Bytes of each constant, by a name that is its own.
    """

    nodes: Sequence[Mapping[str, Any]]
    shapes: Mapping[int, tuple[int, ...]]
    stored: Mapping[str, int]


def graph_census(path: Path) -> GraphCensus:
    """The census of a .pte file; its MACs are None where a product is left to another backend than XNNPACK.

    Raises:
        ExportError: It is not a .pte file.
        MissingExtraError: ExecuTorch is not installed.
    """
    need(EXTRA, "executorch.exir")
    content = read_bytes(path, KIND)
    try:
        program = need(EXTRA, f"{_SERIALIZED}._program").deserialize_pte_binary(content).program
        plan = next(plan for plan in program.execution_plan if plan.name == METHOD)
        data = program.backend_delegate_data
        graphs = [_graph(bytes(data[one.processed.index].data)) for one in plan.delegates if one.id == "XnnpackBackend"]
        kinds = Counter(node["xnode_union_type"].removeprefix("XNN") for graph in graphs for node in graph.nodes)
        left = [operator.name.removeprefix("aten::") for operator in plan.operators]
        kinds.update(left)
        elsewhere = len(graphs) != len(plan.delegates) or any(map(_PRODUCT.search, left))
        stored = {name: size for graph in graphs for name, size in graph.stored.items()}
        return GraphCensus(
            parameters=sum(stored.values()) // _FLOAT_BYTES + _stored_beside(plan),
            macs=None if elsewhere else sum(_macs(graph, node) for graph in graphs for node in graph.nodes),
            operators=dict(kinds.most_common()),
            versions={"schema": program.version},
            input_shape=_shape(plan, plan.inputs[0]),
            output_shape=_shape(plan, plan.outputs[0]),
        )
    except Exception as error:  # what reads it trusts every byte of it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"{path}: is not {KIND}, or is damaged: {reason[0]:.200}; export it again") from error


def _graph(content: bytes) -> Graph:
    """The graph in what XNNPACK is handed, which the compiler of flatbuffers turns into JSON."""
    header = need(EXTRA, f"{_XNNPACK}.xnnpack_graph_serialize").XNNHeader
    place = header.from_bytes(content[: header.EXPECTED_LENGTH])
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder, quiet():
        schema, graph = Path(folder) / "schema.fbs", Path(folder) / "graph.bin"
        schema.write_bytes((files(_XNNPACK) / "schema.fbs").read_bytes())
        graph.write_bytes(content[place.flatbuffer_offset :][: place.flatbuffer_size])
        need(EXTRA, f"{_SERIALIZED}._flatbuffer")._flatc_decompile(folder, str(schema), str(graph), ["--raw-binary"])
        found = json.loads(_NOT_FINITE.sub(": null", graph.with_suffix(".json").read_text(encoding="utf-8")))
    values = [value["xvalue_union"] for value in found["xvalues"]]
    tensors = [value.get("tensor_value", value) for value in values]
    constants = found.get("constant_data", [])
    return Graph(
        found["xnodes"],
        {tensor["id_out"]: tuple(tensor["dims"]) for tensor in tensors},
        {one.get("named_key") or f"{place} {one['offset']}": one["size"] for one in constants},
    )


def _macs(graph: Graph, node: Mapping[str, Any]) -> int:
    """One product for each output value and each input value it sums over."""
    kind, told = node["xnode_union_type"], node["xnode_union"]
    if kind in ("XNNConv2d", "XNNDepthwiseConv2d"):
        window = told["kernel_height"] * told["kernel_width"] * told["group_input_channels"]
        return prod(graph.shapes[told["output_id"]]) * int(window)
    if kind == "XNNFullyConnected":
        return prod(graph.shapes[told["output_id"]]) * graph.shapes[told["input1_id"]][-1]
    if kind == "XNNBatchMatrixMultiply":
        return prod(graph.shapes[told["output_id"]]) * graph.shapes[told["input1_id"]][-1]
    return 0


def _stored_beside(plan: Any) -> int:
    """Values of constants that XNNPACK does not hold, but for shapes and indices."""
    tensors = [value.val for value in plan.values if type(value.val).__name__ == "Tensor"]
    return sum(prod(one.sizes) for one in tensors if one.data_buffer_idx > 0 and one.scalar_type.name == "FLOAT")


def _shape(plan: Any, index: int) -> Shape:
    return tuple(plan.values[index].val.sizes)
