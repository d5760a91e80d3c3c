"""What torch's exporter asks onnxscript for anew at each export, asked once a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

_HOME, _PLACE, _QUESTION = "torch.onnx._internal._lazy_import", "onnxscript_apis", "get_torchlib_ops"


@contextmanager
def asked_once() -> Iterator[None]:
    """A `with` in which `torch.onnx.export` is told the operators of onnxscript that it was told first.

    To list them, onnxscript reads the source of some 500 functions, which takes 40 % of the time of the export of a
    small network. A version of torch that asks elsewhere is left alone, and takes that time.
    """
    try:
        apis = getattr(import_module(_HOME), _PLACE)
        operators = _operators(apis)
    except (ImportError, AttributeError):
        yield
        return
    own = vars(apis).get(_QUESTION)
    setattr(apis, _QUESTION, lambda: operators)
    try:
        yield
    finally:
        if own is None:
            delattr(apis, _QUESTION)
        else:
            setattr(apis, _QUESTION, own)


@cache
def _operators(apis: Any) -> Any:
    return getattr(apis, _QUESTION)()
