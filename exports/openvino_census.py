"""What an OpenVINO model weighs and costs."""

from __future__ import annotations

import re
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from exports import folder
from exports.extras import need
from exports.graph.census import GraphCensus, Shape
from exports.run_openvino import EXTRA, GRAPH, KIND, WEIGHTS, load

_ENDS = ("Parameter", "Result", "Constant")
_INDEX_TYPES = ("i32", "i64", "u32", "u64", "boolean", "string")
_GROUPED = {"Convolution": 1, "GroupConvolution": 2}


def graph_census(path: Path) -> GraphCensus:
    """The census of a folder with model.xml and model.bin.

    Raises:
        ExportError: It is not an OpenVINO model.
        MissingExtraError: OpenVINO is not installed.
    """
    need(EXTRA, "openvino")
    content = folder.content_of(path, KIND, (GRAPH, WEIGHTS))
    model = load(path, content)
    operators = model.get_ordered_ops()
    stored = [one for one in operators if one.get_type_name() == "Constant"]
    kinds = Counter(one.get_type_name() for one in operators if one.get_type_name() not in _ENDS)
    costs = [_macs(one) for one in operators]
    version = re.search(rb'<net [^>]*\bversion="(\d{1,9})"', content[GRAPH])
    known = [cost for cost in costs if cost is not None]
    return GraphCensus(
        parameters=sum(_values(one) for one in stored),
        macs=sum(known) if len(known) == len(costs) else None,
        operators=dict(kinds.most_common()),
        versions={"ir_version": int(version.group(1))} if version else {},
        input_shape=_named(model.input(0).get_partial_shape()),
        output_shape=_named(model.output(0).get_partial_shape()),
    )


def _values(constant: Any) -> int:
    """How many a constant has, but for shapes, axes and indices."""
    kind = constant.get_output_element_type(0).get_type_name()
    return 0 if kind in _INDEX_TYPES else prod(constant.get_output_shape(0))


def _macs(operator: Any) -> int | None:
    """One product for each output value and each input value it sums over, for one image; None if a shape is open."""
    kind = operator.get_type_name()
    if kind not in _GROUPED and kind != "MatMul":
        return 0
    out, left, right = (_sides(shape) for shape in (operator.output(0), operator.input(0), operator.input(1)))
    if out is None or left is None or right is None:
        return None
    if kind in _GROUPED:
        return prod(out) * prod(right[_GROUPED[kind] :])
    return prod(out) * left[-2 if operator.get_attributes()["transpose_a"] else -1]


def _sides(value: Any) -> tuple[int, ...] | None:
    """The shape for one image; None where it is open."""
    sides = [side.get_length() if side.is_static else None for side in value.get_partial_shape()]
    sides = [1, *sides[1:]] if sides and sides[0] is None else sides
    known = tuple(side for side in sides if side is not None)
    return known if len(known) == len(sides) else None


def _named(shape: Any) -> Shape:
    return tuple(side.get_length() if side.is_static else "?" if axis else "batch" for axis, side in enumerate(shape))
