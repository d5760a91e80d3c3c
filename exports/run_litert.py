"""A .tflite file, our own or any other, as a callable in LiteRT with its XNNPACK kernels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from compress.card import Card
from compress.errors import ExportError
from exports import label
from exports.artefact import Artefact, Provenance, fitting
from exports.interrupt import interruptible
from exports.litert import seal
from exports.litert.model_file import Graph, Model, note, parse, read_bytes, text
from exports.quiet import STDERR, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ERRORS = (RuntimeError, ValueError, MemoryError)


def read(path: Path, *, threads: int = 1, sealed: bool = True) -> Artefact:
    """The network in a .tflite file; card and provenance are None when edgepress did not write it.

    Args:
        path: The file.
        threads: CPU threads of LiteRT, at least 1.
        sealed: Refuse a file that was altered since edgepress wrote it.

    Raises:
        ExportError: The file is missing, a folder, not a .tflite file, damaged, altered, or uses what LiteRT cannot
            run.
    """
    if threads < 1:
        raise ValueError(f"threads: got {threads}; at least 1 is needed")
    content = read_bytes(path)
    model = parse(path, content)
    card, provenance = _own_metadata(path, model, content, sealed=sealed)
    try:
        with silent(STDERR):  # LiteRT has no switch for what it writes there
            interpreter = interruptible(lambda: _loaded(content, threads), stop=lambda: None)
    except _ERRORS as error:
        raise ExportError(
            f"{path}: is not a .tflite file that LiteRT can run, or is damaged: {_reason(error)}; export it again"
        ) from error
    runner = LiteRunner(path, interpreter, model.graphs[0])
    return Artefact(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        layout="NHWC",
        dtype=runner.dtype,
        batch=runner.shape[0] if runner.shape else None,
        image_shape=runner.shape[1:],
        threads=threads,
        card=card,
        provenance=provenance,
        runner=runner,
    )


@dataclass(frozen=True)
class Steps:
    """How the whole numbers of a tensor stand for floats: scale * (code - zero).

    Attributes:
        scale: Above 0.
        zero: The code of 0.
        kind: Of the codes.
    """

    scale: float
    zero: int
    kind: str

    def codes(self, values: NDArray[Any]) -> NDArray[Any]:
        """The nearest ones."""
        ends = np.iinfo(self.kind)
        codes: NDArray[Any] = np.clip(np.rint(values / self.scale) + self.zero, ends.min, ends.max).astype(self.kind)
        return codes

    def values(self, codes: NDArray[Any]) -> NDArray[Any]:
        """What they stand for, as float32."""
        values: NDArray[Any] = (codes.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)
        return values


def _steps(details: Mapping[str, Any]) -> Steps | None:
    """Of a tensor that the interpreter describes; None of one that holds no such codes."""
    scale, zero = details["quantization"]
    kind = np.dtype(details["dtype"])
    return Steps(float(scale), int(zero), kind.name) if scale > 0 and kind.kind in "iu" else None


class LiteRunner:
    """An interpreter of LiteRT on the CPU: one image tensor in, the first output out.

    A batch of another size than the last makes the interpreter plan its memory anew, which takes less than a
    millisecond; the weights stay as they are. Maps (B, H, W, C) of the file are (B, C, H, W) outside. Of a file that
    takes and gives whole numbers, scaled images are put on the steps of its input, but pixels go into a uint8 input as
    they are; its answers are the floats that its codes stand for.

    Args:
        path: Named in errors.
        interpreter: The loaded model.
        graph: What the file says of it.

    Raises:
        ExportError: The model takes more or fewer than one input.
    """

    def __init__(self, path: Path, interpreter: Interpreter, graph: Graph) -> None:
        if len(graph.inputs) != 1:
            raise ExportError(f"{path}: takes {len(graph.inputs)} inputs; edgepress runs networks with one image input")
        self._path = path
        self._interpreter = interpreter
        (given,) = interpreter.get_input_details()
        self._input = int(given["index"])
        made = interpreter.get_output_details()[0]
        self._output, self._made = int(made["index"]), _steps(made)
        self._planned = tuple(int(side) for side in given["shape"])
        self.dtype = np.dtype(given["dtype"]).name
        self._given = None if self.dtype == "uint8" else _steps(given)
        sides = [side if side > 0 else None for side in graph.tensors[graph.inputs[0]].shape]
        self.shape: tuple[int | None, ...] = tuple(_channels_second(sides))

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """(B, C, H, W) images to (B, ...) outputs; ExportError for any other shape or type."""
        found = self._run(self._array(image))
        return found if self._made is None else self._made.values(found)

    def bind(self, image: NDArray[Any]) -> BoundRun:
        """A call that runs the interpreter on `image` alone, which lies in its input from now on."""
        array = self._array(image)
        self._run(array)
        return BoundRun(self._interpreter, self._input, self._output, self._given)

    def _run(self, array: NDArray[Any]) -> NDArray[Any]:
        try:
            found = interruptible(lambda: self._answer(array), stop=lambda: None)
        except _ERRORS as error:
            raise ExportError(f"{self._path}: cannot run a batch of shape {array.shape}: {_reason(error)}") from error
        if found.dtype.kind not in "fiu" or found.ndim == 0:
            raise ExportError(f"{self._path}: its first output is no tensor of numbers; edgepress needs one of logits")
        return np.ascontiguousarray(np.moveaxis(found, -1, 1)) if found.ndim == 4 else found

    def _answer(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.shape != self._planned:
            self._interpreter.resize_tensor_input(self._input, list(array.shape))
            self._interpreter.allocate_tensors()
            self._planned = array.shape
        self._interpreter.set_tensor(self._input, array)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output))

    def _array(self, image: NDArray[Any]) -> NDArray[Any]:
        """The images as the file takes them."""
        array = fitting(self._path, image, self.shape, self.dtype if self._given is None else "float32")
        return _laid(array, self._given)


@dataclass(frozen=True)
class BoundRun:
    """One run of an interpreter on the images that lie in its input.

    Attributes:
        interpreter: What runs.
        input: Index of the tensor of the images.
        output: Index of the tensor of the answers of the latest run.
        steps: Of what it takes; None where that is what comes.
    """

    interpreter: Interpreter
    input: int
    output: int
    steps: Steps | None

    def __call__(self) -> None:
        self.interpreter.invoke()

    def feed(self, image: NDArray[Any]) -> None:
        """Put other images in their place, (B, C, H, W) of the same shape and type."""
        self.interpreter.set_tensor(self.input, _laid(image, self.steps))


def _laid(image: NDArray[Any], steps: Steps | None) -> NDArray[Any]:
    """The images as the interpreter takes them."""
    codes = image if steps is None else steps.codes(image)
    return np.ascontiguousarray(np.moveaxis(codes, 1, -1) if codes.ndim == 4 else codes)


def _loaded(content: bytes, threads: int) -> Interpreter:
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _own_metadata(
    path: Path, model: Model, content: bytes, *, sealed: bool
) -> tuple[Card, Provenance] | tuple[None, None]:
    span = note(path, model, label.KEY)
    if span is None:
        if model.producer == label.KEY or seal.recorded(path, model, content):
            raise ExportError(f"{path}: its edgepress metadata are damaged: there is no label; export it again")
        return None, None
    own = label.read_label(path, text(path, content, span))
    if sealed:
        seal.check_seal(path, model, content)
    return own.card, replace(own.provenance, graph_sha256=seal.recorded(path, model, content))


def _channels_second(sides: list[int | None]) -> list[int | None]:
    return [sides[0], sides[3], sides[1], sides[2]] if len(sides) == 4 else sides


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
