"""Grids of activations in an ONNX graph: a QuantizeLinear and a DequantizeLinear wherever a value is on one."""

from __future__ import annotations

import torch
from torch import Tensor

from compress.quantization import Spot

OPSET = 20  # of the two operators as they are written; the exporter brings them to the one that is asked for


def as_operators(value: Tensor, spot: Spot) -> Tensor:
    """The two operators in the place of a rounding, for torch's exporter alone: they compute nothing in torch.

    Args:
        value: (B, ...).
        spot: Whose grid it is held to.
    """
    step, zero = spot.step.detach().clone(), spot.zero.to(torch.uint8)
    codes = torch.onnx.ops.symbolic(
        "QuantizeLinear", (value, step, zero), dtype=torch.uint8, shape=value.shape, version=OPSET
    )
    return torch.onnx.ops.symbolic(
        "DequantizeLinear", (codes, step, zero), dtype=value.dtype, shape=value.shape, version=OPSET
    )
