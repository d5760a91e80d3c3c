"""An .onnx file, our own or any other, as a callable in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as errors
from torch import Tensor

from compress.checkpoint import Card
from compress.errors import CheckpointError, ExportError
from exports.artefact import Exported, Provenance

KEY = "edgepress"
_FATAL_ONLY = 4
_LOAD_ERRORS = (
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


def read(path: Path, *, threads: int = 1) -> Exported:
    """The network in an .onnx file; card and provenance are None when edgepress did not write it.

    Args:
        path: The file.
        threads: CPU threads of ONNX Runtime, at least 1.

    Raises:
        ExportError: The file is missing, a folder, not an ONNX model, damaged, or uses what ONNX Runtime cannot run.
    """
    if threads < 1:
        raise ValueError(f"threads: got {threads}; at least 1 is needed")
    if path.is_dir():
        raise ExportError(f"{path} is a folder; give an .onnx file")
    if not path.exists():
        raise ExportError(f"{path} does not exist; give an .onnx file, as `edgepress export` writes them")
    try:
        size_bytes = path.stat().st_size
        session = onnxruntime.InferenceSession(path, _options(threads), providers=["CPUExecutionProvider"])
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror or error}") from error
    except _LOAD_ERRORS as error:
        raise ExportError(
            f"{path}: is not an ONNX model that ONNX Runtime {onnxruntime.__version__} can run, or is damaged: "
            f"{_reason(error)}; export it again"
        ) from error
    runner = OnnxRunner(path, session)
    card, provenance = _own_metadata(path, session.get_modelmeta().custom_metadata_map)
    return Exported(path, size_bytes, runner.shape[1:], card, provenance, runner)


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
        self._type = inputs[0].type
        self._output = session.get_outputs()[0].name
        self.shape: tuple[int | None, ...] = tuple(
            side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape
        )

    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W) normalised float32 images to (B, classes) logits; ExportError for any other shape or type."""
        return torch.from_numpy(self._run(self._array(image)))

    def bind(self, image: Tensor) -> Callable[[], None]:
        """A call that runs the session on `image` alone, through I/O binding into one output buffer."""
        array = self._array(image)
        source = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        target = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(self._run(array)))
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, source)  # type: ignore[no-untyped-call]
        binding.bind_ortvalue_output(self._output, target)  # type: ignore[no-untyped-call]
        return BoundRun(self._session, binding, source, target)

    def _run(self, array: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(self._session.run([self._output], {self._input: array})[0])
        except _LOAD_ERRORS as error:
            raise ExportError(f"{self._path}: cannot run a batch of shape {array.shape}: {_reason(error)}") from error

    def _array(self, image: Tensor) -> np.ndarray:
        fits = len(image.shape) == len(self.shape) and all(
            side in (None, given) for side, given in zip(self.shape, image.shape, strict=True)
        )
        if not fits or image.dtype != torch.float32 or self._type != "tensor(float)":
            sides = ", ".join("any" if side is None else str(side) for side in self.shape)
            got = f"{str(image.dtype).removeprefix('torch.')} of shape {tuple(image.shape)}"
            raise ExportError(
                f"{self._path}: takes {self._type} of shape ({sides}); got {got}; edgepress gives float32 images; "
                "load the data with the size and channels that the file takes"
            )
        return image.detach().cpu().contiguous().numpy()


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


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    return options


def _own_metadata(path: Path, metadata: dict[str, str]) -> tuple[Card, Provenance] | tuple[None, None]:
    if KEY not in metadata:
        return None, None
    try:
        data = json.loads(metadata[KEY])
        return Card.from_json(json.dumps(data["card"])), Provenance(**data["provenance"])
    except (CheckpointError, ValueError, TypeError, KeyError) as error:
        raise ExportError(f"{path}: its edgepress metadata are damaged: {error}; export it again") from error


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0].split(" : ")[-1]
