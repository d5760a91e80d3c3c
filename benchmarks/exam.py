"""The images that networks are examined on that were made from another one, and what is said of each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.data import Batch, Dataset, Split
from compress.errors import DataError
from compress.soundness import check_outputs
from compress.stages import Staged, evaluating, tapped
from compress.tasks import TASKS, Task, batch_size, check_task

Answers = Callable[[Tensor], Sequence[Tensor]]  # (B, C, H, W) uint8 pixels to what each of some networks says


@dataclass(frozen=True)
class Mark:
    """What became of a network's answers.

    Attributes:
        score: Of the task, in [0, 1]; None where there is none.
        error: The mean squared change of what is compared, over its variance; None likewise.
        reason: Why there is none.
    """

    score: float | None
    error: float | None
    reason: str = ""


@dataclass(frozen=True)
class Exam:
    """What is asked, and what the whole network says.

    Attributes:
        network: The whole one.
        task: Of it.
        batches: Images as they are stored, with what they show.
        split: What they are of.
        score: Of the whole network, in [0, 1].
        power: The sum of the squares of what is compared, less its mean over the images.
        answers: Its outputs, batch by batch; none where each pixel has some, which are computed anew.
    """

    network: Staged
    task: Task
    batches: Sequence[Batch]
    split: str
    score: float
    power: float
    answers: Sequence[Tensor]

    def __len__(self) -> int:
        """How many images."""
        return sum(len(batch.image) for batch in self.batches)

    @property
    def compared(self) -> str:
        """What is compared of two networks: features, which may be of other widths, by how alike they find images."""
        return "similarities of the images" if _is_of_features(self.task) else "outputs"

    @torch.no_grad()
    def marks(self, answers: Answers, count: int) -> list[Mark]:
        """What became of the answers in each of so many networks."""
        tallies, changes = [list[Tensor]() for _ in range(count)], torch.zeros(count, dtype=torch.float64)
        for at, batch in enumerate(self.batches if count else ()):
            expected = self.answers[at] if self.answers else answer(self.network, self.task.output, batch.image)
            for one, found in enumerate(answers(batch.image)):
                tallies[one].append(self.task.tally(found, batch.target))
                changes[one] += (_compared(self.task, found) - _compared(self.task, expected)).square().sum()
        return [self._mark(tally, change) for tally, change in zip(tallies, changes.tolist(), strict=True)]

    def _mark(self, tally: Sequence[Tensor], change: float) -> Mark:
        if not math.isfinite(change):
            return Mark(None, None, "an output is NaN or infinite")
        return Mark(self.task.score(torch.stack(list(tally)).sum(dim=0)), change / self.power)


def new_exam(checkpoint: Checkpoint, images: Dataset, fitted: int, count: int) -> Exam:
    """Images that no layer is fitted on and no result is reported on: of validation, or else further ones of training.

    Args:
        checkpoint: Whose task it is.
        images: As its network sees them.
        fitted: So many training images are fitted on, see `compress.smaller.looked_at`.
        count: How many are scored, or all that are left.

    Raises:
        PlanError: The data are not of the network's task.
        DataError: No image is left.
        GateError: An output is NaN or infinite.
    """
    task = TASKS[checkpoint.card.task]
    check_task(task, checkpoint.network, images)
    split, name, passed = images.train, "training", fitted
    if images.val is not None:
        split, name, passed = images.val, "validation", 0
    if passed >= len(split):
        raise DataError(
            f"data set {images.name!r} has {len(split):,} {name} images, and {passed:,} are fitted on: none is left to "
            "score; give a smaller --calibrate"
        )
    batches = list(_some(split, batch_size(task, split), passed, count))
    return _sat(checkpoint.network, task, batches, name)


@torch.no_grad()
def _sat(network: Staged, task: Task, batches: Sequence[Batch], split: str) -> Exam:
    """The exam once the whole network has sat it."""
    answers, tallies, sums, power, images = list[Tensor](), list[Tensor](), torch.zeros(()), 0.0, 0
    for batch in batches:
        found = check_outputs(answer(network, task.output, batch.image), f"stage {task.output!r} of the network")
        tallies.append(task.tally(found, batch.target))
        values = _compared(task, found)
        power += float(values.square().sum())
        sums = sums if _is_of_features(task) else sums + values.sum(dim=0)
        images += len(found)
        answers += [] if task.masks else [found]
    power = max(power - float(sums.square().sum()) / images, torch.finfo(torch.float32).tiny)
    return Exam(network, task, batches, split, task.score(torch.stack(tallies).sum(dim=0)), power, answers)


def _is_of_features(task: Task) -> bool:
    return task.agreement is None


def _compared(task: Task, outputs: Tensor) -> Tensor:
    """(B, ...) outputs as they are, or (B, B) the products of features, less the mean of the batch, in float64."""
    if not _is_of_features(task):
        return outputs.double()
    features = outputs.flatten(1).double()
    features = features - features.mean(dim=0)
    return features @ features.T


@torch.no_grad()
def answer(network: Staged, stage: str, pixels: Tensor) -> Tensor:
    """What a network gives at a stage, in eval mode, for (B, C, H, W) uint8 pixels."""
    with evaluating(network.model), tapped(network, [stage], whole=False) as taps:
        taps.read(network.model, network.scale(pixels))
        return taps[stage]


def _some(split: Split, size: int, passed: int, count: int) -> Iterator[Batch]:
    """So many images of a split, without those that are passed over, in the order in which `looked_at` takes them."""
    first, last = passed, passed + count
    for batch in split.batches(size, order=0):
        here = slice(max(first, 0), max(last, 0))
        if len(batch.image[here]):
            yield Batch(batch.image[here], batch.target[here], batch.index[here])
        first, last = first - len(batch.image), last - len(batch.image)
        if last <= 0:
            return
