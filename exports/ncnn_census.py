"""What an ncnn model weighs and costs, told from its text and, where it says how large its image is, from one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from compress.errors import ExportError
from exports import folder
from exports.extras import need
from exports.graph.census import GraphCensus
from exports.run_ncnn import EXTRA, GRAPH, KIND, WEIGHTS, image_shape, load

_HEADER_LINES = 2
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
_NOT_COUNTED = (
    "Deconvolution",
    "DeconvolutionDepthWise",
    "Gemm",
    "MatMul",
    "MultiHeadAttention",
    "SDPA",
    "LSTM",
    "GRU",
)
_OUTPUTS, _BIASED, _DENSE_BIASED, _DENSE_WEIGHTS, _WEIGHTS = "0", "5", "1", "2", "6"


@dataclass(frozen=True)
class Layer:
    """A line of the graph.

    Attributes:
        kind: "Convolution", "Pooling" and so on.
        outputs: Names of what it computes.
        options: Number to value, as written.
    """

    kind: str
    outputs: tuple[str, ...]
    options: Mapping[str, str]

    def number(self, name: str, default: int = 0) -> int:
        """An option that is a whole number."""
        return int(self.options.get(name, default))

    @property
    def values(self) -> int:
        """How many are stored for it, in the layers whose values edgepress knows how to count."""
        if self.kind in (*_CONVOLUTIONS, "Deconvolution", "DeconvolutionDepthWise"):
            return self.number(_WEIGHTS) + self.number(_BIASED) * self.number(_OUTPUTS)
        if self.kind == "InnerProduct":
            return self.number(_DENSE_WEIGHTS) + self.number(_DENSE_BIASED) * self.number(_OUTPUTS)
        if self.kind == "MemoryData":
            return prod(max(1, self.number(side)) for side in ("0", "1", "2", "11"))
        rows = {"BatchNorm": 4, "PReLU": 1}.get(self.kind, 0)
        return rows * self.number(_OUTPUTS) if rows else 0


def graph_census(path: Path) -> GraphCensus:
    """The census of a folder with model.param and model.bin; its MACs are None where it has no label.

    Raises:
        ExportError: It is not an ncnn model.
        MissingExtraError: ncnn is not installed.
    """
    need(EXTRA, "ncnn")
    content = folder.content_of(path, KIND, (GRAPH, WEIGHTS))
    card, _ = folder.own_metadata(path, content, sealed=False)
    layers = [layer for layer in _layers(path, content[GRAPH]) if layer.kind != "Input"]
    shape = image_shape(card)
    known = tuple(side for side in shape if side is not None)
    sides = _sides(path, layers, known) if len(known) == len(shape) else {}
    last = load(path).output_names()[:1]
    return GraphCensus(
        parameters=sum(layer.values for layer in layers),
        macs=_macs(layers, sides),
        operators=dict(Counter(layer.kind for layer in layers).most_common()),
        versions={},
        input_shape=(1, *("?" if side is None else side for side in shape)),
        output_shape=(1, *(side for name in last for side in sides.get(name, ()))),
    )


def _layers(path: Path, text: bytes) -> list[Layer]:
    found = []
    try:
        for line in text.decode("ascii").splitlines()[_HEADER_LINES:]:
            kind, _, inputs, outputs, *words = line.split()
            names = words[int(inputs) : int(inputs) + int(outputs)]
            options = dict(word.split("=", 1) for word in words[int(inputs) + int(outputs) :])
            found.append(Layer(kind, tuple(names), options))
        sum(layer.values for layer in found)  # each of its numbers is one
    except ValueError as error:
        raise ExportError(f"{path}: is not {KIND}, or is damaged ({error!s:.200}); export it again") from error
    return found


def _sides(path: Path, layers: list[Layer], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of every value for one image, taken in a run of a blank one."""
    network = load(path, all_values=True)
    extractor = network.create_extractor()
    extractor.input(network.input_names()[0], need(EXTRA, "ncnn").Mat(np.zeros(shape, np.float32)).clone())
    found: dict[str, tuple[int, ...]] = {}
    for name in (name for layer in layers for name in layer.outputs):
        failed, value = extractor.extract(name)
        if failed:
            raise ExportError(f"{path}: ncnn cannot run it on an image of shape {shape}; export it again")
        found[name] = np.array(value).shape
    return found


def _macs(layers: list[Layer], sides: Mapping[str, tuple[int, ...]]) -> int | None:
    """One product for each output value and each input value it sums over; None where a shape is not known."""
    if not sides or any(layer.kind in _NOT_COUNTED for layer in layers):
        return None
    total = 0
    for layer in layers:
        if layer.kind in _CONVOLUTIONS:
            total += layer.number(_WEIGHTS) * prod(sides[layer.outputs[0]][1:])
        elif layer.kind == "InnerProduct":
            total += layer.number(_DENSE_WEIGHTS) * prod(sides[layer.outputs[0]][:-1])
    return total
