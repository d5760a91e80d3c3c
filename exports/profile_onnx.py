"""How long each node of an .onnx file takes, by ONNX Runtime's own profile, put back to the nodes of the file."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto

from compress.errors import ExportError
from exports.graph.model_file import has_external_data, parse, read_bytes
from exports.graph.weighted import back_to, multiplies, weighted
from exports.run_onnx import LOAD_ERRORS, OnnxRunner, session_options

_MARK = re.compile(r"<(\d+)>")
_ENDING = "_kernel_time"
_WHOLE_RUN = "model_run"
_BLOCKED = "_nchwc"


@dataclass(frozen=True)
class Kernel:
    """One node of the graph that ONNX Runtime made of a file, as it ran.

    Attributes:
        operator: What the runtime calls it, such as FusedGemm or ReorderOutput.
        provider: What ran it, such as CPUExecutionProvider.
        node: The number of the node of the file whose weights it multiplies by, whatever else is fused with it; None
            where it is no such node.
        blocked_width: The channels that it computes, those among them that only fill the vector unit, where its values
            are in ONNX Runtime's layout of blocks of channels; 0 where they are not.
        times_us: (runs,), microseconds.
    """

    operator: str
    provider: str
    node: int | None
    blocked_width: int
    times_us: NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """What a session measured of itself.

    Attributes:
        kernels: In the order in which they ran.
        runs_us: (runs,), microseconds of each whole run, the profiling itself among it.
    """

    kernels: tuple[Kernel, ...]
    runs_us: NDArray[np.float64]


_Key = tuple[str, str]


@dataclass(frozen=True)
class _Run:
    """One run: each node, by its name and number, to its microseconds and to what the runtime says of it."""

    spent_us: Mapping[_Key, float]
    about: Mapping[_Key, Mapping[str, Any]]
    whole_us: float


class Profiler:
    """A session that profiles itself: let it have its turns, then take its `profile`; see `profiling`.

    Args:
        graph: What runs, each node called by its number.
        session: Of this graph.
        run: One run of it, which was done once before.
    """

    def __init__(self, graph: GraphProto, session: onnxruntime.InferenceSession, run: Callable[[], None]) -> None:
        self._graph, self._session, self._run = graph, session, run
        self._counted = [False]

    def turn(self, lead_in: int, calls: int) -> None:
        """Run it, first a few times that do not count, then some that do."""
        for _ in range(lead_in + calls):
            self._run()
        self._counted += [False] * lead_in + [True] * calls

    def profile(self) -> Profile:
        """What was measured; to be taken once, after the last turn.

        Raises:
            ValueError: There was no run that counts.
        """
        if not any(self._counted):
            raise ValueError("a profile of no run; have a turn first")
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))  # type: ignore[no-untyped-call]
        runs = list(compress(_runs(events), self._counted))
        return Profile(tuple(_kernels(self._graph, runs)), np.asarray([run.whole_us for run in runs], dtype=np.float64))


@contextmanager
def profiling(path: Path, image: NDArray[Any], *, threads: int = 1) -> Iterator[Profiler]:
    """A `with` around a session that profiles itself, in a temporary folder.

    Every node and value gets its node's number as a name, in a copy, for the runtime calls what it fuses after one of
    the parts.

    Args:
        path: An .onnx file in one piece.
        image: One image (1, C, H, W) of the type that it takes.
        threads: CPU threads of ONNX Runtime.

    Raises:
        ExportError: It is no ONNX model that runs, the image does not fit, or its weights lie in other files.
    """
    model = parse(path, read_bytes(path))
    if has_external_data(model):
        raise ExportError(f"{path}: some of its weights lie in other files; save it as one file to profile it")
    _mark(model.graph)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        session = _session(path, model, Path(folder) / "profile", threads)
        try:
            yield Profiler(model.graph, session, OnnxRunner(path, session).bind(image))
        finally:
            session.end_profiling()  # type: ignore[no-untyped-call]


def _mark(graph: GraphProto) -> None:
    """Call each node, and what it makes, by the node's number in the graph."""
    short = {
        value: f"<{number}>" + (f".{place}" if place else "")
        for number, node in enumerate(graph.node)
        for place, value in enumerate(node.output)
        if value
    }
    for number, node in enumerate(graph.node):
        node.name = f"<{number}>"
        node.input[:] = [short.get(name, name) for name in node.input]
        node.output[:] = [short.get(name, name) for name in node.output]
    for value in (*graph.output, *graph.value_info):
        value.name = short.get(value.name, value.name)


def _session(path: Path, model: ModelProto, prefix: Path, threads: int) -> onnxruntime.InferenceSession:
    options = session_options(threads, optimized=True)
    options.enable_profiling = True
    options.profile_file_prefix = str(prefix)
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        raise ExportError(f"{path}: ONNX Runtime {onnxruntime.__version__} cannot profile it: {error}") from error


def _runs(events: Iterable[Mapping[str, Any]]) -> Iterator[_Run]:
    """What each run took, node by node; a node in a loop counts as often as it runs."""
    spent: dict[_Key, float] = {}
    seen: dict[_Key, Mapping[str, Any]] = {}
    for event in events:
        if event["name"] == _WHOLE_RUN:
            yield _Run(spent, seen, event["dur"])
            spent, seen = {}, {}
        elif event["cat"] == "Node" and event["name"].endswith(_ENDING):
            key = event["name"], event["args"]["node_index"]
            spent[key] = spent.get(key, 0.0) + event["dur"]
            seen[key] = event["args"]


def _kernels(graph: GraphProto, runs: Sequence[_Run]) -> Iterator[Kernel]:
    """What ran in the last of the runs, with the times of all of them."""
    last = runs[-1]
    nodes = _nodes(graph, last)
    for key, about in last.about.items():
        times = np.asarray([run.spent_us.get(key, 0.0) for run in runs], dtype=np.float64)
        width = _blocked_width(key[0], about)
        yield Kernel(about["op_name"], about.get("provider", ""), nodes.get(key), width, times)


def _blocked_width(name: str, about: Mapping[str, Any]) -> int:
    if _BLOCKED not in name or not multiplies(about["op_name"]):
        return 0
    shapes = [shape for tensor in about.get("input_type_shape", ()) for shape in tensor.values()]
    return int(shapes[1][0]) if len(shapes) > 1 and shapes[1] else 0


def _nodes(graph: GraphProto, run: _Run) -> dict[_Key, int]:
    """The node with weights of what multiplies by some.

    It is called after that node, or after one that was fused with it and reads it; there those that are called by their
    own name are out of the question.
    """
    wanted = [one.node for one in weighted(graph)]
    marks = {
        key: int(mark[1])
        for key, about in run.about.items()
        if multiplies(about["op_name"]) and (mark := _MARK.search(key[0]))
    }
    found = {key: mark for key, mark in marks.items() if mark in wanted}
    for key, called in marks.items():
        free = [node for node in back_to(graph, called, wanted) if node not in found.values()]
        if key not in found and free:
            found[key] = free[0]
    return found
