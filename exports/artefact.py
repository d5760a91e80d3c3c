"""A file of an edge format as a callable: what it takes, where it comes from, and the runtime that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from compress.card import Card
from compress.errors import ExportError, UnfitDataError
from compress.preprocessing import Scale

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Input = Literal["float32", "uint8"]
INPUTS: tuple[Input, ...] = ("float32", "uint8")
OWN_WRITER = "edgepress"


class Bound(Protocol):
    """A run of a network on images that lie in place; called, it runs and nothing else."""

    def __call__(self) -> None: ...

    def feed(self, image: NDArray[Any]) -> None:
        """Put other images in their place, (B, C, H, W) of the same shape and type."""
        ...


class Runner(Protocol):
    """A runtime that holds one exported network."""

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """(B, C, H, W) images, see `Artefact.input`, to (B, ...) outputs; Ctrl-C ends it, however long it takes."""
        ...

    def bind(self, image: NDArray[Any]) -> Bound:
        """A call that runs the network on `image` alone, with its inputs and outputs already in place."""
        ...


@dataclass(frozen=True)
class Provenance:
    """Where an exported file comes from.

    Attributes:
        tool_version: Version of edgepress that wrote the file.
        torch_version: Version of the exporter.
        opset: ONNX operator set asked for.
        weights_sha256: Digest of the source network's state, see `compress.evidence.weights_digest`.
        parameters: Parameters of the source network, before the exporter folds any away.
        graph_sha256: Digest of the file's own content that it was written with; "" where none is recorded.
        writer: What wrote the graph: edgepress itself, or what it called for that, with its version.
    """

    tool_version: str
    torch_version: str
    opset: int
    weights_sha256: str
    parameters: int
    graph_sha256: str = ""
    writer: str = OWN_WRITER

    def __post_init__(self) -> None:
        for name, kind in (("opset", int), ("parameters", int), *((name, str) for name in _TEXTS)):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"provenance.{name} is {value!r:.80}, which is not of type {kind.__name__}")


_TEXTS = ("tool_version", "torch_version", "weights_sha256", "graph_sha256", "writer")


@dataclass(frozen=True)
class Artefact:
    """A network in an edge format, callable like the one it came from.

    Attributes:
        path: Its file or folder.
        sha256: Hexadecimal digest of the file's bytes.
        size_bytes: Of that file.
        layout: The order of the axes that the file itself takes; callers give (B, C, H, W) whatever it is.
        dtype: Of the values that the file takes, e.g. "float32"; what callers give is `input`.
        batch: How many images it takes at once; None for any number.
        image_shape: (C, H, W) of one input; None where the file leaves a side open.
        threads: CPU threads of the runtime.
        card: What the network is; None for a file that edgepress did not write.
        provenance: Where it comes from; None for a file that edgepress did not write.
        runner: Executes it.
    """

    path: Path
    sha256: str
    size_bytes: int
    layout: str
    dtype: str
    batch: int | None
    image_shape: tuple[int | None, ...]
    threads: int
    card: Card | None
    provenance: Provenance | None
    runner: Runner

    @property
    def input(self) -> Input:
        """What callers give: "uint8", pixels as they are, to a file that takes these; else "float32", scaled images."""
        return "uint8" if self.dtype == "uint8" else "float32"

    def __call__(self, image: Tensor) -> Tensor:
        """(B, C, H, W) images of the type of `input` to (B, ...) outputs; ExportError for any other type or shape."""
        import torch

        return torch.from_numpy(self.answer(image.detach().cpu().contiguous().numpy()))

    def answer(self, image: NDArray[Any]) -> NDArray[Any]:
        """The same for arrays, without torch."""
        return self.runner(image)

    def bind(self, image: NDArray[Any]) -> Bound:
        """A call that runs the file on one fixed batch and nothing else: what a benchmark times.

        Args:
            image: (B, C, H, W) images of the type of `input`; their memory may be what `Bound.feed` writes to.

        Raises:
            ExportError: The images do not fit the file.
        """
        return self.runner.bind(image)


def task_name(artefact: Artefact, *, masks: bool = False) -> str:
    """What a file was trained for, a name in `compress.task_names.MASKS`.

    Args:
        artefact: One that says nothing of it is taken for what it is to be asked for.
        masks: That is a class for every pixel, instead of one for an image.
    """
    if artefact.card is not None:
        return artefact.card.task
    return "segmentation" if masks else "classification"


def scale_of(artefact: Artefact, given: Scale) -> Scale | None:
    """What makes of pixels what a file takes; None where it takes pixels as they are.

    Args:
        artefact: The file.
        given: Taken where it says nothing of its own.
    """
    if artefact.input == "uint8":
        return None
    return given if artefact.card is None else artefact.card.scale


def image_shape(artefact: Artefact) -> tuple[int | None, int | None, int | None]:
    """(C, H, W) of what the file takes, None where it leaves a side open; UnfitDataError where it takes no images."""
    if len(artefact.image_shape) != 3:
        raise UnfitDataError(
            f"{artefact.path}: takes input of {len(artefact.image_shape) + 1} dimensions; images have 4"
        )
    channels, height, width = artefact.image_shape
    return channels, height, width


def fitting(path: Path, image: NDArray[Any], shape: tuple[int | None, ...], dtype: str) -> NDArray[Any]:
    """The images, in one piece of memory; ExportError where they do not fit the file.

    Args:
        path: Of the file, for messages.
        image: (B, C, H, W).
        shape: What the file takes; None where it leaves a side open.
        dtype: Of the values that it takes.
    """
    fits = len(image.shape) == len(shape) and all(
        side in (None, given) for side, given in zip(shape, image.shape, strict=True)
    )
    given = image.dtype.name
    if not fits or given != dtype or given not in INPUTS:
        sides = ", ".join("any" if side is None else str(side) for side in shape)
        raise ExportError(
            f"{path}: takes {dtype} of shape ({sides}); got {given} of shape {tuple(image.shape)}; "
            "edgepress gives float32 images, or pixels to a file that takes uint8; load the data with the size and "
            "channels that the file takes"
        )
    return np.ascontiguousarray(image)
