"""What is done to a network after it is built: plain data that a card keeps and `load` replays."""

from __future__ import annotations

from dataclasses import dataclass

BITS = (2, 4, 7, 8, 16)
ACTIVATION_BITS = (8,)


@dataclass(frozen=True)
class Cut:
    """Channels removed from one layer, and with them from all layers that are coupled to it.

    Attributes:
        module: Dotted name of the layer.
        out: Its output channels are meant, not its input channels.
        channels: Positions in the layer as it was before this cut, ascending.
    """

    module: str
    out: bool
    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.module, str) or not self.module or not isinstance(self.out, bool):
            raise ValueError(f"a cut of {self.module!r}, out={self.out!r}; expected a module name and true or false")
        if not self.channels or not all(type(channel) is int and channel >= 0 for channel in self.channels):
            raise ValueError(
                f"the cut of {self.module!r} needs channels, whole numbers from 0; got {self.channels!r:.80}"
            )
        if any(low >= high for low, high in zip(self.channels, self.channels[1:], strict=False)):
            raise ValueError(f"the cut of {self.module!r} names channels twice or not in ascending order")

    def to_list(self) -> list[str | bool | list[int]]:
        """The cut as JSON-able data; `from_list` reads it back."""
        return [self.module, self.out, list(self.channels)]

    @classmethod
    def from_list(cls, data: object) -> Cut:
        """The cut that `to_list` wrote.

        Raises:
            ValueError: The data is not a name, a truth value and a list of ascending channels.
        """
        if not isinstance(data, list | tuple) or len(data) != 3 or not isinstance(data[2], list | tuple):
            raise ValueError(f"a cut is [module, out, channels]; got {data!r:.80}")
        return cls(data[0], data[1], tuple(data[2]))


@dataclass(frozen=True)
class Drop:
    """A block removed: what goes into it goes on as it is.

    Attributes:
        module: Dotted name of the block, which gives a tensor of the shape that it takes.
    """

    module: str

    def __post_init__(self) -> None:
        if not isinstance(self.module, str) or not self.module:
            raise ValueError(f"a drop of {self.module!r}; expected the name of a module")

    def to_dict(self) -> dict[str, str]:
        """The drop as JSON-able data; `from_dict` reads it back."""
        return {"drop": self.module}

    @classmethod
    def from_dict(cls, data: object) -> Drop:
        """The drop that `to_dict` wrote.

        Raises:
            ValueError: The data is not the name of a module.
        """
        match data:
            case {"drop": str(module)}:
                return cls(module)
        raise ValueError(f"a drop is {{drop}}; got {data!r:.80}")


@dataclass(frozen=True)
class Grid:
    """The weight of one layer, held to few values.

    Attributes:
        module: Dotted name of the layer.
        bits: Of one value: 2, 4, 7 or 8 for whole multiples of a step, of which each output channel has its own; 16
            for floats of half precision.
    """

    module: str
    bits: int

    def __post_init__(self) -> None:
        if not isinstance(self.module, str) or not self.module:
            raise ValueError(f"a grid of {self.module!r}; expected the name of a module")
        if type(self.bits) is not int or self.bits not in BITS:
            raise ValueError(f"the grid of {self.module!r} has {self.bits!r} bits; allowed are {BITS}")

    def to_dict(self) -> dict[str, str | int]:
        """The grid as JSON-able data; `from_dict` reads it back."""
        return {"module": self.module, "bits": self.bits}

    @classmethod
    def from_dict(cls, data: object) -> Grid:
        """The grid that `to_dict` wrote.

        Raises:
            ValueError: The data is not the name of a module and its bits.
        """
        match data:
            case {"module": str(module), "bits": int(bits)}:
                return cls(module, bits)
        raise ValueError(f"a grid is {{module, bits}}; got {data!r:.80}")


@dataclass(frozen=True)
class Place:
    """Where a value shows in a forward pass.

    Attributes:
        module: Dotted name of a module; "" is the network itself.
        call: Which of its calls in a pass, from 0.
        before: What goes into it is meant, not what comes out of it.
    """

    module: str
    call: int = 0
    before: bool = False

    def __post_init__(self) -> None:
        if type(self.call) is not int or self.call < 0:
            raise ValueError(f"a place at call {self.call!r} of {self.module!r}; calls are counted from 0")

    def __str__(self) -> str:
        side = "into" if self.before else "out of"
        return f"{side} {self.module or 'the network'}" + (f", call {self.call + 1}" if self.call else "")

    def to_list(self) -> list[str | int | bool]:
        """The place as JSON-able data; `from_list` reads it back."""
        return [self.module, self.call, self.before]

    @classmethod
    def from_list(cls, data: object) -> Place:
        """The place that `to_list` wrote.

        Raises:
            ValueError: The data is not the name of a module, a whole number and a truth value.
        """
        match data:
            case [str(module), int(call), bool(before)]:
                return cls(module, call, before)
        raise ValueError(f"a place is [module, call, before]; got {data!r:.80}")


@dataclass(frozen=True)
class ActivationGrid:
    """A value of the forward pass, held to whole multiples of a step.

    Attributes:
        places: Where it shows: first where it is made, then where operators that only move it pass it on.
        bits: Of one value.
    """

    places: tuple[Place, ...]
    bits: int = 8

    def __post_init__(self) -> None:
        if not self.places or len(set(self.places)) < len(self.places):
            raise ValueError(f"a grid of activations needs places, each once; got {self.places!r:.80}")
        if type(self.bits) is not int or self.bits not in ACTIVATION_BITS:
            raise ValueError(f"a grid of activations has {self.bits!r} bits; allowed are {ACTIVATION_BITS}")

    def to_dict(self) -> dict[str, object]:
        """The grid as JSON-able data; `from_dict` reads it back."""
        return {"places": [place.to_list() for place in self.places], "bits": self.bits}

    @classmethod
    def from_dict(cls, data: object) -> ActivationGrid:
        """The grid that `to_dict` wrote.

        Raises:
            ValueError: The data is not places and bits.
        """
        match data:
            case {"places": list(places), "bits": int(bits)}:
                return cls(tuple(Place.from_list(place) for place in places), bits)
        raise ValueError(f"a grid of activations is {{places, bits}}; got {data!r:.80}")


Surgery = Cut | Drop
Edit = Surgery | Grid | ActivationGrid


def to_data(edit: Edit) -> object:
    """An edit as JSON-able data: a list for a cut, a mapping for anything else."""
    return edit.to_list() if isinstance(edit, Cut) else edit.to_dict()


def from_data(data: object) -> Edit:
    """The edit that `to_data` wrote; ValueError where the data is none."""
    if not isinstance(data, dict):
        return Cut.from_list(data)
    if "drop" in data:
        return Drop.from_dict(data)
    return ActivationGrid.from_dict(data) if "places" in data else Grid.from_dict(data)
