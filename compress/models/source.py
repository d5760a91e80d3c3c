"""How to build a network: everything a checkpoint has to remember besides the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from compress.preprocessing import LARGEST_SIDE, Size

Option = int | float | bool | str


@dataclass(frozen=True)
class Architecture:
    """The arguments of a builder.

    Attributes:
        name: A known network, see `model_names`.
        classes: Outputs, at least 1.
        channels: Input channels, at least 1.
        size: Height and width of the input in pixels, each 1 to 4096.
        options: Further arguments of the builder: whole numbers ("width", "depth"), of networks from elsewhere also
            other numbers, truth values and texts.
        sha256: Of the file of code that builds it; "" for a network that comes with a package.
    """

    name: str
    classes: int
    channels: int
    size: Size
    options: Mapping[str, Option] = field(default_factory=dict)
    sha256: str = ""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("classes", self.classes, 100_000),
            ("channels", self.channels, 1_024),
            ("height", self.size[0], LARGEST_SIDE),
            ("width", self.size[1], LARGEST_SIDE),
        ):
            if not 1 <= value <= most:
                raise ValueError(f"{self.name}: {name} is {value}; allowed are 1 to {most}")

    def option(self, name: str, default: int, most: int) -> int:
        """The option `name`, or its default; ValueError outside 1..`most`."""
        value = self.options.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{self.name}: {name} is {value!r}; give a whole number from 1 to {most}")
        if not 1 <= value <= most:
            raise ValueError(f"{self.name}: {name} is {value}; allowed are 1 to {most}")
        return value
