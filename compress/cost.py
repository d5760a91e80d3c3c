"""What a network in torch weighs, and what a forward pass costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from compress.quantization.grids import parameters_of
from compress.stages import Staged, evaluating

NO_LAYERS = nn.Identity()


@dataclass(frozen=True)
class NetworkCensus:
    """The size and cost of a network in torch.

    Attributes:
        parameters: Values that training sets; buffers are not counted.
        macs: Multiply-accumulates of convolutions and matrix products for one image.
        weight_bytes: Of all parameters and buffers.
    """

    parameters: int
    macs: int
    weight_bytes: int


@dataclass(frozen=True)
class Product:
    """One convolution or matrix product with a weight of the network, as a forward pass calls it.

    Attributes:
        layer: The module that owns the weight.
        macs: Multiply-accumulates of this call.
        weight: The weight's shape: (out, in / groups, height, width) of a convolution, (out, in) of a linear layer.
        groups: Of a convolution; 1 of all else.
    """

    layer: str
    macs: int
    weight: tuple[int, ...]
    groups: int = 1

    @property
    def depthwise(self) -> bool:
        """Whether each output channel reads one input channel alone."""
        return self.groups > 1 and self.weight[1] == 1


class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A `with` that counts the multiply-accumulates of what runs inside, by torch's own formulas.

    Torch's `FlopCounterMode` counts the same but first imports torch's compiler, which takes longer than to count.

    Args:
        model: Whose weights are looked for, to tell layers apart.

    Attributes:
        macs: So far.
        products: Those of them with a weight of the model, in the order of their calls, whatever function made them.
    """

    def __init__(self, model: nn.Module = NO_LAYERS) -> None:
        from torch.utils.flop_counter import flop_registry  # slow to import

        super().__init__()  # type: ignore[no-untyped-call]
        self._formulas = flop_registry
        self.macs = 0
        self.products: list[Product] = []
        self._owners = {
            parameter.untyped_storage()._cdata: (name.rpartition(".")[0], tuple(parameter.shape))
            for name, parameter in model.named_parameters()
            if parameter.dim() > 1
        }

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, so the compiler need not be imported to be kept away

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        formula = self._formulas.get(func.overloadpacket)
        if formula is None:
            with self:
                result = func.decompose(*args, **given)
            if result is not NotImplemented:
                return result
        result = func(*args, **given)
        if formula is not None:
            macs = formula(*args, **given, out_val=result) // 2
            self.macs += macs
            self._note(args, macs)
        return result

    def _note(self, args: tuple[Any, ...], macs: int) -> None:
        for value in args:
            owner = self._owners.get(value.untyped_storage()._cdata) if isinstance(value, Tensor) else None
            if owner is not None:
                groups = args[-1] if isinstance(args[-1], int) else 1
                self.products.append(Product(owner[0], macs, owner[1], groups))


def network_census(network: Staged, image_shape: tuple[int, int, int]) -> NetworkCensus:
    """The census of a network in torch, counted in one forward pass in eval mode.

    Args:
        network: Left as it is.
        image_shape: (C, H, W) of one image.
    """
    model = network.model
    tensors = [*model.parameters(), *model.buffers()]
    image = torch.zeros(1, *image_shape, device=tensors[0].device if tensors else None)
    with evaluating(model), _plain_attention(), torch.no_grad(), MacCounter() as counter:
        model(image)
    return NetworkCensus(
        parameters=parameters_of(model),
        macs=counter.macs,
        weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    )


def network_products(model: nn.Module, image_shape: tuple[int, int, int]) -> list[Product]:
    """Every product with a weight in one forward pass in eval mode, in the order in which they are computed.

    Args:
        model: Left as it is.
        image_shape: (C, H, W) of one image.
    """
    weight = next(model.parameters(), torch.zeros(0))
    image = torch.zeros(1, *image_shape, device=weight.device)
    with evaluating(model), _plain_attention(), torch.no_grad(), MacCounter(model) as counter:
        model(image)
    products: list[Product] = counter.products
    return products


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as plain matrix products inside the `with`: fused kernels hide them from the counter."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
