"""Networks as a user may write them, which the tests of own networks name."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Two blocks and a head that is called by keyword."""

    def __init__(self, classes: int, channels: int, width: int = 4, drop: float = 0.0, norm: bool = True) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width) if norm else nn.Identity(), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU())
        self.drop = nn.Dropout(drop)
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.second(self.first(image))
        return self.fc(input=self.drop(maps.mean((2, 3))))


def build(classes: int, channels: int, width: int = 4, drop: float = 0.0, norm: bool = True) -> Net:
    return Net(classes, channels, width, drop, norm)


class Down(nn.Module):
    """Half the resolution, from (B, H, W, C) to (B, C, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 8, 2, 2)

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv(maps.permute(0, 3, 1, 2))


class Last(nn.Module):
    """Maps whose channels come last, and a path that depends on their values, which no symbolic trace follows."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 2, 2)
        self.mix = nn.Linear(4, 6)
        self.down = Down()
        self.head = nn.Linear(8, classes)
        self.unused = nn.Linear(2, 2)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.mix(self.stem(image).permute(0, 2, 3, 1))
        if maps.sum() > 1e9:
            maps = -maps
        return self.head(self.down(maps).amax((2, 3)))


class Shared(nn.Module):
    """A convolution that is used twice."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3, 2, 1)
        self.twice = nn.Conv2d(4, 4, 3, 1, 1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4, classes)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.twice(torch.relu(self.twice(self.stem(image))))
        return self.head(self.pool(maps).mean((2, 3)))


class Spare(nn.Module):
    """A convolution that is never called."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem, self.spare = nn.Conv2d(channels, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(torch.relu(self.stem(image)).mean((2, 3)))


class TwoHeads(nn.Module):
    """The mean of what two layers say."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3, 2, 1), nn.ReLU())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.one, self.other = nn.Linear(4, classes), nn.Linear(4, classes)

    def forward(self, image: Tensor) -> Tensor:
        embedding = self.pool(self.body(image))
        return (self.one(embedding) + self.other(embedding)) / 2


class Masks(nn.Module):
    """A class for each pixel."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, 4, 3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.head = nn.Conv2d(4, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.up(self.down(image)).relu())


class Answers(nn.Module):
    """What no network may answer."""

    def __init__(self, classes: int, kind: str) -> None:
        super().__init__()
        self.fc, self.kind = nn.Linear(24 * 24, classes), kind

    def forward(self, image: Tensor) -> object:
        logits = self.fc(image.flatten(1))
        return {"mapping": {"out": logits}, "pair": (logits, image), "flat": logits.flatten()}[self.kind]


class TwiceRegistered(nn.Module):
    """One layer under two names."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.one = nn.Linear(classes, classes)
        self.other = self.one


def fails(classes: int) -> nn.Module:
    raise RuntimeError(f"no network for {classes}")


def gives_a_dict(classes: int) -> dict[str, nn.Module]:
    return {"model": nn.Linear(2, classes)}


def empty() -> nn.Module:
    return nn.Flatten()


def fixed(outputs: int = 7) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, outputs))


def sized(size: tuple[int, int], classes: int, *, depth: int) -> nn.Module:
    layers = [nn.Linear(classes, classes) for _ in range(depth)]
    return nn.Sequential(nn.Flatten(), nn.Linear(size[0] * size[1], classes), *layers)


whole = nn.Linear(2, 2)
