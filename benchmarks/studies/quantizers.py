"""Quantizers of other projects: each makes a file of its own of the same float network and the same images.

None of them is needed by edgepress; what is not installed is not imported, and says so. Nothing here is tuned for one
network, and every quantizer looks at all the images that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from exports.extras import untold
from exports.litert.builder import IDENTIFIER
from exports.quiet import STDERR, STDOUT, quiet, silent

ONNX, LITERT, OPENVINO = ".onnx", ".tflite", ".openvino"
GRAPH = "model.xml"  # in a folder of OpenVINO, its weights in another file beside it
_INPUT, _SIGNATURE = "input", "serving_default"


@dataclass(frozen=True)
class Source:
    """What every quantizer starts from.

    Attributes:
        files: Suffix to the float network in that format, without a label.
        images: Batches (B, C, H, W) of scaled images to calibrate on.
    """

    files: Mapping[str, Path]
    images: Sequence[Tensor]

    @property
    def singles(self) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
        """(1, C, H, W), image by image."""
        for batch in self.images:
            yield from batch.numpy()[:, None]


@dataclass(frozen=True)
class Quantizer:
    """A quantizer, and what it is held against.

    Attributes:
        package: What is installed by that name.
        modules: What is imported, without dots.
        suffix: Of what it writes.
        how: In words.
        ours: The file of edgepress that stores and computes alike.
        make: Writes the file, or folder, at a path that does not exist; it raises whatever it meets.
    """

    package: str
    modules: tuple[str, ...]
    suffix: str
    how: str
    ours: str
    make: Callable[[Source, Path], None]

    @property
    def missing(self) -> str:
        """Why it cannot run, or nothing."""
        absent = [module for module in self.modules if find_spec(module) is None]
        return f"not installed: pip install {' '.join(absent)}" if absent else ""

    @property
    def version(self) -> str:
        """Of its package; empty where that is not known."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""


def made_by(quantizer: Quantizer, source: Source, path: Path) -> str:
    """Why the quantizer gave no file; empty once it lies at `path`.

    Args:
        quantizer: Of another project.
        source: What it starts from; left as it is.
        path: Of its file or folder, in a folder that may take more files.
    """
    if quantizer.missing:
        return quantizer.missing
    try:
        with quiet(), silent(STDOUT, STDERR), untold():
            quantizer.make(source, path)
    except Exception as error:  # others raise whatever they meet
        return first_line(error)
    return "" if path.exists() else "it wrote no file"


def first_line(error: Exception) -> str:
    """The type of an error and the beginning of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message':.300}"


class _Reader:
    """Batches as ONNX Runtime's quantizer asks for them."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch by the name of the input; None after the last."""
        batch = next(self._left, None)
        return None if batch is None else {_INPUT: batch.numpy()}


def _onnxruntime_static(source: Source, path: Path, *, by: str, reduced: bool) -> None:
    """Per channel, activations uint8, weights int8."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    quantize_static(
        _prepared(source, path),
        path,
        cast(CalibrationDataReader, _Reader(source.images)),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=reduced,
        calibrate_method=CalibrationMethod[by],
    )


def _onnxruntime_dynamic(source: Source, path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(_prepared(source, path), path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def _prepared(source: Source, path: Path) -> Path:
    """The float file after the pass that ONNX Runtime asks for before its quantizers."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_name(f"prepared-{path.name}")
    quant_pre_process(source.files[ONNX], prepared, skip_symbolic_shape=True)
    return prepared


def _nncf(source: Source, path: Path) -> None:
    """Image by image, since the statistics of NNCF are those of single ones."""
    import nncf
    import openvino

    images = list(source.singles)
    whole = openvino.Core().read_model(source.files[ONNX])
    small = nncf.quantize(whole, nncf.Dataset(images), subset_size=len(images))
    path.mkdir()
    openvino.save_model(small, path / GRAPH, compress_to_fp16=False)


