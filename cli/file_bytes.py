"""What `edgepress inspect --bytes` shows: where the bytes of a file go, and in which types it computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from compress.file_bytes import StoredTensor

_KINDS = (".onnx", ".safetensors")


def show(path: Path) -> None:
    """Print the bytes of a file by node or by module, and what else it is made of; the sum is its size.

    Raises:
        DataError: It is of another kind.
        PlanError: A network was named, of which nothing is read.
        CheckpointError, ExportError: It cannot be read.
    """
    from cli import parse, say
    from cli.typed import refuse
    from compress.errors import DataError

    refuse((*parse.OF_PLAIN, *parse.OF_SEEN, "--data"), "--bytes counts a file without its network; leave it out")
    if path.suffix not in _KINDS:
        raise DataError(f"{path}: --bytes counts {' and '.join(_KINDS)} files; give one of these")
    facts = _exported(path) if path.suffix == ".onnx" else _checkpoint(path)
    say.result(facts, *_tables(facts))


def _exported(path: Path) -> dict[str, Any]:
    from exports import format_of
    from exports.graph.bytes import file_bytes

    format_of(path).read(path)
    found = file_bytes(path)
    nodes = [
        {
            "operator": node.operator,
            "output_shape": None if node.shape is None else list(node.shape),
            "stored": node.stored or None,
            "computes": node.computes or None,
            **_size(node.tensors, found.size_bytes),
            "unpacked_by": list(node.unpacked_by),
            "tensors": [asdict(tensor) for tensor in node.tensors],
        }
        for node in found.nodes
    ]
    return {"file": str(path), "format": "ONNX", "size_bytes": found.size_bytes, "nodes": nodes, "rest": found.rest}


def _checkpoint(path: Path) -> dict[str, Any]:
    from compress.file_bytes import checkpoint_bytes

    found = checkpoint_bytes(path)
    modules = [
        {
            "module": name,
            "stored": max(tensors.values(), key=lambda tensor: tensor.size_bytes).type,
            **_size(tensors.values(), found.size_bytes),
            "tensors": {own: asdict(tensor) for own, tensor in tensors.items()},
        }
        for name, tensors in found.modules.items()
    ]
    whole = {"file": str(path), "format": "safetensors", "size_bytes": found.size_bytes}
    return {**whole, "modules": modules, "rest": found.rest}


def _size(tensors: Iterable[StoredTensor], whole: int) -> dict[str, Any]:
    size = sum(tensor.size_bytes for tensor in tensors)
    return {"size_bytes": size, "share": size / whole}


def _tables(facts: Mapping[str, Any]) -> list[Table]:
    from cli import say

    whole = facts["size_bytes"]
    if "nodes" in facts:
        head: Sequence[str] = ("operator", "output", "stored", "runs in", "bytes", "share")
        rows = [_node_row(node) for node in facts["nodes"]]
    else:
        head, rows = ("module", "stored", "bytes", "share"), [_module_row(module) for module in facts["modules"]]
    rest = [(part, f"{size:,}", f"{size / whole:.1%}") for part, size in facts["rest"].items()]
    rest.append(("all of it, with the tensors", f"{whole:,}", "100.0%"))
    title = f"{facts['file']}: {whole:,} bytes"
    return [say.table(head, rows, title=title), say.table(("besides the tensors", "bytes", "share"), rest)]


def _node_row(node: Mapping[str, Any]) -> tuple[str, ...]:
    sides = node["output_shape"]
    sides = sides[1:] if sides and sides[0] == 1 else sides
    shape = "?" if sides is None else "x".join(map(str, sides))
    return (node["operator"], shape, node["stored"] or "", node["computes"] or "?", *_size_cells(node))


def _module_row(module: Mapping[str, Any]) -> tuple[str, ...]:
    return (module["module"] or "(the network itself)", module["stored"], *_size_cells(module))


def _size_cells(one: Mapping[str, Any]) -> tuple[str, str]:
    return (f"{one['size_bytes']:,}", f"{one['share']:.1%}") if one["size_bytes"] else ("", "")
