"""One forward pass written down: which value was made of which, with which weights, inside which module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from compress.preprocessing import Size
from compress.stages import evaluating

SHAPED = ("new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like", "empty_like", "full_like")
CHANNELS_FIRST = ("convolution", "batch_norm", "pool2d", "upsample", "pixel_shuffle", "group_norm")
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


@dataclass(frozen=True, eq=False)
class Value:
    """What a tensor held at one moment of the pass; in-place operators make another one.

    Attributes:
        number: Its place in the order in which values were made; the image is 0.
        operator: What made it, such as "convolution".
        shape: With the batch.
        sources: The values that it was made of, which all depend on the image.
        weights: Dotted names of the parameters and buffers that went in beside them.
        learned: Weights went into it, or into what it was made of.
        map: Height and width, of a map (B, C, H, W) or (B, H, W, C); else None.
        channels_last: Of a map.
        latest: `map` and `channels_last` of the latest map on the way to it.
    """

    number: int
    operator: str
    shape: tuple[int, ...]
    sources: tuple[Value, ...] = ()
    weights: frozenset[str] = frozenset()
    learned: bool = False
    map: Size | None = None
    channels_last: bool = False
    latest: tuple[Size | None, bool] = (None, False)


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        path: Its dotted name; "" is the network itself.
        entered: The first value that it was given; None where that is no tensor made of the image.
        left: The value that it gave; None likewise.
        begun: The number of the first value made inside.
        ended: The number of the first value made after it.
    """

    path: str
    entered: Value | None
    left: Value | None
    begun: int
    ended: int


@dataclass(frozen=True)
class Pass:
    """A forward pass.

    Attributes:
        model: The network.
        values: In the order in which they were made; the image first.
        calls: In the order in which they ended, so that the network's own is the last.
        answer: What the network gave: a tensor, if all is well.
    """

    model: nn.Module
    values: tuple[Value, ...]
    calls: tuple[Call, ...]
    answer: object

    def calls_of(self, path: str) -> list[Call]:
        """The calls of one module."""
        return [call for call in self.calls if call.path == path]

    def trunk(self, end: Value) -> list[Value]:
        """The values through which every way from the image to `end` leads, both of them among it."""
        above: dict[Value, Value] = {}
        for value in self.values[1 : end.number + 1]:
            meeting = value.sources[0]
            for source in value.sources[1:]:
                meeting = _meeting(meeting, source, above)
            above[value] = meeting
        found = [end]
        while found[-1].number:
            found.append(above[found[-1]])
        return found[::-1]


def _meeting(one: Value, other: Value, above: Mapping[Value, Value]) -> Value:
    while one is not other:
        if one.number < other.number:
            one, other = other, one
        one = above[one]
    return one


@torch.no_grad()
def follow(model: nn.Module, image: Tensor) -> Pass:
    """One forward pass in eval mode; whatever the network raises comes out.

    Args:
        model: Left as it is.
        image: (B, C, H, W) scaled images on its device.
    """
    writer = _Writer(model, image)
    with ExitStack() as inside, torch.random.fork_rng(devices=[]):
        inside.enter_context(evaluating(model))
        for path, module in model.named_modules():
            inside.callback(module.register_forward_pre_hook(writer.enter, with_kwargs=True).remove)
            inside.callback(module.register_forward_hook(writer.leave(path)).remove)
        inside.enter_context(writer)
        answer = model(image)
    return Pass(model, tuple(writer.values), tuple(writer.calls), answer)


