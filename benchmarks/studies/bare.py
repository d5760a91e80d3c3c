"""A file of anyone's without what only says what it is, so that the bytes of networks can be compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.studies.quantizers import GRAPH, LITERT, ONNX, OPENVINO


def strip(path: Path, target: Path) -> None:
    """Write the network in a file, or a folder, without names, signatures, metadata and notes of who made it.

    What the format needs stays: the graph, its weights and scales, and in OpenVINO the names of the layers.

    Args:
        path: The file or folder; left as it is.
        target: What to write, of the same suffix, which does not exist.
    """
    _STRIPS[path.suffix](path, target)


def size_bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))


def _onnx(path: Path, target: Path) -> None:
    import onnx

    from exports.graph.strip import strip as stripped

    onnx.save(stripped(onnx.load(path)), target)


def _litert(path: Path, target: Path) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    from exports.litert.builder import IDENTIFIER, AlignedBuffer

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    model.description = model.metadata = model.metadataBuffer = model.signatureDefs = None
    kept: dict[int, int] = {0: 0}
    for graph in model.subgraphs:
        graph.name = None
        for index, tensor in enumerate(graph.tensors):
            tensor.buffer = kept.setdefault(tensor.buffer, len(kept))
            if index not in (*graph.inputs, *graph.outputs):
                tensor.name = None
    model.buffers = [AlignedBuffer(_content(model.buffers[number])) for number in kept]
    builder = flatbuffers.Builder(path.stat().st_size)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    target.write_bytes(builder.Output())


def _content(buffer: Any) -> bytes:
    return b"" if buffer.data is None else bytes(buffer.data)


def _openvino(path: Path, target: Path) -> None:
    shutil.copytree(path, target)
    tree = ElementTree.parse(target / GRAPH)
    root = tree.getroot()
    for notes in root.findall("rt_info"):
        root.remove(notes)
    tree.write(target / GRAPH)


_STRIPS: Mapping[str, Callable[[Path, Path], None]] = {ONNX: _onnx, LITERT: _litert, OPENVINO: _openvino}
