"""Where the time of an .onnx file goes, layer by layer, by ONNX Runtime's own profile."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.shipped import file_of
from compress.checkpoint import Checkpoint, outlined
from compress.cost import Product, network_products
from compress.quantization import plain
from exports import Artefact, noise
from exports.graph.model_file import parse, read_bytes
from exports.graph.weighted import layer_of_node
from exports.profile_onnx import Profile, Profiler, profiling

SESSIONS, ROUNDS = 3, 8
TURN_MS, MAX_CALLS = 15.0, 50
WARM_UP_CALLS, LEAD_IN_CALLS = 5, 2
MIDDLE = 0.25  # of the runs that is left out at each end


@dataclass(frozen=True)
class Subject:
    """An .onnx file whose time is wanted.

    Attributes:
        path: The file.
        image: One image (1, C, H, W) of the type that it takes.
        products: Of the network it was made of, see `layer_of_node`; none for a file from elsewhere.
    """

    path: Path
    image: NDArray[Any]
    products: Sequence[Product] = ()


@dataclass(frozen=True)
class Operation:
    """One node that ONNX Runtime ran.

    Attributes:
        layer: The layer whose weights it multiplies by, as the network calls it; "" where it has none.
        operator: What the runtime calls it; what is fused with it counts as its own.
        provider: What ran it.
        after: The layer that ran last before it, or that it is; "" before the first.
        blocked_width: See `exports.profile_onnx.Kernel`.
        time_ms: Of one run.
    """

    layer: str
    operator: str
    provider: str
    after: str
    blocked_width: int
    time_ms: float

    @property
    def name(self) -> str:
        """Of its layer, or else of its operator."""
        return self.layer or self.operator


@dataclass(frozen=True)
class Spent:
    """What one run of a file is made of.

    Attributes:
        operations: In the order in which they ran.
        products: Of the network the file was made of, as far as it is known.
    """

    operations: tuple[Operation, ...]
    products: tuple[Product, ...] = ()

    @property
    def sum_ms(self) -> float:
        """Of all operations."""
        return sum(one.time_ms for one in self.operations)

    @property
    def by_name(self) -> dict[str, float]:
        """Each layer, and each operator that is no layer's, to its milliseconds."""
        return _summed((one.name, one.time_ms) for one in self.operations)

    @property
    def by_stretch(self) -> dict[str, float]:
        """Each layer to its milliseconds and those of what runs between it and the next: additions, poolings."""
        return _summed((one.after, one.time_ms) for one in self.operations if one.after)


def subject_of(path: Path, checkpoint: Checkpoint) -> Subject:
    """The .onnx file that a checkpoint was written to."""
    card = checkpoint.card
    products = network_products(plain(checkpoint.network.model), card.preprocessing.shape)
    return Subject(path, noise(card, 1).numpy(), products)


def subject_in(exported: Artefact) -> Subject:
    """An .onnx file that edgepress wrote; what it says of itself names its layers.

    Raises:
        ValueError: Another program wrote it: give its image yourself, and what is known of its layers.
    """
    card = exported.card
    if card is None:
        raise ValueError(f"{exported.path}: edgepress did not write it, so it does not say what images it takes")
    products = network_products(plain(outlined(card).model), card.preprocessing.shape)
    return Subject(exported.path, noise(card, 1, exported.input).numpy(), products)


def layer_times_ms(checkpoint: Checkpoint) -> dict[str, float]:
    """Each layer of a network to its milliseconds as .onnx, and those of what runs between it and the next.

    Raises:
        ExportError: It cannot be written as .onnx.
    """
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = file_of(checkpoint, Path(folder), "own")
        return spent({"own": subject_of(path, checkpoint)})["own"].by_stretch


def spent(files: Mapping[str, Subject]) -> dict[str, Spent]:
    """Name to where the time of the file goes, for one image at one thread; the files take turns.

    Each file is opened three times, for where the buffers of a session lie makes it faster or slower. Of each node it
    is the mean of the middle half of a session's runs, which what interrupts a run does not move, and which is finer
    than the whole microseconds of the profile; and of the sessions the median.

    Args:
        files: By name.

    Raises:
        ExportError: A file cannot be read, run or profiled.
    """
    with ExitStack() as stack:
        sessions = {
            name: [stack.enter_context(profiling(one.path, one.image)) for _ in range(SESSIONS)]
            for name, one in files.items()
        }
        calls = {name: _calls(all_[0]) for name, all_ in sessions.items()}
        for _ in range(ROUNDS):
            for number in range(SESSIONS):
                for name, all_ in sessions.items():
                    all_[number].turn(LEAD_IN_CALLS, calls[name])
        profiles = {name: [one.profile() for one in all_] for name, all_ in sessions.items()}
    return {name: _spent(one, profiles[name]) for name, one in files.items()}


def _calls(session: Profiler) -> int:
    """How many calls fill a turn."""
    session.turn(WARM_UP_CALLS, 0)
    start = time.perf_counter()
    session.turn(LEAD_IN_CALLS, 0)
    call_ms = 1e3 * (time.perf_counter() - start) / LEAD_IN_CALLS
    return int(np.clip(round(TURN_MS / call_ms), 1, MAX_CALLS))


def _spent(subject: Subject, profiles: Sequence[Profile]) -> Spent:
    layers = layer_of_node(parse(subject.path, read_bytes(subject.path)).graph, subject.products)
    operations, after = [], ""
    for kernels in zip(*(one.kernels for one in profiles), strict=True):
        kernel = kernels[0]
        layer = layers.get(kernel.node, "") if kernel.node is not None else ""
        after = layer or after
        taken = float(np.median([_middle(one.times_us) for one in kernels])) / 1e3
        operations.append(Operation(layer, kernel.operator, kernel.provider, after, kernel.blocked_width, taken))
    return Spent(tuple(operations), tuple(subject.products))


def _middle(values: NDArray[np.float64]) -> float:
    """The mean of the middle half."""
    cut = int(MIDDLE * len(values))
    return float(np.sort(values)[cut : len(values) - cut].mean())


def _summed(parts: Iterable[tuple[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for name, value in parts:
        total[name] = total.get(name, 0.0) + value
    return total