class _Writer(TorchDispatchMode):
    """A `with` inside which every operator is written down."""

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        named = (*model.named_parameters(), *model.named_buffers())
        self._of_weights = {id(tensor): frozenset((name,)) for name, tensor in named}
        self._now: dict[int, Value] = {}
        self._alive: list[Tensor] = [image]  # so that no other tensor takes the id of one that is gone
        self._sharing: dict[int, list[Tensor]] = {}
        self._open: list[tuple[Value | None, int]] = []
        self.values: list[Value] = []
        self.calls: list[Call] = []
        self._put(image, Value(0, "image", tuple(image.shape), map=(image.shape[2], image.shape[3])))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, so the compiler need not be imported to be kept away

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        operator = str(func).split(".")[1]
        given = list(_tensors((args, kwargs)))
        sources = tuple(dict.fromkeys(self._now[id(one)] for one in given if id(one) in self._now))
        weights = frozenset[str]().union(*(self._of_weights.get(id(one), ()) for one in given))
        changed = {id(one) for one in given}
        for made in _tensors(result):
            if sources and operator not in SHAPED:
                self._made(made, operator, sources, weights, args, in_place=id(made) in changed)
            elif weights:
                self._of_weights[id(made)] = weights
                self._alive.append(made)
        return result

    def _made(
        self,
        tensor: Tensor,
        operator: str,
        sources: tuple[Value, ...],
        weights: frozenset[str],
        args: tuple[Any, ...],
        *,
        in_place: bool,
    ) -> None:
        shape, learned = tuple(tensor.shape), bool(weights) or any(source.learned for source in sources)
        size, last, latest = _layout(operator, shape, sources, args)
        value = Value(len(self.values), operator, shape, sources, weights, learned, size, last, latest)
        self._put(tensor, value)
        if in_place:
            for other in self._sharing[_storage(tensor)]:
                old = self._now[id(other)]
                if other is not tensor and old is not value:
                    joined = (old, value)
                    spread = Value(
                        len(self.values), operator, old.shape, joined, learned=True, latest=old.latest, map=old.map
                    )
                    self._put(other, spread)

    def _put(self, tensor: Tensor, value: Value) -> None:
        self.values.append(value)
        if id(tensor) not in self._now:
            self._alive.append(tensor)
            self._sharing.setdefault(_storage(tensor), []).append(tensor)
        self._now[id(tensor)] = value

    def enter(self, _module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The hook before a module."""
        given = args[0] if args else next((one for one in kwargs.values() if isinstance(one, Tensor)), None)
        self._open.append((self._value(given), len(self.values)))

    def leave(self, path: str) -> Any:
        """The hook behind a module."""

        def hook(_module: nn.Module, _args: tuple[Any, ...], output: object) -> None:
            entered, begun = self._open.pop()
            self.calls.append(Call(path, entered, self._value(output), begun, len(self.values)))

        return hook

    def _value(self, thing: object) -> Value | None:
        return self._now.get(id(thing)) if isinstance(thing, Tensor) else None


def _layout(
    operator: str, shape: tuple[int, ...], sources: tuple[Value, ...], args: tuple[Any, ...]
) -> tuple[Size | None, bool, tuple[Size | None, bool]]:
    """The map of a new value, whether its channels come last, and the latest map up to it."""
    source = next((one for one in sources if one.map), sources[0])
    latest = (source.map, source.channels_last) if source.map else source.latest
    last = _channels_last(operator, shape, source, args)
    if last is None:
        return None, False, latest
    size = (shape[1], shape[2]) if last else (shape[2], shape[3])
    return size, last, (size, last)


def _channels_last(operator: str, shape: tuple[int, ...], source: Value, args: tuple[Any, ...]) -> bool | None:
    """Whether the channels of a map come last; None where it is no map."""
    if len(shape) != 4:
        return None
    if any(kind in operator for kind in CHANNELS_FIRST):
        return False
    if operator == "permute" and source.map:
        dims = [int(dim) % 4 for dim in args[1]]
        turned = {(False, tuple(TO_LAST)): True, (True, tuple(TO_FIRST)): False}
        return source.channels_last if dims == [0, 1, 2, 3] else turned.get((source.channels_last, tuple(dims)))
    if source.map and operator not in ("view", "_unsafe_view", "reshape", "transpose"):
        return source.channels_last
    size, before = (source.map, source.channels_last) if source.map else source.latest
    fitting = (last for last in (before, not before) if size and _shrunk(size, shape[1:3] if last else shape[2:4]))
    return next(fitting, None)


def _shrunk(size: Size, sides: tuple[int, ...]) -> bool:
    """Whether a map has the sides of an earlier one, or a whole part of both."""
    return all(side and whole % side == 0 for whole, side in zip(size, sides, strict=True)) and (
        size[0] // sides[0] == size[1] // sides[1]
    )


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _tensors(things: object) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples and mappings."""
    if isinstance(things, Tensor):
        yield things
    elif isinstance(things, Mapping):
        yield from _tensors(tuple(things.values()))
    elif isinstance(things, list | tuple):
        inner: Iterable[object] = things
        for one in inner:
            yield from _tensors(one)
