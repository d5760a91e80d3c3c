"""A file of an edge format taken as a network, so that whatever evaluates networks evaluates files."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from compress.data import DataOptions, Dataset
from compress.data import load as load_data
from compress.errors import DataError
from compress.opening import data_for
from compress.preprocessing import Scale, unscaled
from compress.soundness import check_outputs
from compress.stages import Stage, Staged
from compress.tasks import TASKS, Task
from exports.artefact import Artefact, image_shape, scale_of, task_name


class FileNetwork(nn.Module):
    """The file as a module: (B, C, H, W) images to (B, ...) outputs, as many at a time as the file takes.

    Args:
        artefact: What runs.
    """

    def __init__(self, artefact: Artefact) -> None:
        super().__init__()
        self.artefact = artefact

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) images of the type of the file's `input` to (B, ...) outputs."""
        parts = torch.split(image, self.artefact.batch or len(image))
        return check_outputs(torch.cat([self._answer(part) for part in parts]), str(self.artefact.path))

    def _answer(self, part: Tensor) -> Tensor:
        """Of what may be fewer images than the file takes, which the last of them then fills up."""
        missing = (self.artefact.batch or len(part)) - len(part)
        filled = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
        return self.artefact(filled)[: len(part)]


def task_of(artefact: Artefact, data: Dataset | None = None) -> Task:
    """What the file was trained for; one that says nothing is taken for what the data ask, or for a classifier.

    Args:
        artefact: The file.
        data: What it is to be asked about, if anything yet.
    """
    return TASKS[task_name(artefact, masks=data is not None and data.masks)]


def as_network(artefact: Artefact, scale: Scale) -> Staged:
    """A network whose only stage is the file's answer, and which wants its pixels as the file does.

    Args:
        artefact: The file; one that says nothing of itself answers with logits.
        scale: Taken where the file says nothing of its own, and does not take pixels as they are.
    """
    answer = Stage(task_of(artefact).output, "", (), 0)
    return Staged(FileNetwork(artefact), (answer,), scale=scale_of(artefact, scale) or unscaled)


def images_for(artefact: Artefact, data: str, options: DataOptions) -> Dataset:
    """The data set as the file sees it; where the file says nothing, as its input's shape and the options do.

    Raises:
        DataError: The data set cannot be had, or does not fit the file.
    """
    if artefact.card is not None:
        return data_for(artefact.card, data, options)
    channels, height, width = image_shape(artefact)
    size = options.size if height is None or width is None else (height, width)
    if options.size not in (None, size):
        raise DataError(f"{artefact.path}: takes images of {height}x{width}; leave --size out")
    if artefact.input == "uint8" and (options.mean, options.std) != (None, None):
        raise DataError(f"{artefact.path}: takes uint8 pixels, which nothing scales; leave --mean and --std out")
    return load_data(data, replace(options, size=size, channels=channels or options.channels))
