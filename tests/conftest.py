"""What most tests of the library stand on: few and small digits, a trained teacher, a new student."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.checkpoint import Checkpoint, save
from compress.data import DataOptions, Dataset, load
from compress.opening import Named, new_network
from compress.phase import OPTIMIZERS, SCHEDULES, Fit, Phase
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run

MakeFit = Callable[..., Fit]


torch.set_num_threads(1)  # the networks are tiny, and two workers of pytest share two cores


@pytest.fixture(scope="session", autouse=True)
def _imports_are_not_garbage() -> None:
    """Every phase ends with a collection of garbage, which is quick once it passes over all that was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """130 training images of 24 x 24 that never change, and no validation split."""
    return load("digits", DataOptions(size=(24, 24), fraction=0.1, augment=()))


@pytest.fixture(scope="session")
def varied_digits() -> Dataset:
    """About 130 training images of 24 x 24, cropped anew in every epoch, and a validation split."""
    return load("digits", DataOptions(size=(24, 24), fraction=0.12, val_fraction=0.2, augment=("crop",)))


@pytest.fixture(scope="session")
def make_fit() -> MakeFit:
    """Epochs to a short fit with Adam; `rate`, `schedule` (a name), `keep` and `batch_size` may be given."""

    def fit(
        epochs: int, *, rate: float = 3e-3, schedule: str = "constant", keep: str = "last", batch_size: int = 32
    ) -> Fit:
        return Fit(epochs, OPTIMIZERS["adam"](rate), SCHEDULES[schedule](epochs), keep, batch_size)  # type: ignore[arg-type]

    return fit


@pytest.fixture(scope="session")
def teacher(digits: Dataset, make_fit: MakeFit) -> Checkpoint:
    """A cnn-a, half as wide as the paper's, that has learnt something; only to be read."""
    made = new_network(Named("cnn-a", options={"width": 8}), digits, seed=11)
    phases = [Phase("task", CLASSIFICATION.terms, make_fit(6))]
    for _ in run(phases, made.network, digits, Run(CLASSIFICATION)):
        pass
    return made.with_step({"command": "edgepress train cnn-a --data digits", "seed": 11})


@pytest.fixture(scope="session")
def teacher_path(teacher: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of `teacher`."""
    return save(teacher, tmp_path_factory.mktemp("teacher") / "teacher.safetensors")


@pytest.fixture
def student(digits: Dataset) -> Checkpoint:
    """A new cnn-s of width 4, to be trained at will."""
    return new_network(Named("cnn-s", options={"width": 4}), digits, seed=3)


@pytest.fixture(scope="session")
def count_hooks() -> Callable[[Staged], int]:
    """A network to the number of hooks on all of its modules."""

    def count(network: Staged) -> int:
        return sum(_hooks(module) for module in network.model.modules())

    return count


@pytest.fixture(scope="session")
def count_passes() -> Callable[[Staged], AbstractContextManager[list[int]]]:
    """A network to a `with` that gives a list: the images of each pass begun through it or a copy made of it inside."""

    @contextmanager
    def count(network: Staged) -> Iterator[list[int]]:
        passes: list[int] = []
        handle = network.model.register_forward_pre_hook(lambda _module, args: passes.append(len(args[0])))
        try:
            yield passes
        finally:
            handle.remove()

    return count


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="session")
def make_bomb() -> Callable[[Path], object]:
    """A path to an object that, once pickled, makes a folder there when it is opened without care."""
    return _Bomb


@pytest.fixture(scope="session")
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """A number of bytes to a `with` in which no file can grow beyond them."""

    @contextmanager
    def limit(size_bytes: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


def _hooks(module: nn.Module) -> int:
    return sum(
        len(hooks)
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )
