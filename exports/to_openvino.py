"""A checkpoint as a folder with the two files of OpenVINO's intermediate representation, model.xml and model.bin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto, NodeProto, helper, numpy_helper

from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from exports.extras import need
from exports.labelling import label_folder
from exports.run_openvino import EXTRA, GRAPH, reason
from exports.source import Settings
from exports.to_onnx import to_lowered

LEAST_BITS = 4


def write(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
    """Write the network for any batch size; its input is the scaled image, or its pixels. Codes stay codes.

    Raises:
        ExportError: The network cannot be expressed in ONNX, from which OpenVINO reads it, or OpenVINO lacks an
            operator or a type of it.
        MissingExtraError: OpenVINO is not installed.
    """
    openvino = need(EXTRA, "openvino")
    _check(checkpoint, path)
    content = _biases_apart(_all_roundings(to_lowered(checkpoint, settings))).SerializeToString(deterministic=True)
    path.mkdir()
    try:
        model = openvino.Core().read_model(content, b"")
        _name_by_place(model)
        openvino.save_model(model, path / GRAPH, compress_to_fp16=False)
    except Exception as error:  # the C++ behind it raises whatever the operator at hand throws
        raise ExportError(f"{path.name}: OpenVINO cannot express this network: {reason(error)}") from error
    _close_up(path / GRAPH)
    label_folder(path, checkpoint, settings)


def _check(checkpoint: Checkpoint, path: Path) -> None:
    strange = {grid.bits for grid in checkpoint.card.grids if grid.bits < LEAST_BITS}
    if strange:
        raise ExportError(
            f"{path.name}: OpenVINO has no type for weights of {' and '.join(map(str, sorted(strange)))} bits; take "
            "the scheme w8 or w4, or export to .onnx"
        )


def _all_roundings(model: ModelProto) -> ModelProto:
    """The model with a leaky ReLU of slope 1, which changes no bit, before grids from a convolution to an addition.

    Where nothing stands between the two, the kernels of OpenVINO for whole numbers compute a convolution, its grid and
    the addition in one, and leave the rounding of that grid out: a quarter of the values behind it get another code.
    """
    graph, nodes = model.graph, list(model.graph.node)
    makers = {name: node for node in nodes for name in node.output}
    added = {name for node in nodes if node.op_type == "Add" for name in node.input}
    bound = {node.input[0] for node in nodes if node.op_type == "DequantizeLinear" and node.output[0] in added}
    del graph.node[:]
    for node in nodes:
        if node.op_type == "QuantizeLinear" and node.output[0] in bound and _convolved(node.input[0], makers):
            kept = f"{node.output[0]}/kept"
            graph.node.append(helper.make_node("LeakyRelu", [node.input[0]], [kept], alpha=1.0))
            node.input[0] = kept
        graph.node.append(node)
    return model


def _convolved(value: str, makers: Mapping[str, NodeProto]) -> bool:
    """Whether it comes from a convolution, at once or by what its grid takes in."""
    maker = makers.get(value)
    while maker is not None and maker.op_type in ("Relu", "Clip"):
        maker = makers.get(maker.input[0])
    return maker is not None and maker.op_type == "Conv"


def _biases_apart(model: ModelProto) -> ModelProto:
    """The model with the bias of every convolution added after it; inside, OpenVINO makes nine operators of it."""
    graph, nodes = model.graph, list(model.graph.node)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    del graph.node[:]
    for node in nodes:
        graph.node.append(node)
        window = next((entry.ints for entry in node.attribute if entry.name == "kernel_shape"), None)
        if node.op_type != "Conv" or window is None or len(node.input) < 3 or node.input[2] not in stored:
            continue
        convolution = graph.node[-1]
        (answer,), bias = convolution.output, numpy_helper.to_array(stored[convolution.input[2]])
        column, before = f"{answer}/bias", f"{answer}/convolution"
        graph.initializer.append(numpy_helper.from_array(bias.reshape(-1, *(1 for _ in window)), column))
        graph.node.append(helper.make_node("Add", [before, column], [answer]))
        del convolution.input[2]
        convolution.output[0] = before
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _name_by_place(model: Any) -> None:
    """Give every operator its place as a name; those of OpenVINO go on counting from one network to the next."""
    for place, operator in enumerate(model.get_ordered_ops()):
        if operator.get_type_name() not in ("Parameter", "Result"):
            operator.set_friendly_name(f"{place:x}")


def _close_up(graph: Path) -> None:
    """Rewrite the XML without what only indents it, which is a third of it."""
    graph.write_text(re.sub(r">\s+<", "><", graph.read_text(encoding="utf-8")), encoding="utf-8")
