"""Networks without weights: shapes and types that take no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MAKERS = (torch.empty, torch.zeros, torch.ones)
FILLERS = {
    "add_",
    "clamp_",
    "constant_",
    "erfinv_",
    "fill_",
    "kaiming_uniform_",
    "mul_",
    "normal_",
    "uniform_",
    "zero_",
}


class Outlining(TorchFunctionMode):
    """Inside it, the tensors that layers make for their weights lie on the meta device, and nothing fills them.

    `torch.device("meta")` would also take the numbers by which some builders count their layers, and its fillings are
    slow where not dear: the first imports a compiler.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What torch asks of a mode: the result of `func`."""
        kwargs = kwargs or {}
        if func in MAKERS:
            return func(*args, **{**kwargs, "device": "meta"})
        if getattr(func, "__name__", "") in FILLERS:
            tensor = args[0] if args else kwargs["tensor"]
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
