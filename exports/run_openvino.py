"""A folder with an OpenVINO model, our own or any other of these two files, as a callable on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ExportError
from exports import folder
from exports.artefact import Artefact, fitting
from exports.extras import need
from exports.interrupt import interruptible

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTRA = "openvino"
KIND = "an OpenVINO model"
GRAPH, WEIGHTS = "model.xml", "model.bin"


def read(path: Path, *, threads: int = 1, sealed: bool = True, optimized: bool = True) -> Artefact:
    """The network in a folder with model.xml and model.bin; card and provenance are None where there is no label.

    It computes in float32 whatever its weights are stored as: neither in float16 or bfloat16, nor with activations that
    are rounded to 8 bits on the way, which OpenVINO does to layers of quantized weights where it is left to itself.

    Args:
        path: The folder.
        threads: CPU threads of OpenVINO, at least 1.
        sealed: Refuse a folder that was altered since edgepress wrote it.
        optimized: As it is deployed; False computes in float32 what the graph says where values are on grids, instead
            of on whole numbers.

    Raises:
        ExportError: The folder is missing, no OpenVINO model, damaged, altered, or uses what OpenVINO cannot run.
        MissingExtraError: OpenVINO is not installed.
    """
    if threads < 1:
        raise ValueError(f"threads: got {threads}; at least 1 is needed")
    openvino = need(EXTRA, "openvino")
    content = folder.content_of(path, KIND, (GRAPH, WEIGHTS))
    card, provenance = folder.own_metadata(path, content, sealed=sealed)
    options: dict[str, str | int | bool] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }
    if not optimized:
        options["LP_TRANSFORMS_MODE"] = False
    model = load(path, content)
    try:
        compiled = interruptible(lambda: openvino.Core().compile_model(model, "CPU", options), stop=lambda: None)
    except Exception as error:  # the C++ behind it raises whatever it met
        raise ExportError(
            f"{path}: OpenVINO {version(openvino)} cannot run it: {reason(error)}; export it again"
        ) from error
    runner = OpenVinoRunner(path, openvino, compiled)
    return Artefact(
        path=path,
        sha256=folder.sha256(content),
        size_bytes=folder.size_bytes(content),
        layout="NCHW",
        dtype=runner.dtype,
        batch=runner.shape[0] if runner.shape else None,
        image_shape=runner.shape[1:],
        threads=threads,
        card=card,
        provenance=provenance,
        runner=runner,
    )


def load(path: Path, content: folder.Content) -> Any:
    """The graph of a model with its weights, not compiled; ExportError if it is damaged."""
    openvino = need(EXTRA, "openvino")
    try:
        return interruptible(lambda: openvino.Core().read_model(content[GRAPH], content[WEIGHTS]), stop=lambda: None)
    except Exception as error:  # the C++ behind it raises whatever it met
        raise ExportError(f"{path}: is not {KIND}, or is damaged: {reason(error)}; export it again") from error


class OpenVinoRunner:
    """A compiled model of OpenVINO on the CPU: one image tensor in, the first output out.

    Args:
        path: Named in errors.
        openvino: The library.
        compiled: The model.

    Raises:
        ExportError: The model takes more or fewer than one input.
    """

    def __init__(self, path: Path, openvino: Any, compiled: Any) -> None:
        if len(compiled.inputs) != 1:
            raise ExportError(
                f"{path}: takes {len(compiled.inputs)} inputs; edgepress runs networks with one image input"
            )
        self._path = path
        self._openvino = openvino
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        given = compiled.input(0)
        self.dtype = np.dtype(given.get_element_type().to_dtype()).name
        self.shape: tuple[int | None, ...] = tuple(
            side.get_length() if side.is_static else None for side in given.get_partial_shape()
        )

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """(B, C, H, W) images as the file takes them to (B, ...) outputs; ExportError for any other shape or type."""
        return self._run(self._request, fitting(self._path, image, self.shape, self.dtype))

    def bind(self, image: NDArray[Any]) -> BoundRun:
        """A call that runs a request of its own on `image` alone, which lies in its input from now on."""
        request = self._compiled.create_infer_request()
        array = fitting(self._path, image, self.shape, self.dtype)
        self._run(request, array)
        return BoundRun(request, array)

    def _run(self, request: Any, array: NDArray[Any]) -> NDArray[Any]:
        try:
            request.set_input_tensor(self._openvino.Tensor(array, shared_memory=True))
            interruptible(request.infer, stop=request.cancel)
            found = np.array(request.get_output_tensor(0).data)
        except Exception as error:  # the C++ behind it raises whatever it met
            raise ExportError(f"{self._path}: cannot run a batch of shape {array.shape}: {reason(error)}") from error
        if found.dtype.kind not in "fiu" or found.ndim == 0:
            raise ExportError(f"{self._path}: its first output is no tensor of numbers; edgepress needs one of logits")
        return found


@dataclass(frozen=True)
class BoundRun:
    """One run of a request on the images that lie in its input.

    Attributes:
        request: What runs.
        images: (B, C, H, W), which it reads.
    """

    request: Any
    images: NDArray[Any]

    def __call__(self) -> None:
        self.request.infer()

    def feed(self, image: NDArray[Any]) -> None:
        """Put other images in their place, (B, C, H, W) of the same shape and type."""
        np.copyto(self.images, image)


def reason(error: Exception) -> str:
    """What OpenVINO says, without the places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0][:300]


def version(openvino: ModuleType) -> str:
    """Of the library, as "2026.4.1"."""
    return str(openvino.get_version()).partition("-")[0]
