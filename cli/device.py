"""Where a command computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compress.errors import PlanError, unknown_name

if TYPE_CHECKING:
    import torch

_VARIABLE = "ACCELERATE_TORCH_DEVICE"


@contextmanager
def computing_on(name: str) -> Iterator[None]:
    """A `with` in which accelerate takes that device; "auto" leaves the choice to it.

    Raises:
        PlanError: There is no such device, or not on this machine.
    """
    if name == "auto":
        yield
        return
    _check(name)
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = name
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
        if before is not None:
            os.environ[_VARIABLE] = before


def _check(name: str) -> None:
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name not in there:
        raise PlanError(unknown_name("device", name, ("auto", *there)))
    if not there[name]:
        here = ", ".join(device for device, is_there in there.items() if is_there)
        raise PlanError(f"--device {name}: torch finds none on this machine; it finds {here}")


def chosen() -> torch.device:
    """The device that accelerate took."""
    from accelerate import PartialState

    device: torch.device = PartialState().device
    return device
