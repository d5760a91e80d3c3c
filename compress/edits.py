"""What is done to a network after it is built: plain data that a card keeps and `load` replays."""

from __future__ import annotations

from dataclasses import dataclass


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
