"""What torch's exporter asks anew at each export, asked once: of onnxscript, of its own table, of the dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

_Answer = tuple[Any, str, Any]  # who is asked, by which name, and what is said there instead


@contextmanager
def asked_once() -> Iterator[None]:
    """A `with` in which `torch.onnx.export` is told what it was told first, where it asks for what cannot change.

    A version of torch that asks elsewhere is left alone, and takes its time.
    """
    with ExitStack() as after:
        for answer in (_operators, _table, _composites):
            with suppress(ImportError, AttributeError):
                after.enter_context(_instead(*answer()))
        yield


@contextmanager
def _instead(place: Any, name: str, said: Any) -> Iterator[None]:
    own = vars(place).get(name)
    setattr(place, name, said)
    try:
        yield
    finally:
        if own is None:
            delattr(place, name)
        else:
            setattr(place, name, own)


def _operators() -> _Answer:
    """The operators of onnxscript: to list them, it reads the source of some 500 functions, which takes a second."""
    place, name = import_module("torch.onnx._internal._lazy_import").onnxscript_apis, "get_torchlib_ops"
    return place, name, _first(place, name)


def _table() -> _Answer:
    """The table made of them, one for each operator set: 15 % of the time of the export of a small network."""
    place, name = import_module("torch.onnx._internal.exporter._registration").ONNXRegistry, "from_torchlib"
    return place, name, staticmethod(_first(place, name))


def _composites() -> _Answer:
    """The composite operators of torch, asked for some 60 times an export: 10 % of its time."""
    place, name = import_module("torch._export.utils"), "_materialize_cpp_cia_ops"
    return place, name, cache(getattr(place, name))


@cache
def _first(place: Any, name: str) -> Callable[..., Any]:
    """What an object answers, kept from the first time that it is asked with the same arguments."""
    return cache(getattr(place, name))
