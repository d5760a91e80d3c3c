"""The machine's description and the warning made of it."""

from __future__ import annotations

import json

import numpy
import pytest
import torch

from compress.evidence import describe, load_warning

KEYS = {"cpu", "flags", "cores_physical", "cores_logical", "cores_usable", "load_average", "governor", "os", "python"}


def test_description_holds_every_key_and_is_json() -> None:
    description = describe()
    assert set(description) == KEYS | {"torch", "onnxruntime", "onnx", "numpy", "edgepress"}
    assert json.loads(json.dumps(description)) == description
    assert description["cpu"]
    assert 1 <= description["cores_usable"] <= description["cores_logical"]


def test_versions_are_those_that_run() -> None:
    description = describe()
    assert description["numpy"] == numpy.__version__
    assert torch.__version__.startswith(description["torch"])


@pytest.mark.parametrize(("load", "warned"), [([2.1, 0, 0], True), ([2.0, 9, 9], False), (None, False)])
def test_warning_only_when_more_work_waited_than_there_are_cores(load: list[float] | None, warned: bool) -> None:
    warning = load_warning({"load_average": load, "cores_usable": 2})
    assert (warning is not None) is warned
    assert warning is None or "2.1 on 2 cores" in warning