def _nncf_onnx(source: Source, path: Path) -> None:
    import nncf
    import onnx

    images = [{_INPUT: image} for image in source.singles]
    whole = onnx.load(source.files[ONNX])
    onnx.save(nncf.quantize(whole, nncf.Dataset(images), subset_size=len(images)), path)


def _ai_edge(source: Source, path: Path, *, name: str) -> None:
    """What comes in and goes out stays float32, as in the files that it is held against."""
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.qtyping import TFLOperationName

    tool = quantizer.Quantizer(str(_named(source, path)), getattr(recipe, name)())
    for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        tool.update_quantization_recipe(regex=".*", operation_name=edge, algorithm_key="no_quantize")
    ranges = None
    if tool.need_calibration:
        images = [{_INPUT: np.ascontiguousarray(np.moveaxis(image, 1, -1))} for image in source.singles]
        ranges = tool.calibrate({_SIGNATURE: images}, num_threads=1)
    tool.quantize(ranges).export_model(str(path))


def _named(source: Source, path: Path) -> Path:
    """The float file with a name for every tensor and a signature, by which ai-edge-quantizer finds its way."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(source.files[LITERT].read_bytes(), 0))
    (graph,) = model.subgraphs
    for index, tensor in enumerate(graph.tensors):
        tensor.name = tensor.name or f"tensor{index}"
    ends = [
        [schema.TensorMapT(name=name, tensorIndex=index) for index in indices]
        for name, indices in ((_INPUT, graph.inputs), ("output", graph.outputs))
    ]
    model.signatureDefs = [schema.SignatureDefT(*ends, signatureKey=_SIGNATURE)]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    named = path.with_name(f"named-{path.name}")
    named.write_bytes(builder.Output())
    return named


def _onnxruntime(how: str, ours: str, make: Callable[[Source, Path], None]) -> Quantizer:
    return Quantizer("onnxruntime", ("onnxruntime",), ONNX, how, ours, make)


def _ai_edge_quantizer(how: str, ours: str, recipe: str) -> Quantizer:
    make = partial(_ai_edge, name=recipe)
    return Quantizer("ai-edge-quantizer", ("ai_edge_quantizer",), LITERT, f"{how}, recipe {recipe}", ours, make)


_SEVEN = "QDQ, activations uint8, weights of 7 bits (reduce_range) per channel"
_NNCF = "as it comes, with bias correction, 7 bits for the first layer and 8 for others, of the"
QUANTIZERS: Mapping[str, Quantizer] = {
    "onnxruntime static, min-max": _onnxruntime(
        f"{_SEVEN}, whole ranges", "static.onnx", partial(_onnxruntime_static, by="MinMax", reduced=True)
    ),
    "onnxruntime static, percentile": _onnxruntime(
        f"{_SEVEN}, ranges by percentile", "static.onnx", partial(_onnxruntime_static, by="Percentile", reduced=True)
    ),
    "onnxruntime static, 8 bits": _onnxruntime(
        "QDQ, activations uint8, weights of 8 bits per channel, whole ranges",
        "static, 8 bits.onnx",
        partial(_onnxruntime_static, by="MinMax", reduced=False),
    ),
    "onnxruntime dynamic": _onnxruntime(
        "weights of 7 bits (reduce_range) per channel, activations rounded image by image",
        "w8.onnx",
        _onnxruntime_dynamic,
    ),
    "nncf, OpenVINO": Quantizer(
        "nncf", ("nncf", "openvino"), OPENVINO, f"{_NNCF} OpenVINO model", "static, 8 bits.onnx", _nncf
    ),
    "nncf, ONNX": Quantizer("nncf", ("nncf",), ONNX, f"{_NNCF} ONNX model", "static, 8 bits.onnx", _nncf_onnx),
    "ai-edge-quantizer static": _ai_edge_quantizer(
        "weights and activations int8, float32 in and out", "static, 8 bits.tflite", "static_wi8_ai8"
    ),
    "ai-edge-quantizer weights": _ai_edge_quantizer("weights int8", "w8.tflite", "weight_only_wi8_afp32"),
}
