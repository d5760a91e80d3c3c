"""What does not change from epoch to epoch: computed once for each view of a split, then looked up by position."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from compress.data import Batch, Split
from compress.errors import OutputError
from compress.files import scratch

MEMORY_BYTES = 10**9  # unless a run says otherwise
SPILLED = 8  # times the memory, at most, that a table may take in files
FILL_BATCH = 256
BLOCK = bytes(2**20)

View = int | None
Values = Mapping[Hashable, Tensor]


class Rows:
    """(N, ...) values of the images of a split, by position; maps lie with their channels last.

    Args:
        store: The memory, (N, ...) or of maps (N, H, W, C).
        maps: Whether they are maps.
    """

    def __init__(self, store: Tensor, *, maps: bool) -> None:
        self._store, self._maps = store, maps

    def __getitem__(self, index: Tensor) -> Tensor:
        """(B, ...) copies of the values at (B,) positions, on the device of the positions."""
        return self._shown(self._store.index_select(0, index.cpu()).to(index.device))

    def part(self, start: int, stop: int) -> Tensor:
        """A copy of the values from one position to another, exclusive."""
        return self._shown(self._store[start:stop].clone())

    def put(self, start: int, values: Tensor) -> None:
        """Keep (B, ...) values, the first at position `start`."""
        self._store[start : start + len(values)] = values.permute(0, 2, 3, 1) if self._maps else values

    def _shown(self, values: Tensor) -> Tensor:
        return values.permute(0, 3, 1, 2) if self._maps else values


class Room:
    """Where tables lie: in memory up to a limit, and beyond it in files that have no name any more.

    A file is removed as soon as it is mapped, so that it ends with its last reader, however that ends.

    Args:
        memory_bytes: The limit; 0 has no room for anything.
        output: What the files lie beside; None takes the system's folder for what is temporary.
    """

    def __init__(self, memory_bytes: int, output: Path | None = None) -> None:
        self._limit, self._output = memory_bytes, output or Path(tempfile.gettempdir()) / "edgepress"
        self._held: list[weakref.ref[Tensor]] = []

    def holds(self, size: int) -> bool:
        """Whether a table of so many bytes may be made; what else lies here does not matter."""
        return size <= self._limit * (1 + SPILLED)

    def rows(self, count: int, like: Tensor) -> Rows:
        """Room for `count` rows like those of (B, ...) values.

        Raises:
            OutputError: The disk has not enough room.
        """
        maps = like.ndim == 4
        shape = (count, *(like.permute(0, 2, 3, 1) if maps else like).shape[1:])
        size = count * like[:1].nbytes
        self._held = [reference for reference in self._held if reference() is not None]
        if size + sum(held.nbytes for reference in self._held if (held := reference()) is not None) <= self._limit:
            made = torch.empty(shape, dtype=like.dtype)
            self._held.append(weakref.ref(made))
        else:
            made = self._mapped(size).view(like.dtype).view(shape)
        return Rows(made, maps=maps)

    def _mapped(self, size: int) -> Tensor:
        try:
            with scratch(self._output) as path:
                _reserve(path, size)
                return torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8)
        except OSError as error:
            raise OutputError(
                f"{self._output.parent}: no room for {size / 1e9:.2g} GB of what need not be computed twice: "
                f"{error.strerror or error}; give a larger --cache, which is kept in memory, or --cache 0"
            ) from error


def _reserve(path: Path, size: int) -> None:
    """A file of so many bytes that are there: memory mapped to a hole ends the process where the disk is full."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        for start in range(0, size, len(BLOCK)):
            file.write(BLOCK[: size - start])


@dataclass(frozen=True)
class Source:
    """A split, as tables are made of it.

    Attributes:
        split: Its images.
        seed: Of the augmentation.
        device: Where networks compute.
        batch_size: Images at a time; equal numbers give equal bits.
        views: That of each epoch which will ask.
        room: Where the tables lie.
    """

    split: Split
    seed: int
    device: torch.device
    batch_size: int
    views: tuple[View, ...]
    room: Room

    def key(self, view: View) -> View:
        """The view itself, or None where all views are the same."""
        return None if self.split.fixed else view

    @property
    def returning(self) -> set[View]:
        """The keys of the views that are asked for more than once, which alone are worth a table."""
        asked = Counter(map(self.key, self.views)) if self.room.holds(1) else {}
        return {key for key, times in asked.items() if times > 1}

    def batches(self, view: View) -> Iterator[Batch]:
        """Every image once, as they stand."""
        for batch in self.split.batches(self.batch_size, view=view, seed=self.seed):
            image = batch.image.to(self.device, memory_format=torch.channels_last)
            yield Batch(image, batch.target.to(self.device), batch.index)


@dataclass(frozen=True)
class Before:
    """Tables to begin from: those of a part of the network that ends earlier.

    Attributes:
        tables: Let go of, view after view, as they are used.
        step: From their values for a batch to those that are wanted.
    """

    tables: Tables
    step: Callable[[Values], Values]


class Tables:
    """What a part of a network that does not learn says of a split, for each view that is asked for more than once.

    Args:
        source: The split.
        ask: From a batch to its values, each (B, ...).
        before: Where the values can be had from more cheaply, if anywhere.
    """

    def __init__(self, source: Source, ask: Callable[[Batch], Values], before: Before | None = None) -> None:
        self._source, self._ask, self._before = source, ask, before
        self._views = source.returning
        if before:
            before.tables.keep(self._views)
        self._made: dict[View, dict[Hashable, Rows]] = {}

    def of(self, view: View) -> Mapping[Hashable, Rows] | None:
        """The table of a view, which is made now unless it was made before; None where there is to be none."""
        key = self._source.key(view)
        if key in self._views and key not in self._made:
            made = self._fill(key)
            if made is None:
                self._views = set()
            else:
                self._made[key] = made
            if self._before and self._made.keys() >= self._views:
                self._before.tables.keep(set())
                self._before = None
        return self._made.get(key)

    def keep(self, views: Collection[View]) -> None:
        """Let go of all tables but those of some views, by key."""
        self._made = {key: made for key, made in self._made.items() if key in views}

    @torch.no_grad()
    def _fill(self, key: View) -> dict[Hashable, Rows] | None:
        made: dict[Hashable, Rows] = {}
        room, count = self._source.room, len(self._source.split)
        with torch.random.fork_rng():
            for start, values in self._values(key):
                size = sum(value[:1].nbytes for value in values.values()) * count * len(self._views)
                if not made and not room.holds(size):
                    return None
                made = made or {name: room.rows(count, value) for name, value in values.items()}
                for name, value in values.items():
                    made[name].put(start, value)
        return made

    def _take(self, key: View) -> dict[Hashable, Rows] | None:
        return self._made.pop(key, None)

    def _values(self, key: View) -> Iterator[tuple[int, Values]]:
        """Position of the first image and values, a batch at a time."""
        earlier = self._before.tables._take(key) if self._before else None
        if earlier is None or self._before is None:
            for batch in self._source.batches(key):
                yield int(batch.index[0]), self._ask(batch)
            return
        count, step = len(self._source.split), self._source.batch_size
        for start in range(0, count, step):
            rows = {name: rows.part(start, min(start + step, count)) for name, rows in earlier.items()}
            yield start, self._before.step({name: value.to(self._source.device) for name, value in rows.items()})
