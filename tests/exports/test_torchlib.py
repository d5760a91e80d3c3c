"""The second export of a process does not ask anew what the first one was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch._export.utils
from onnxscript._internal import ast_utils
from torch.onnx._internal._lazy_import import onnxscript_apis
from torch.onnx._internal.exporter import _schemas
from torch.onnx._internal.exporter._registration import ONNXRegistry

from compress.checkpoint import Checkpoint
from exports import Settings
from exports.to_onnx import write
from exports.torchlib import asked_once

Watch = Callable[[Any, str], list[str]]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A module and a function of it to a list that grows by its name with each call."""

    def watched(module: Any, name: str) -> list[str]:
        calls: list[str] = []
        own = getattr(module, name)

        def asked(*words: object, **more: object) -> object:
            calls.append(name)
            return own(*words, **more)

        monkeypatch.setattr(module, name, asked)
        return calls

    return watched


def test_the_second_export_reads_no_source_and_gives_the_same_bytes(
    checkpoint: Checkpoint, tmp_path: Path, watch: Watch
) -> None:
    write(checkpoint, tmp_path / "first.onnx", Settings())
    read = watch(ast_utils, "get_src_and_ast")
    write(checkpoint, tmp_path / "second.onnx", Settings())
    assert read == []
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    asked = onnxscript_apis.get_torchlib_ops()
    assert len(read) > 100, "who asks besides edgepress is answered as ever"
    with asked_once():
        assert [one.qualified_name for one in onnxscript_apis.get_torchlib_ops()] == [
            one.qualified_name for one in asked
        ]


def test_the_second_export_makes_no_table_and_lists_composite_operators_once(
    checkpoint: Checkpoint, tmp_path: Path, watch: Watch
) -> None:
    write(checkpoint, tmp_path / "first.onnx", Settings())
    signed, listed = (
        watch(_schemas, "op_signature_from_function"),
        watch(torch._export.utils, "_materialize_cpp_cia_ops"),
    )
    write(checkpoint, tmp_path / "second.onnx", Settings())
    assert (signed, listed) == ([], ["_materialize_cpp_cia_ops"])
    with asked_once():
        tables = [ONNXRegistry.from_torchlib(opset_version=opset) for opset in (20, 21, 20)]
        assert [table.opset_version for table in tables] == [20, 21, 20]
    made = ONNXRegistry.from_torchlib(opset_version=20)
    assert len(signed) > 100, "who asks besides edgepress is answered as ever"
    assert made is not tables[0]
    assert made.functions.keys() == tables[0].functions.keys()
    assert tables[2] is tables[0]
