"""Networks of anyone's: what they keep in numbers beside their layers keeps its width, and all else is cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compress.models.found import find_stages
from compress.pruning import Choice, prune, shares_left
from compress.stages import Staged


class _Attention(nn.Module):
    """What keeps the width of its heads as a number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj, self.each = nn.Linear(width, 3 * width), nn.Linear(width, width), width // 2

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, _ = tokens.shape
        q, k, v = self.qkv(tokens).reshape(count, length, 3, 2, self.each).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        merged: Tensor = self.proj(mixed.transpose(1, 2).reshape(count, length, 2 * self.each))
        return merged


class _Transformer(nn.Module):
    """Tokens of 4 x 4 pixels, and two blocks."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.mixes = nn.ModuleList(_Attention(width) for _ in range(2))
        self.first = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.second = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        for mix, first, second in zip(self.mixes, self.first, self.second, strict=True):
            tokens = tokens + mix(tokens)
            tokens = tokens + second(first(tokens).relu())
        logits: Tensor = self.head(tokens.mean(1))
        return logits


class _Sliced(nn.Module):
    """A RexNet's way of a residual between unequal widths: only the first channels have one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.narrow = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 64, 1), nn.Conv2d(64, 32, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.stem(image)
        wider = self.narrow(self.wide(maps).relu())
        joined = torch.cat([wider[:, :16] + maps, wider[:, 16:]], dim=1)
        logits: Tensor = self.head(joined.mean((2, 3)))
        return logits


class _Ghost(nn.Module):
    """A GhostNet's way of half of the maps: made of the other half, each of one; what reads both is as wide as both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.primary, self.cheap = nn.Conv2d(32, 16, 1), nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.head = nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.stem(image).relu()
        some = self.primary(maps)
        logits: Tensor = self.head((torch.cat([some, self.cheap(some)], dim=1) + maps).mean((2, 3)))
        return logits


def _halved(model: nn.Module) -> tuple[Staged, Staged]:
    """A network before and after half of its channels went."""
    torch.manual_seed(0)
    whole, _ = find_stages(model.eval(), torch.randn(2, 3, 16, 16))
    return whole, prune(whole, torch.zeros(1, 3, 16, 16), 0.5, choice=Choice(multiple=1))[0]


@pytest.mark.parametrize(
    ("model", "kept"),
    [(_Transformer, {"mixes.0.qkv", "mixes.1.qkv"}), (_Sliced, {"stem", "narrow"}), (_Ghost, set[str]())],
)
def test_what_a_network_fails_without_keeps_its_width_and_all_else_is_halved(
    model: type[nn.Module], kept: set[str]
) -> None:
    whole, small = _halved(model())
    left = {name: share.channels_left for name, share in shares_left(whole, small).layers.items()}
    assert left == {name: 1.0 if name in kept else 0.5 for name in left}
    assert small.model(torch.zeros(1, 3, 16, 16)).shape == (1, 10)


def test_each_channel_of_a_ghost_goes_with_what_is_made_of_it() -> None:
    whole, small = _halved(_Ghost())
    stem, primary = (whole.model.get_submodule(name).weight.data for name in ("stem", "primary"))
    kept = [n for n in range(32) if (small.model.get_submodule("stem").weight.data == stem[n]).flatten(1).all(1).any()]
    assert len(kept) == 16
    assert [n + 16 for n in kept[:8]] == kept[8:]
    left = small.model.get_submodule("primary").weight.data
    torch.testing.assert_close(left, primary[kept[:8]][:, kept])
