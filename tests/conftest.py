"""What most tests of the library stand on: few and small digits, a trained teacher, a new student."""

from __future__ import annotations

import functools
import gc
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest
import torch

from compress.checkpoint import Checkpoint, save
from compress.data import DataOptions, Dataset, load
from compress.named import Named
from compress.opening import new_network
from compress.phase import OPTIMIZERS, Fit, Phase
from compress.schedule import Schedule
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run

MakeFit = Callable[..., Fit]

BROWSER = ("browser", "chromium")
NODE = "node"
SET_BY_OTHERS = ("PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR")  # by pytest, by torch when it imports its compiler
THREADS_END_S = 10.0  # for a thread that was told to end

torch.set_num_threads(1)  # the networks are tiny, and threads that wait for each other make them slower


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test marked `extra(NAME)` or `extra(NAME, MODULE, ...)` is skipped where a module of that extra is missing.

    One marked `extra("browser")` is skipped where that program is, one marked `extra("node")` where Node.js or its
    package onnxruntime-node is.
    """
    for item in items:
        for mark in item.iter_markers("extra"):
            extra, *modules = mark.args
            if extra == BROWSER[0]:
                if which(BROWSER[1]) is None:
                    item.add_marker(pytest.mark.skip(reason=f"{BROWSER[1]} missing: apt-get install {BROWSER[1]}"))
                continue
            if extra == NODE:
                if not _has_node():
                    reason = "onnxruntime-node missing: npm install onnxruntime-node, and NODE_PATH to its node_modules"
                    item.add_marker(pytest.mark.skip(reason=reason))
                continue
            missing = [module for module in modules or [extra] if find_spec(module) is None]
            if missing:
                reason = f"{' and '.join(missing)} missing: pip install 'edgepress[{extra}]'"
                item.add_marker(pytest.mark.skip(reason=reason))


@functools.cache
def _has_node() -> bool:
    """Whether Node.js is there and finds what runs .onnx files."""
    if which(NODE) is None:
        return False
    asked = subprocess.run([NODE, "-e", "require.resolve('onnxruntime-node')"], capture_output=True, check=False)
    return asked.returncode == 0


@pytest.fixture(autouse=True)
def _nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test leaves the process as it found it, and no hook on a network that a fixture gave it."""
    before = _process_state()
    yield
    deadline = time.monotonic() + THREADS_END_S
    while (after := _process_state()) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert after == before
    given = [value.network if isinstance(value, Checkpoint) else value for value in request.node.funcargs.values()]
    assert not any(hooks_on(network) for network in given if isinstance(network, Staged))


def _process_state() -> dict[str, object]:
    return {
        "environment": {name: value for name, value in os.environ.items() if name not in SET_BY_OTHERS},
        "folder": Path.cwd(),
        "threads": sorted(thread.name for thread in threading.enumerate() if thread.name != "tqdm_monitor"),
        "torch": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
        ),
    }


@pytest.fixture(scope="session", autouse=True)
def _imports_are_not_garbage() -> None:
    """Every phase ends with a collection of garbage, which is quick once it passes over all that was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_data_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test notes a folder, or keeps images, where the user's own are; nor finds data there that others lack."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_DATA", str(tmp_path_factory.mktemp("data")))
        yield


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
        return Fit(epochs, OPTIMIZERS["adam"](rate), Schedule(schedule, epochs), keep, batch_size)  # type: ignore[arg-type]

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

    return hooks_on


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


def hooks_on(network: Staged) -> int:
    """The number of hooks on all modules of a network."""
    return sum(
        len(hooks)
        for module in network.model.modules()
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )
