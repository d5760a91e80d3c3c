"""How a network sees an image: everything between the pixels of a photo and the numbers that go in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Size = tuple[int, int]  # height and width in pixels

LARGEST_SIDE = 4096
RESIZES = ("crop", "stretch")


@dataclass(frozen=True)
class Preprocessing:
    """The rule that a network was trained with; what it leaves open is the same for all networks.

    Pillow defines every step. An image is turned upright (`ImageOps.exif_transpose`) and converted to RGB, and from
    there to grey where `channels` is 1 (`convert`: transparency is dropped, never blended with a background; grey is
    0.299 R + 0.587 G + 0.114 B, rounded). Unless it has the size already and is to be taken whole, `border` black
    pixels are put around it and the box in its middle is resized to `size`: with `top = round((height - box height)
    / 2)`, and left alike, that is `resize((W, H), BILINEAR, (left, top, left + box width, top + box height))`, whose
    filter is antialiased and at the edge of the box sees the pixels beyond it. Each channel in [0, 1] then has `mean`
    subtracted and is divided by `std`.

    Attributes:
        size: Height and width in pixels, each 1 to 4096.
        channels: 1 (grey) or 3 (RGB, in this order); a network of other inputs may have up to 1024.
        mean: One value a channel, finite.
        std: One value a channel, finite and above 0.
        resize: "crop": the box has the shape of `size`; "stretch": it has the shape of the image.
        crop: Share of the largest such box that is taken, in height and in width, in (0, 1].
        border: Black pixels around an image of another size, 0 or more.

    Raises:
        ValueError: A value outside its range.
    """

    size: Size
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Literal["crop", "stretch"] = "crop"
    crop: float = 1.0
    border: int = 0

    def __post_init__(self) -> None:
        if not all(1 <= side <= LARGEST_SIDE for side in self.size):
            raise ValueError(f"image size {self.size[0]}x{self.size[1]}: each side must be 1 to {LARGEST_SIDE} pixels")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{name}: got {len(values)} values for {self.channels} channels; give one a channel")
            if not all(map(math.isfinite, values)):
                raise ValueError(f"{name}: got {values}; every value must be finite")
        if min(self.std) <= 0:
            raise ValueError(f"std: got {self.std}; every value must be above 0")
        if self.resize not in RESIZES:
            raise ValueError(f"resize: got {self.resize!r}; allowed are {', '.join(RESIZES)}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop: got {self.crop}; give a share above 0 and up to 1")
        if self.border < 0:
            raise ValueError(f"border: got {self.border}; give a number of pixels from 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what goes in."""
        return (self.channels, *self.size)

    def box(self, size: Size) -> Size:
        """Height and width of the box in the middle of an image of `size` that is resized, each at least 1."""
        height, width = size
        if self.resize == "crop":
            scale = min(height / self.size[0], width / self.size[1])
            height, width = round(self.size[0] * scale), round(self.size[1] * scale)
        return max(1, round(height * self.crop)), max(1, round(width * self.crop))

    def differs(self, other: Preprocessing) -> list[str]:
        """What the two make of the same photo before they scale it, one "name: own, other" each; empty if the same."""
        names = ("size", "channels", "resize", "crop", "border")
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        return [f"{name}: {own}, {its}" for name, own, its in pairs if own != its]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able data; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """The rule that `to_dict` wrote.

        Raises:
            ValueError, TypeError, KeyError: Something is missing, of another type or out of range.
        """
        height, width = map(_whole, data["size"])
        return cls(
            (height, width),
            _whole(data["channels"]),
            tuple(map(_number, data["mean"])),
            tuple(map(_number, data["std"])),
            data["resize"],
            _number(data["crop"]),
            _whole(data["border"]),
        )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is not a whole number")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is not a number")
    return float(value)


@dataclass(frozen=True)
class Scale:
    """From pixels to what goes into a network: value / 255, `mean` subtracted, divided by `std`, channel by channel.

    Attributes:
        mean: One value a channel, or one for all.
        std: Likewise, above 0.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) uint8 pixels to float32, on the same device."""
        import torch

        factor, shift = (torch.from_numpy(one).to(pixels.device) for one in self.steps)
        return pixels.float().mul_(factor).sub_(shift)

    def array(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """The same for arrays, without torch."""
        factor, shift = self.steps
        scaled: NDArray[Any] = pixels.astype(np.float32) * factor - shift
        return scaled

    @property
    def steps(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """What a pixel is multiplied by, and what is then subtracted: (C, 1, 1) or (1, 1, 1) float32 each."""
        mean, std = (np.array(one, dtype=np.float32).reshape(-1, 1, 1) for one in (self.mean, self.std))
        return 1 / (255 * std), mean / std


def unscaled(pixels: Tensor) -> Tensor:
    """(B, C, H, W) uint8 pixels as they are: in place of a `Scale`, for what scales them itself."""
    return pixels
