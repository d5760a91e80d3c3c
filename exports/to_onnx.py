"""A checkpoint as the bytes of one .onnx file: small, sealed, and free of local paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from onnx import ModelProto
from onnx.shape_inference import InferenceError
from torch import Tensor, nn

from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from compress.quantization import Grid, codes_of, round_with
from compress.tasks import TASKS
from exports import label
from exports.graph.activations import as_operators
from exports.graph.codes import least_ir_version, least_opset, store
from exports.graph.pixels import take_pixels
from exports.graph.seal import seal
from exports.graph.strip import strip
from exports.labelling import describe
from exports.quiet import quiet
from exports.source import DEFAULT_OPSET, OPSETS, Settings, noise, source_network
from exports.torchlib import asked_once


def write(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
    """Write the network as an .onnx file of any batch size; its input is the scaled image, or its pixels.

    Raises:
        ExportError: The opset is out of range, or the network cannot be expressed in ONNX.
    """
    path.write_bytes(to_model(checkpoint, settings).SerializeToString(deterministic=True))


def to_model(checkpoint: Checkpoint, settings: Settings) -> ModelProto:
    """The network in ONNX, checked by the checker of ONNX, labelled and sealed if so wished: the same bits each time.

    Args:
        checkpoint: What to express; it is left as it is.
        settings: The operator set, what goes in, and whether the lineage goes with it.

    Raises:
        ExportError: The opset is out of range, or the network cannot be expressed in ONNX.
    """
    opset = _opset(settings.opset, checkpoint.card.grids)
    model = to_lowered(checkpoint, settings)
    if settings.label:
        _label(model, describe(checkpoint, replace(settings, opset=opset)))
    _check(model, opset)
    if settings.label:
        seal(model)
    return model


def to_lowered(checkpoint: Checkpoint, settings: Settings) -> ModelProto:
    """The network in ONNX and nothing else: batch-norm folded, stripped, not labelled; what other formats start from.

    Args:
        checkpoint: What to express; it is left as it is.
        settings: The operator set, and what goes in.

    Raises:
        ExportError: The opset is out of range, or the network cannot be expressed in ONNX.
    """
    grids, output = checkpoint.card.grids, TASKS[checkpoint.card.task].output
    image, opset = noise(checkpoint.card, 2), _opset(settings.opset, grids)
    network = source_network(checkpoint)
    round_with(network, as_operators)
    model = _convert(network, output, image, opset)
    store(model, codes_of(checkpoint.network, grids))
    model.ir_version = max(model.ir_version, least_ir_version(grids))
    return strip(take_pixels(model, checkpoint.card.scale) if settings.input == "uint8" else model)


def _label(model: ModelProto, text: str) -> None:
    model.producer_name, model.producer_version = "edgepress", label.tool_version()
    entry = model.metadata_props.add()
    entry.key, entry.value = label.KEY, text


def _opset(asked: int | None, grids: Sequence[Grid]) -> int:
    """The operator set to write, once it has the types of the weights."""
    least = least_opset(grids)
    opset = max(DEFAULT_OPSET, least) if asked is None else asked
    if opset not in OPSETS:
        raise ExportError(f"opset {opset} is not supported; allowed are {OPSETS[0]} to {OPSETS[-1]}")
    if opset < least:
        bits = min(grid.bits for grid in grids)
        raise ExportError(f"opset {opset} knows no weights of {bits} bits; give --opset {least} or leave it out")
    return opset


def _convert(network: nn.Module, output: str, image: Tensor, opset: int) -> ModelProto:
    try:
        with quiet(), asked_once():
            program = torch.onnx.export(
                network,
                (image,),
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=opset,
                input_names=["input"],
                output_names=[output],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(f"torch cannot express this network in ONNX (opset {opset}): {reason}") from error
    if program is None:
        raise ExportError(f"torch's exporter gave no ONNX program (torch {torch.__version__})")
    return program.model_proto


def _check(model: ModelProto, opset: int) -> None:
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("") != opset:
        raise ExportError(f"torch wrote opset {written.get('')} where {opset} was asked for; choose another opset")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, InferenceError) as error:
        raise ExportError(f"the exported model is not valid ONNX: {str(error).strip().splitlines()[0]}") from error
