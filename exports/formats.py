"""The edge formats: what writes one and what reads it, by the suffix of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ExportError, unknown_name
from exports.extras import check_extra

if TYPE_CHECKING:
    from compress.checkpoint import Checkpoint
    from exports.artefact import Artefact
    from exports.graph.census import GraphCensus
    from exports.source import Settings

UNVERIFIED = "Core ML runs on macOS only"


@dataclass(frozen=True)
class Format:
    """The two ends of an edge format.

    Attributes:
        name: What it is called.
        runtime: What runs its files here.
        write: Writes a checkpoint to a path that does not exist.
        read: Opens what was written: (path, *, threads, sealed) to an Artefact.
        differences: What one file has otherwise than another of the same checkpoint and settings; empty if nothing.
        census: What a file weighs and costs.
        as_written: Opens it so that it computes what its graph says; None where its runtime has no way to.
        folder: It is a folder of files, not one file.
        extra: Of edgepress, without which it can be neither written nor read; "" where the core install does.
        modules: What that extra brings, without dots.
        unverified: Why its files cannot be run here and so are never called verified; "" where they can.
    """

    name: str
    runtime: str
    write: Callable[[Checkpoint, Path, Settings], None]
    read: Callable[..., Artefact]
    differences: Callable[[Path, Path], list[str]]
    census: Callable[[Path], GraphCensus]
    as_written: Callable[[Path], Artefact] | None = None
    folder: bool = False
    extra: str = ""
    modules: tuple[str, ...] = ()
    unverified: str = ""

    def check_extra(self) -> None:
        """Nothing, once what it needs is installed; MissingExtraError, which says how to install it, otherwise."""
        check_extra(self.extra, self.modules)


def _late(module: str, name: str) -> Callable[..., Any]:
    """A function of a module of this package that is imported when it is first called: nobody needs all formats."""

    def call(*args: object, **options: object) -> Any:
        return getattr(import_module(f"exports.{module}"), name)(*args, **options)

    return call


FORMATS: Mapping[str, Format] = {
    ".onnx": Format(
        "ONNX",
        "ONNX Runtime",
        _late("to_onnx", "write"),
        _late("run_onnx", "read"),
        _late("graph.compared", "differences"),
        _late("graph.census", "graph_census"),
        partial(_late("run_onnx", "read"), optimized=False),
    ),
    ".tflite": Format(
        "LiteRT",
        "LiteRT",
        _late("to_litert", "write"),
        _late("run_litert", "read"),
        _late("litert.compared", "differences"),
        _late("litert.census", "graph_census"),
    ),
    ".openvino": Format(
        "OpenVINO",
        "OpenVINO",
        _late("to_openvino", "write"),
        _late("run_openvino", "read"),
        _late("folder", "differences"),
        _late("openvino_census", "graph_census"),
        partial(_late("run_openvino", "read"), optimized=False),
        folder=True,
        extra="openvino",
        modules=("openvino",),
    ),
    ".ncnn": Format(
        "ncnn",
        "ncnn",
        _late("to_ncnn", "write"),
        _late("run_ncnn", "read"),
        _late("folder", "differences"),
        _late("ncnn_census", "graph_census"),
        folder=True,
        extra="ncnn",
        modules=("ncnn", "pnnx"),
    ),
    ".pte": Format(
        "ExecuTorch",
        "ExecuTorch",
        _late("to_executorch", "write"),
        _late("run_executorch", "read"),
        _late("executorch_seal", "differences"),
        _late("executorch_census", "graph_census"),
        extra="executorch",
        modules=("executorch",),
    ),
    ".mlpackage": Format(
        "CoreML",
        "Core ML",
        _late("to_coreml", "write"),
        _late("run_coreml", "read"),
        _late("folder", "differences"),
        _late("run_coreml", "graph_census"),
        folder=True,
        extra="coreml",
        modules=("coremltools",),
        unverified=UNVERIFIED,
    ),
}
CORE: tuple[str, ...] = tuple(suffix for suffix, form in FORMATS.items() if not form.extra)


def suffix_of(name: str) -> str:
    """The suffix of the format called so, such as "onnx" or "litert"; ExportError for an unknown one."""
    known = {form.name.lower(): suffix for suffix, form in FORMATS.items()}
    if name.lower() not in known:
        raise ExportError(unknown_name("format", name, known))
    return known[name.lower()]


def format_of(path: Path | str) -> Format:
    """The format that the suffix of `path` names; ExportError for an unknown one."""
    path = Path(path)
    if path.suffix not in FORMATS:
        found = repr(path.suffix) if path.suffix else "a name without a suffix"
        raise ExportError(f"{path}: {found} is no edge format; known are {', '.join(FORMATS)}")
    return FORMATS[path.suffix]
