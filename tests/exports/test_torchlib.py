"""The second export of a process does not ask anew what the first one was told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from onnxscript._internal import ast_utils
from torch.onnx._internal._lazy_import import onnxscript_apis

from compress.checkpoint import Checkpoint
from exports import Settings
from exports.to_onnx import write
from exports.torchlib import asked_once


def test_the_second_export_reads_no_source_and_gives_the_same_bytes(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(checkpoint, tmp_path / "first.onnx", Settings())
    read: list[Callable[..., object]] = []
    own = ast_utils.get_src_and_ast

    def watched(function: Callable[..., object]) -> object:
        read.append(function)
        return own(function)

    monkeypatch.setattr(ast_utils, "get_src_and_ast", watched)
    write(checkpoint, tmp_path / "second.onnx", Settings())
    assert read == []
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    asked = onnxscript_apis.get_torchlib_ops()
    assert len(read) > 100, "who asks besides edgepress is answered as ever"
    with asked_once():
        assert [one.qualified_name for one in onnxscript_apis.get_torchlib_ops()] == [
            one.qualified_name for one in asked
        ]
