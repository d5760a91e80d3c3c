"""What reading and augmenting images adds to an epoch of distillation: `python -m benchmarks.speed.distillation`.

The engine trains cnn-s from cnn-a by PKT on the embedding, with flip and crop, and then does as many steps on one batch
that lies ready in memory; the two take turns, epoch by epoch, in one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks import script
from benchmarks.measure.rounds import Samples, ratio
from benchmarks.pages import terminal
from compress import evidence
from compress.data import Batch, DataOptions, Dataset, load
from compress.errors import DataError
from compress.files import check_target
from compress.models import Architecture, build
from compress.phase import OPTIMIZERS, Fit, Lesson
from compress.recipes import read_method
from compress.tasks import CLASSIFICATION
from compress.training.engine import EpochReport, Reports, Run, run

SCHEMA = "edgepress-speed-distillation/1"
STUDENT, TEACHER = "cnn-s", "cnn-a"
BATCH_SIZE = 128
AUGMENT = ("flip", "crop")
GOAL = 1.25


@dataclass(frozen=True)
class FixedSplit:
    """A split that gives the same images over and over, in as many batches as the split it stands for.

    Attributes:
        batch: What it gives.
        images: How many images an epoch counts.
        fixed: False, so that the teacher is asked anew for every batch, as with augmentation.
    """

    batch: Batch
    images: int
    fixed: bool = False

    @property
    def targets(self) -> Tensor:
        """(N,) int64, those of the batch, repeated."""
        return self.batch.target.repeat(-(-self.images // len(self.batch.target)))[: self.images]

    def __len__(self) -> int:
        return self.images

    def batches(
        self,
        batch_size: int,
        *,
        order: int | None = None,  # noqa: ARG002
        view: int | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        shard: tuple[int, int] = (0, 1),  # noqa: ARG002
        even: bool = True,  # noqa: ARG002
    ) -> Iterator[Batch]:
        """The same batch, as often as it takes; the last one may be smaller, one of one image is dropped."""
        whole, rest = divmod(self.images, batch_size)
        for _ in range(whole):
            yield self.batch
        if rest > 1:
            yield Batch(*(part[:rest] for part in self.batch))


def compare(data: str, *, fraction: float = 1.0, rounds: int = 5) -> dict[str, Any]:
    """The measurement as JSON-able data.

    Keys: `schema`, `machine`, `threads` (of torch), `data`, `student`, `teacher`, `batch_size`, `augment`, `rounds`,
    `images` (an epoch), `augmented_images_per_s` and `fixed_images_per_s` (medians), `ratio` (of the median times of an
    epoch: value, low, high), `goal` and `met`.

    Args:
        data: Name or path of a data set.
        fraction: Share of its training images to use.
        rounds: Epochs of each that are timed, after one that is not.

    Raises:
        DataError: The data set is missing, or holds less than a batch.
    """
    where = evidence.describe()
    real = load(data, DataOptions(augment=AUGMENT, fraction=fraction))
    if len(real.train) < BATCH_SIZE:
        raise DataError(f"{data}: {len(real.train)} training images; at least one batch of {BATCH_SIZE} is needed")
    batch = next(real.train.batches(BATCH_SIZE, order=0, view=0))
    fixed = replace(real, train=FixedSplit(batch, len(real.train)), val=None)
    speeds = _speeds({"augmented": replace(real, val=None), "fixed": fixed}, rounds)
    seconds = {name: Samples(len(real.train) / speed) for name, speed in speeds.items()}
    times = ratio(seconds["augmented"], seconds["fixed"])
    return {
        "schema": SCHEMA,
        "machine": where,
        "threads": torch.get_num_threads(),
        "data": real.name,
        "student": STUDENT,
        "teacher": TEACHER,
        "batch_size": BATCH_SIZE,
        "augment": list(AUGMENT),
        "rounds": rounds,
        "images": len(real.train),
        **{f"{name}_images_per_s": float(np.median(speed)) for name, speed in speeds.items()},
        "ratio": asdict(times),
        "goal": GOAL,
        "met": times.value <= GOAL,
    }


def main(
    data: Annotated[str, typer.Option(help="A data set by name, or a folder.")] = "fashion-mnist",
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    fraction: Annotated[float, typer.Option(help="Share of the training images.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=2, help="Timed epochs of each, in turn.")] = 5,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Time epochs of distillation against the same steps on one batch in memory."""
    if json is not None:
        check_target(json, force=force)
    result = compare(data, fraction=fraction, rounds=rounds)
    times = result["ratio"]
    typer.echo(
        f"{result['data']}: {result['augmented_images_per_s']:,.0f} images/s, on one batch in memory "
        f"{result['fixed_images_per_s']:,.0f}; an epoch takes {times['value']:.3f}x the time [{times['low']:.3f}, "
        f"{times['high']:.3f}]; goal at most {GOAL}x: {'met' if result['met'] else 'missed'}"
    )
    if json is not None:
        terminal.save(result, json, force=force)


def _speeds(data: dict[str, Dataset], rounds: int) -> dict[str, np.ndarray]:
    """Images a second of each timed epoch, (rounds, 1), by name; the order of the two alternates."""
    training = {name: _train(one, rounds + 1) for name, one in data.items()}
    speeds: dict[str, list[float]] = {name: [] for name in data}
    for turn in range(rounds + 1):
        for name in list(data)[:: -1 if turn % 2 else 1]:
            speeds[name].append(_epoch(training[name]).images_per_s)
    for generator in training.values():
        generator.close()
    return {name: np.asarray(values[1:])[:, None] for name, values in speeds.items()}


def _epoch(training: Reports) -> EpochReport:
    return next(report for report in training if isinstance(report, EpochReport))


def _train(data: Dataset, epochs: int) -> Reports:
    shape = (len(data.classes), data.see.channels, data.see.size)
    student, teacher = (build(Architecture(name, *shape)) for name in (STUDENT, TEACHER))
    fit = Fit(epochs, OPTIMIZERS["adam"](1e-3), (1.0,) * epochs, batch_size=BATCH_SIZE)
    lesson = Lesson(student, teacher, CLASSIFICATION, len(data.train), len(data.classes), seed=0)
    phases = read_method("pkt").phases(lesson, fit)
    return run(phases, student, data, Run(CLASSIFICATION), teacher=teacher)


if __name__ == "__main__":
    script.run(main)
