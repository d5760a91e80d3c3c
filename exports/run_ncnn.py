"""A folder with an ncnn model, our own or any other of these two files, as a callable on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.card import Card
from compress.errors import ExportError
from exports import folder
from exports.artefact import Artefact, fitting
from exports.extras import need
from exports.interrupt import interruptible
from exports.quiet import STDERR, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTRA = "ncnn"
KIND = "an ncnn model"
GRAPH, WEIGHTS = "model.param", "model.bin"
FLOAT_ONLY = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")

Shape = tuple[int | None, ...]


def read(path: Path, *, threads: int = 1, sealed: bool = True) -> Artefact:
    """The network in a folder with model.param and model.bin; card and provenance are None where there is no label.

    It computes in float32 whatever its weights are stored as, and without Winograd convolutions, which add in another
    order and were slower on small images; ncnn left to itself does either.

    Args:
        path: The folder.
        threads: CPU threads of ncnn, at least 1.
        sealed: Refuse a folder that was altered since edgepress wrote it.

    Raises:
        ExportError: The folder is missing, no ncnn model, damaged, altered, or uses what ncnn cannot run.
        MissingExtraError: ncnn is not installed.
    """
    if threads < 1:
        raise ValueError(f"threads: got {threads}; at least 1 is needed")
    need(EXTRA, "ncnn")
    content = folder.content_of(path, KIND, (GRAPH, WEIGHTS))
    card, provenance = folder.own_metadata(path, content, sealed=sealed)
    runner = NcnnRunner(path, load(path, threads), image_shape(card))
    return Artefact(
        path=path,
        sha256=folder.sha256(content),
        size_bytes=folder.size_bytes(content),
        layout="NCHW",
        dtype="float32",
        batch=1,
        image_shape=runner.shape[1:],
        threads=threads,
        card=card,
        provenance=provenance,
        runner=runner,
    )


def image_shape(card: Card | None) -> Shape:
    """(C, H, W) of one input, of which the file itself says nothing; None where there is no card either."""
    return card.preprocessing.shape if card is not None else (None, None, None)


def load(path: Path, threads: int = 1, *, all_values: bool = False) -> Any:
    """The network as ncnn holds it; ExportError where it is damaged.

    Args:
        path: The folder.
        threads: CPU threads.
        all_values: Keep every value that is computed, so that each can be asked for.
    """
    ncnn = need(EXTRA, "ncnn")
    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.lightmode = not all_values
    network.opt.use_winograd_convolution = False
    for name in FLOAT_ONLY:
        setattr(network.opt, f"use_{name}", False)
    with silent(STDERR):
        failed = network.load_param(str(path / GRAPH)) or network.load_model(str(path / WEIGHTS))
    if failed:
        raise ExportError(f"{path}: is not {KIND} that ncnn {ncnn.__version__} can run, or is damaged; export it again")
    return network


class NcnnRunner:
    """A network of ncnn on the CPU: one image in, the last value out.

    Args:
        path: Named in errors.
        network: The loaded model.
        image_shape: (C, H, W); None where a side is open.

    Raises:
        ExportError: The model takes more or fewer than one input, or gives more or fewer than one output.
    """

    def __init__(self, path: Path, network: Any, image_shape: Shape) -> None:
        names = network.input_names(), network.output_names()
        if [*map(len, names)] != [1, 1]:
            raise ExportError(
                f"{path}: has {len(names[0])} inputs and {len(names[1])} outputs; edgepress runs networks with one of "
                "each"
            )
        self._path = path
        self._network = network
        (self._input,), (self._output,) = names
        self._mat = need(EXTRA, "ncnn").Mat
        self.shape: Shape = (1, *image_shape)

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """(1, C, H, W) scaled images to (1, ...) outputs; ExportError for any other shape or type."""
        array = fitting(self._path, image, self.shape, "float32")
        return self._answered(BoundRun(self._network, self._input, self._output, self._given(array)))

    def bind(self, image: NDArray[Any]) -> BoundRun:
        """A call that runs the network on `image` alone, which ncnn holds from now on."""
        array = fitting(self._path, image, self.shape, "float32")
        bound = BoundRun(self._network, self._input, self._output, self._given(array))
        self._answered(bound)
        return bound

    def _given(self, array: NDArray[Any]) -> Any:
        return self._mat(array[0]).clone()

    def _answered(self, bound: BoundRun) -> NDArray[Any]:
        with silent(STDERR):
            failed, found = interruptible(bound.answer, stop=lambda: None)
        answer = np.array(found)
        if failed or answer.size == 0:
            raise ExportError(
                f"{self._path}: ncnn cannot run it on an image of shape {self.shape[1:]}; export it again"
            )
        return answer[None]


@dataclass(frozen=True)
class BoundRun:
    """One run of a network on an image that it keeps.

    Attributes:
        network: What runs.
        input: Name of the image.
        output: Name of the answer.
        image: A matrix of ncnn.
    """

    network: Any
    input: str
    output: str
    image: Any

    def __call__(self) -> None:
        self.answer()

    def feed(self, image: NDArray[Any]) -> None:
        """Put another image in its place, (1, C, H, W) of the same shape and type."""
        np.asarray(self.image)[...] = image[0]

    def answer(self) -> tuple[int, Any]:
        """Not 0 where it failed, and the matrix of the answer."""
        extractor = self.network.create_extractor()
        extractor.input(self.input, self.image)
        failed, found = extractor.extract(self.output)
        return failed, found
