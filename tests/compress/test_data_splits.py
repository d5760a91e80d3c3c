"""Splits: order, shuffling, augmentation, shards; in memory and streamed, from real images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from compress.data import Batch, DataOptions, Split, load
from compress.data.chance import draw_augmentation
from compress.data.decode import read_listing
from compress.data.folder import scan
from compress.data.found import Listing, Pixels
from compress.data.prepare import margin
from compress.data.split import MemorySplit, StreamSplit
from compress.preprocessing import Preprocessing

SEE = Preprocessing((16, 24), 3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
BOTH = ("flip", "crop")


def write_images(folder: Path, *, counts: dict[str, int], shape: tuple[int, int] = (20, 24)) -> None:
    """Noise as `counts` PNGs a class below `folder`."""
    chance = np.random.default_rng(sum(folder.name.encode()))
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = chance.integers(0, 256, (*shape, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    root = tmp_path_factory.mktemp("images")
    for part in ("train", "test"):
        write_images(root / part, counts={"ant": 13, "bee": 10})
    train = scan(root).train
    assert isinstance(train, Listing)
    return train


def in_memory(listing: Listing, augment: tuple[str, ...] = BOTH) -> Split:
    return MemorySplit(read_listing(listing, SEE), SEE, augment)


def streamed(listing: Listing, augment: tuple[str, ...] = BOTH) -> Split:
    return StreamSplit(listing, SEE, augment, workers=0)


EVERY_SPLIT = pytest.mark.parametrize("make", [in_memory, streamed])
Make = Callable[..., Split]


def whole(
    split: Split,
    *,
    order: int | None = None,
    view: int | None = None,
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    even: bool = True,
) -> Batch:
    """A pass in one batch."""
    batches = list(split.batches(4, order=order, view=view, seed=seed, shard=shard, even=even))
    return Batch(*(torch.cat(column) for column in zip(*batches, strict=True)))


def sort(batch: Batch) -> Tensor:
    return batch.image[batch.index.argsort()]


@EVERY_SPLIT
def test_a_pass_without_epoch_gives_every_image_in_order(make: Make, listing: Listing) -> None:
    split = make(listing)
    batch = whole(split)
    assert batch.index.tolist() == list(range(23))
    assert torch.equal(batch.target, split.targets)
    assert [len(part.index) for part in split.batches(4)] == [4, 4, 4, 4, 4, 3]
    assert batch.image.dtype == torch.uint8
    assert batch.index.dtype == batch.target.dtype == torch.int64
    assert batch.image.shape == (23, 3, 16, 24)


@EVERY_SPLIT
def test_an_epoch_depends_on_its_seed_and_number_only(make: Make, listing: Listing) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = whole(make(listing), order=3, view=3, seed=5)
    torch.manual_seed(2)
    np.random.seed(2)
    again = whole(make(listing), order=3, view=3, seed=5)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for epoch, seed in ((4, 5), (3, 6)):
        other = whole(make(listing), order=epoch, view=epoch, seed=seed)
        assert first.index.tolist() != other.index.tolist()
        assert not torch.equal(sort(first), sort(other))


@EVERY_SPLIT
def test_a_pass_leaves_the_global_generators_alone(make: Make, listing: Listing) -> None:
    split = make(listing)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    whole(split, order=0, view=0)
    whole(split)
    assert torch.equal(state, torch.get_rng_state())


@EVERY_SPLIT
def test_an_epoch_shuffles_all_images_but_a_last_one_alone(make: Make, listing: Listing) -> None:
    split = make(listing)
    assert sorted(whole(split, order=0, view=0).index.tolist()) == list(range(23))
    sizes = [len(batch.index) for batch in split.batches(11, order=0, view=0)]
    assert sizes == [11, 11]
    assert [len(batch.index) for batch in split.batches(11)] == [11, 11, 1]


@EVERY_SPLIT
def test_shards_are_equal_and_disjoint_shares_of_an_epoch(make: Make, listing: Listing) -> None:
    split = make(listing)
    everything = whole(split, order=1, view=1)
    shares = [whole(split, order=1, view=1, shard=(rank, 3)) for rank in range(3)]
    assert [len(share.index) for share in shares] == [7, 7, 7]
    joined = torch.cat([share.index for share in shares])
    assert len(set(joined.tolist())) == 21
    expected = sort(everything)
    for share in shares:
        assert torch.equal(share.image, expected[share.index])


@EVERY_SPLIT
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_an_order_that_need_not_be_even_leaves_nothing_out(make: Make, listing: Listing, ranks: int) -> None:
    shares = [whole(make(listing), order=5, shard=(rank, ranks), even=False).index for rank in range(ranks)]
    together = torch.cat(shares)
    assert together.sort().values.tolist() == list(range(23))
    assert together.tolist() != list(range(23))
    assert [len(batch.index) for batch in make(listing).batches(11, order=5, even=False)] == [11, 11, 1]


@EVERY_SPLIT
def test_an_augmentation_is_that_of_its_view_whatever_the_order(make: Make, listing: Listing) -> None:
    split = make(listing)
    assert torch.equal(sort(whole(split, order=1, view=4)), whole(split, view=4).image)
    assert whole(split, order=1, view=4).index.tolist() == whole(split, order=1).index.tolist()
    assert torch.equal(sort(whole(split, order=1)), whole(split).image)


@EVERY_SPLIT
def test_shards_of_an_evaluation_leave_nothing_out(make: Make, listing: Listing) -> None:
    shares = [whole(make(listing), shard=(rank, 3)).index for rank in range(3)]
    assert torch.cat(shares).sort().values.tolist() == list(range(23))


def test_a_stream_gives_the_same_bits_as_memory(listing: Listing) -> None:
    for epoch in (None, 0, 7):
        one, other = (
            whole(in_memory(listing), order=epoch, view=epoch),
            whole(streamed(listing), order=epoch, view=epoch),
        )
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)
        assert torch.equal(one.index, other.index)


def test_workers_change_nothing_in_a_stream(listing: Listing) -> None:
    one = whole(StreamSplit(listing, SEE, BOTH, workers=1), order=2, view=2)
    other = whole(streamed(listing), order=2, view=2)
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.index, other.index)


def test_ctrl_c_while_workers_start_is_one_interrupt(listing: Listing) -> None:
    code = f"""
