"""A .pte file, our own or any other with one image input, as a callable in ExecuTorch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.card import Card
from compress.errors import ExportError
from exports import executorch_seal as seal
from exports import label
from exports.artefact import Artefact, Provenance, fitting
from exports.extras import need
from exports.graph.model_file import read_bytes
from exports.interrupt import interruptible
from exports.quiet import STDERR, STDOUT, quiet, silent
from exports.to_executorch import EXTRA, LABEL, METHOD

KIND = "a .pte file"


def read(path: Path, *, threads: int = 1, sealed: bool = True) -> Artefact:
    """The network in a .pte file; card and provenance are None when edgepress did not write it.

    Args:
        path: The file.
        threads: CPU threads of XNNPACK, at least 1; they are those of every .pte file in this process.
        sealed: Refuse a file that was altered since edgepress wrote it.

    Raises:
        ExportError: The file is missing, a folder, not a .pte file, damaged, altered, or uses what the runtime lacks.
        MissingExtraError: ExecuTorch is not installed.
    """
    if threads < 1:
        raise ValueError(f"threads: got {threads}; at least 1 is needed")
    need(EXTRA, "executorch.runtime")
    content = read_bytes(path, KIND)
    if sealed and seal.recorded(content):
        seal.check_seal(path, content)
    try:
        with quiet(), silent(STDOUT, STDERR):
            program, method = interruptible(lambda: _loaded(content, threads), stop=lambda: None)
            told = program.load_method(LABEL).execute([])[0] if LABEL in program.method_names else None
            given = method.metadata.input_tensor_meta(0)
            taken, shape = method.metadata.num_inputs(), tuple(given.sizes())
    except Exception as error:  # the C++ behind it raises whatever it met
        raise ExportError(
            f"{path}: is not {KIND} that ExecuTorch can run, or is damaged: {_reason(error)}; export it again"
        ) from error
    if taken != 1:
        raise ExportError(f"{path}: takes {taken} inputs; edgepress runs networks with one image input")
    card, provenance = _own_metadata(path, content, told, sealed=sealed)
    return Artefact(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        layout="NCHW",
        dtype="float32",
        batch=shape[0] if shape else None,
        image_shape=shape[1:],
        threads=threads,
        card=card,
        provenance=provenance,
        runner=ExecuTorchRunner(path, program, method, shape),
    )


class ExecuTorchRunner:
    """A method of a program of ExecuTorch: one image tensor in, the first output out.

    Args:
        path: Named in errors.
        program: Kept alive; the method reads its weights.
        method: What runs.
        shape: Of what it takes.
    """

    def __init__(self, path: Path, program: Any, method: Any, shape: tuple[int, ...]) -> None:
        self._path = path
        self._program = program
        self._method = method
        self.shape = shape

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """(B, C, H, W) scaled images to (B, ...) outputs; ExportError for any other shape or type."""
        return self._answered(self._bound(image)).numpy().copy()

    def bind(self, image: NDArray[Any]) -> BoundRun:
        """A call that runs the method on `image` alone, which is copied into its input each time."""
        bound = self._bound(image)
        self._answered(bound)
        return bound

    def _bound(self, image: NDArray[Any]) -> BoundRun:
        array = fitting(self._path, image, self.shape, "float32")
        return BoundRun(self._program, self._method, torch.from_numpy(array))

    def _answered(self, bound: BoundRun) -> Tensor:
        try:
            found = interruptible(bound.answer, stop=lambda: None)
        except Exception as error:  # the C++ behind it raises whatever it met
            raise ExportError(f"{self._path}: cannot run a batch of shape {self.shape}: {_reason(error)}") from error
        if not isinstance(found, Tensor) or found.ndim == 0:
            raise ExportError(f"{self._path}: its first output is no tensor of numbers; edgepress needs one of logits")
        return found


@dataclass(frozen=True)
class BoundRun:
    """One run of a method on images that it keeps.

    Attributes:
        program: Kept alive.
        method: What runs.
        images: (B, C, H, W).
    """

    program: Any
    method: Any
    images: Tensor

    def __call__(self) -> None:
        self.answer()

    def feed(self, image: NDArray[Any]) -> None:
        """Put other images in their place, (B, C, H, W) of the same shape and type."""
        self.images.copy_(torch.from_numpy(image))

    def answer(self) -> object:
        """The first output."""
        return self.method.execute([self.images])[0]


def _loaded(content: bytes, threads: int) -> tuple[Any, Any]:
    """The program and its network, which runs on that many threads."""
    pool = need(EXTRA, "executorch.extension.pybindings.portable_lib")
    if pool._threadpool_get_thread_count() != threads:
        pool._unsafe_reset_threadpool(threads)  # unsafe while a network runs, which none does here
    program = need(EXTRA, "executorch.runtime").Runtime.get().load_program(content)
    return program, program.load_method(METHOD)


def _own_metadata(
    path: Path, content: bytes, told: object, *, sealed: bool
) -> tuple[Card, Provenance] | tuple[None, None]:
    if told is None:
        return None, None
    own = label.read_label(path, str(told))
    if sealed:
        seal.check_seal(path, content)
    return own.card, replace(own.provenance, graph_sha256=seal.recorded(content))


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
