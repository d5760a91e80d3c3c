"""An OpenVINO model, a folder with model.xml and model.bin, as a callable on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.studies.bare import size_bytes
from benchmarks.studies.quantizers import GRAPH
from exports import Artefact


def read(path: Path, *, threads: int = 1) -> Artefact:
    """The network in the folder; what OpenVINO makes of layers that are not quantized stays float32.

    Args:
        path: The folder.
        threads: CPU threads of OpenVINO.
    """
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }
    compiled = openvino.Core().compile_model(path / GRAPH, "CPU", options)
    sides = compiled.input(0).get_partial_shape()
    return Artefact(
        path=path,
        sha256=hashlib.sha256(b"".join(file.read_bytes() for file in sorted(path.iterdir()))).hexdigest(),
        size_bytes=size_bytes(path),
        layout="NCHW",
        dtype=np.dtype(compiled.input(0).get_element_type().to_dtype()).name,
        batch=sides[0].get_length() if sides[0].is_static else None,
        image_shape=tuple(side.get_length() if side.is_static else None for side in list(sides)[1:]),
        threads=threads,
        card=None,
        provenance=None,
        runner=_Runner(compiled),
    )


class _Runner:
    """A compiled model of OpenVINO: one image tensor in, the first output out."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float32 images to (B, ...) outputs."""
        self._request.infer({0: image.numpy()})
        return torch.from_numpy(np.array(self._request.get_output_tensor(0).data))

    def bind(self, image: Tensor) -> Callable[[], None]:
        """A call that runs a request of its own on `image` alone, which lies in its input from now on."""
        request = self._compiled.create_infer_request()
        request.infer({0: image.numpy()})

        def run() -> None:
            request.infer()

        return run
