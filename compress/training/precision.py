"""In which numbers the networks of a run compute."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from compress.errors import PlanError
from compress.phase import Ref

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")

_CPU_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def check_precision(precision: Precision, device: torch.device) -> None:
    """Nothing, once the device has instructions for the precision.

    Raises:
        PlanError: It has none, and would compute more slowly than in float32.
    """
    if precision == "bf16" and not _has_bf16(device):
        raise PlanError(
            f"precision bf16: this {device.type} has no instructions for bfloat16, as far as torch can tell, and would "
            "only be slower; leave it at fp32"
        )


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A `with` in which networks compute in the precision, as far as torch's autocast deems it safe."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def in_full(given: Mapping[Ref, Tensor]) -> dict[Ref, Tensor]:
    """The same features, those of a lower precision in float32: what a loss sees."""
    return {ref: value.float() if value.dtype == torch.bfloat16 else value for ref, value in given.items()}


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest torch we take
    return any(found.get(name) for name in _CPU_INSTRUCTIONS)