import os, signal
from pathlib import Path
from compress.data.folder import scan
from compress.data.split import StreamSplit
from compress.preprocessing import Preprocessing
split = StreamSplit(scan(Path({str(listing.root)!r})).train, Preprocessing((8, 8), 1, (0.0,), (1.0,)), workers=2)
interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)
os.register_at_fork(before=interrupt, after_in_child=interrupt)
try:
    list(split.batches(4))
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


@pytest.mark.parametrize("augment", [("flip",), ("crop",), BOTH])
@pytest.mark.parametrize(("channels", "size"), [(1, (32, 32)), (3, (24, 40)), (3, (5, 3))])
def test_augmentation_equals_a_loop_over_images(augment: tuple[str, ...], channels: int, size: tuple[int, int]) -> None:
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, channels, *size), dtype=torch.uint8, generator=chance)
    masks = torch.randint(0, 11, (64, *size), dtype=torch.uint8, generator=chance)
    see = Preprocessing(size, channels, mean=(0.3,) * channels, std=(0.2,) * channels)
    (batch,) = MemorySplit(Pixels(images, masks), see, augment).batches(64, order=0, view=0, seed=9)
    draws = draw_augmentation(64, margin(size), seed=9, epoch=0)
    for image, mask, index in zip(batch.image, batch.target, batch.index.tolist(), strict=True):
        expected, labels = images[index], masks[index]
        if "crop" in augment:
            down, right = draws.corner[index]
            vertical, horizontal = max(1, size[0] // 8), max(1, size[1] // 8)
            pads = (horizontal, horizontal, vertical, vertical)
            window = (..., slice(down, down + size[0]), slice(right, right + size[1]))
            expected = torch.nn.functional.pad(expected, pads)[window]
            labels = torch.nn.functional.pad(labels, pads, value=255)[window]
        if "flip" in augment and draws.flip[index]:
            expected, labels = expected.flip(-1), labels.flip(-1)
        assert torch.equal(image, expected)
        assert torch.equal(mask, labels.long())


def test_masks_come_whole_and_in_order_without_a_view() -> None:
    masks = torch.arange(3 * 24 * 40).remainder(12).to(torch.uint8).view(3, 24, 40)
    see = Preprocessing((24, 40), 1, mean=(0.0,), std=(1.0,))
    split = MemorySplit(Pixels(torch.zeros(3, 1, 24, 40, dtype=torch.uint8), masks), see, BOTH)
    batch = whole(split)
    assert split.targets.dtype == torch.uint8
    assert batch.target.dtype == torch.int64
    assert torch.equal(batch.target, masks.long())


def test_flips_and_crops_vary_within_a_batch_and_between_epochs() -> None:
    draws = draw_augmentation(2000, (3, 5), seed=0, epoch=0)
    assert 0.45 < draws.flip.mean() < 0.55
    assert {tuple(corner) for corner in draws.corner} == {(down, right) for down in range(7) for right in range(11)}
    other = draw_augmentation(2000, (3, 5), seed=0, epoch=1)
    assert (draws.corner != other.corner).any()
    assert (draws.flip != other.flip).any()


def test_a_split_is_fixed_without_augmentation_and_then_only_shuffled(listing: Listing) -> None:
    split = in_memory(listing, ())
    assert split.fixed
    assert not in_memory(listing).fixed
    assert torch.equal(sort(whole(split, order=0, view=0)), whole(split).image)


def test_augmenting_does_not_change_what_is_stored(listing: Listing) -> None:
    split = in_memory(listing)
    before = whole(split).image
    whole(split, order=0, view=0)
    assert torch.equal(before, whole(split).image)


@EVERY_SPLIT
@pytest.mark.parametrize(("batch_size", "shard"), [(0, (0, 1)), (4, (2, 2)), (4, (-1, 2)), (4, (0, 0))])
def test_wrong_arguments_are_refused_at_the_call(
    make: Make, listing: Listing, batch_size: int, shard: tuple[int, int]
) -> None:
    split = make(listing)
    with pytest.raises(ValueError, match="got"):
        split.batches(batch_size, shard=shard)


def test_pixels_above_the_memory_limit_are_fitted_by_the_batch_to_the_same_images() -> None:
    options = DataOptions(size=(24, 40), channels=3, crop=0.8)
    held, fitted = load("digits", options), load("digits", options, memory_limit_bytes=1000)
    for epoch in (None, 1):
        assert torch.equal(
            whole(held.train, order=epoch, view=epoch).image, whole(fitted.train, order=epoch, view=epoch).image
        )
