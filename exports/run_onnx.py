"""An .onnx file, our own or any other, as a callable in ONNX Runtime."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from compress.card import Card
from compress.errors import ExportError
from exports import label
from exports.artefact import Artefact, Provenance, fitting
from exports.graph import seal
from exports.graph.model_file import has_external_data, parse, read_bytes
from exports.interrupt import interruptible

_FATAL_ONLY = 4
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
}
LOAD_ERRORS = (
    errors.EPFail,
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoModel,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
)


def read(path: Path, *, threads: int = 1, sealed: bool = True, optimized: bool = True) -> Artefact:
    """The network in an .onnx file; card and provenance are None when edgepress did not write it.

    Args:
        path: The file.
        threads: CPU threads of ONNX Runtime, at least 1.
        sealed: Refuse a file that was altered since edgepress wrote it. Files of its earlier versions have no seal, by
            which this shows; the `graph_sha256` of their provenance is empty.
        optimized: As it is deployed; False computes every node as the graph says, in float32 where values are on grids.

    Raises:
        ExportError: The file is missing, a folder, not an ONNX model, damaged, altered, or uses what ONNX Runtime
            cannot run.
    """
    if threads < 1:
        raise ValueError(f"threads: got {threads}; at least 1 is needed")
    content = read_bytes(path)
    model = parse(path, content)
    card, provenance = _own_metadata(path, model, sealed=sealed)
    source = path if has_external_data(model) else content
    del model
    try:
        session = interruptible(
            lambda: onnxruntime.InferenceSession(
                source, session_options(threads, optimized=optimized), providers=["CPUExecutionProvider"]
            ),
            stop=lambda: None,
        )
    except (*LOAD_ERRORS, ValueError, MemoryError) as error:
        raise ExportError(
            f"{path}: is not an ONNX model that ONNX Runtime {onnxruntime.__version__} can run, or is damaged: "
            f"{_reason(error)}; export it again"
        ) from error
    runner = OnnxRunner(path, session)
    return Artefact(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        layout="NCHW",
        dtype=runner.dtype,
        batch=runner.shape[0] if runner.shape else None,
        image_shape=runner.shape[1:],
        threads=threads,
        card=card,
        provenance=provenance,
        runner=runner,
    )


class OnnxRunner:
    """A session of ONNX Runtime on the CPU: one image tensor in, the first output out.

    Args:
        path: Named in errors.
        session: The loaded model.

    Raises:
        ExportError: The model takes more or fewer than one input.
    """

    def __init__(self, path: Path, session: onnxruntime.InferenceSession) -> None:
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise ExportError(f"{path}: takes {len(inputs)} inputs; edgepress runs networks with one image input")
        self._path = path
        self._session = session
        self._input = inputs[0].name
        self._output = session.get_outputs()[0].name
        self.dtype = _DTYPES.get(inputs[0].type, inputs[0].type)
        self.shape: tuple[int | None, ...] = tuple(
            side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape
        )

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """(B, C, H, W) images as the file takes them to (B, ...) outputs; ExportError for any other shape or type."""
        return self._run(fitting(self._path, image, self.shape, self.dtype))

    def bind(self, image: NDArray[Any]) -> BoundRun:
        """A call that runs the session on `image` alone, through I/O binding into one output buffer."""
        array = fitting(self._path, image, self.shape, self.dtype)
        source = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        target = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(self._run(array)))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, source)  # type: ignore[no-untyped-call]
        binding.bind_ortvalue_output(self._output, target)  # type: ignore[no-untyped-call]
        return BoundRun(self._session, binding, source, target)

    def _run(self, array: NDArray[Any]) -> NDArray[Any]:
        options = onnxruntime.RunOptions()
        try:
            found = interruptible(
                lambda: self._session.run([self._output], {self._input: array}, options)[0],
                stop=lambda: setattr(options, "terminate", True),
            )
        except (*LOAD_ERRORS, ValueError, MemoryError) as error:
            raise ExportError(f"{self._path}: cannot run a batch of shape {array.shape}: {_reason(error)}") from error
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.ndim == 0:
            raise ExportError(f"{self._path}: its first output is no tensor of numbers; edgepress needs one of logits")
        return found


@dataclass(frozen=True)
class BoundRun:
    """One run of a session on buffers that it keeps alive.

    Attributes:
        session: What runs.
        binding: Its inputs and outputs.
        source: The images.
        target: The logits of the latest run.
    """

    session: onnxruntime.InferenceSession
    binding: onnxruntime.IOBinding
    source: onnxruntime.OrtValue
    target: onnxruntime.OrtValue

    def __call__(self) -> None:
        self.session.run_with_iobinding(self.binding)  # type: ignore[no-untyped-call]

    def feed(self, image: NDArray[Any]) -> None:
        """Put other images in their place, (B, C, H, W) of the same shape and type."""
        self.source.update_inplace(image)


def session_options(threads: int, *, optimized: bool) -> onnxruntime.SessionOptions:
    """Options of a quiet session on so many CPU threads; `optimized` as `read` takes it."""
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    return options


def _own_metadata(path: Path, model: ModelProto, *, sealed: bool) -> tuple[Card, Provenance] | tuple[None, None]:
    texts = [entry.value for entry in model.metadata_props if entry.key == label.KEY]
    if not texts:
        return None, None
    if len(texts) > 1:
        raise ExportError(f"{path}: its edgepress metadata are damaged: it has {len(texts)} of them; export it again")
    own = label.read_label(path, texts[0])
    if sealed and (own.sealed or seal.recorded(model)):
        seal.check_seal(path, model)
    return own.card, replace(own.provenance, graph_sha256=seal.recorded(model))


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].split(" : ")[-1] if lines else type(error).__name__
