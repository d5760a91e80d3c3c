"""One file that takes part in a benchmark, opened in the runtime that all contenders share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.data import DataOptions
from compress.errors import DataError, ExportError, UnfitDataError
from compress.named import Named
from compress.preprocessing import Scale
from exports import FORMATS, Artefact, format_of
from exports.artefact import image_shape, scale_of, task_name
from exports.folder import content_of, sha256
from exports.label import commands

if TYPE_CHECKING:
    from compress.data import Dataset

CHECKPOINT = ".safetensors"
AS_GIVEN, EXPORTED_HERE = "as given", "exported to ONNX for this benchmark"
AS_THE_DATA_SAY = DataOptions()


@dataclass(frozen=True)
class Contender:
    """A file, ready to run.

    Attributes:
        given: Its path as the user wrote it.
        exported: What runs; another file than `given` if that is a checkpoint.
        made: How `exported` came to be.
        pixels: (1, C, H, W) uint8, what its latency is measured on.
        scale: From pixels to what it takes; None where it takes pixels as they are.
        classes: How many outputs it gives, for an image or for each pixel: one a class, but where they are features.
        data: What its quality is measured on, in the size and channels that it wants; or None.
        foreign: It says nothing of how it sees an image; the options had to.
    """

    given: Path
    exported: Artefact
    made: str
    pixels: NDArray[np.uint8]
    scale: Scale | None
    classes: int
    data: Dataset | None = None
    foreign: bool = False

    @property
    def image(self) -> NDArray[Any]:
        """(1, C, H, W), of the type that it takes."""
        return _scaled(self.pixels, self.scale)

    def images(self, count: int) -> NDArray[Any]:
        """(count, C, H, W), so many times the same image, of the type that it takes."""
        return np.repeat(self.image, count, axis=0)

    @property
    def task(self) -> str:
        """What it was trained for; a file without a card is taken for what the data ask, or for a classifier."""
        return task_name(self.exported, masks=self.data is not None and self.data.masks)

    @property
    def lineage(self) -> list[str]:
        """The commands that led to it, the first first; none where it does not say."""
        card = self.exported.card
        return commands(card.lineage) if card is not None else []

    def open(self, threads: int) -> Artefact:
        """What runs, opened anew: another session of the same file."""
        return format_of(self.exported.path).read(self.exported.path, threads=threads)

    @property
    def doubts(self) -> list[str]:
        """Sentences about what makes its quality doubtful; none without data."""
        card, data = self.exported.card, self.data
        if data is None:
            return []
        if card is None and self.exported.input == "uint8":
            return [f"{self.given}: does not say how it sees an image; pixels of 0 to 255 were given as they are"]
        if card is None:
            used = f"mean {data.see.mean} and std {data.see.std}"
            return [f"{self.given}: does not say how its input is normalised; {used} were used"]
        return []


def named(file: Named | Path | str) -> Named:
    """The file as it was named, with the network of a plain state dict where one was."""
    return file if isinstance(file, Named) else Named(str(file))


def check_there(given: Named) -> Named:
    """`given`, once it is sure that there is such a file, and that no network was named for one that brings its own.

    Raises:
        DataError: It is missing or a folder, or is an exported file and a network was named.
    """
    known, path = _known(), Path(given.name)
    form = FORMATS.get(path.suffix)
    if path.is_dir() and not (form and form.folder):
        raise DataError(f"{path} is a folder; give a file ({known})")
    if not path.exists():
        raise DataError(f"{path} does not exist; give a file ({known})")
    if path.suffix in FORMATS and (given.arch or given.options or given.told):
        raise DataError(f"{path}: is an exported file, which brings its network; name none for it")
    return given


def check_file(given: Named) -> Named:
    """`given`, once it is sure that it is a file of a kind that can be benchmarked.

    Raises:
        DataError: See `check_there`.
        ExportError: It has another suffix than a checkpoint or an edge format and no network whose plain state dict it
            is.
    """
    path = Path(check_there(given).name)
    if path.suffix not in (CHECKPOINT, *FORMATS) and not given.arch:
        raise ExportError(
            f"{path}: {path.suffix or 'a name without a suffix'} cannot be benchmarked; known are {_known()}, and "
            "plain state dicts whose network is named (--arch, --against-arch)"
        )
    return given


def _known() -> str:
    return ", ".join((CHECKPOINT, *(suffix for suffix, form in FORMATS.items() if not form.unverified)))


def digest_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes, or of a folder's as its format counts them.

    Raises:
        ExportError: A folder is none of a format.
    """
    return sha256(content_of(path, "a network")) if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def open_contender(
    given: Named, folder: Path, *, data: str | None = None, options: DataOptions = AS_THE_DATA_SAY, threads: int = 1
) -> Contender:
    """The contender in a file; a checkpoint is exported into `folder` first. Only that, and data, take torch.

    Args:
        given: A checkpoint, an exported file or a plain state dict.
        folder: For the files that are made on the way.
        data: Name or path of the data set that its quality will be measured on.
        options: How a file that says nothing of it sees its images.
        threads: CPU threads of the runtime.

    Raises:
        DataError, PlanError: The file cannot be benchmarked, or the data do not fit it.
        CheckpointError, ExportError, GateError: The file is damaged, or cannot be exported.
    """
    path, dataset = Path(check_file(given).name), None
    if path.suffix not in FORMATS:
        from benchmarks.asked import exported_here

        exported, dataset = exported_here(given, folder, data, options if given.arch else AS_THE_DATA_SAY, threads)
        made, foreign = EXPORTED_HERE, bool(given.arch)
    else:
        exported, made = format_of(path).read(path, threads=threads), AS_GIVEN
        foreign = exported.card is None
    if data is not None and dataset is None:
        from exports.answers import images_for

        dataset = images_for(exported, data, options if foreign else AS_THE_DATA_SAY)
    pixels, scale = _pixels(exported, dataset), scale_of(exported, dataset.scale if dataset else Scale())
    classes = _classes(exported, np.repeat(_scaled(pixels, scale), exported.batch or 1, axis=0))
    contender = Contender(path, exported, made, pixels, scale, classes, dataset, foreign)
    if dataset is not None:
        from benchmarks.asked import check_data

        check_data(contender, dataset)
    return contender


def _pixels(exported: Artefact, dataset: Dataset | None) -> NDArray[np.uint8]:
    """(1, C, H, W): the first image of the test split, or noise."""
    if dataset is not None:
        first: NDArray[np.uint8] = next(dataset.test.batches(1)).image.numpy()
        return first
    return np.random.default_rng(0).integers(0, 256, (1, *_sides(exported)), dtype=np.uint8)


def _classes(exported: Artefact, images: NDArray[Any]) -> int:
    """How many outputs a file gives, which answers here for the first time."""
    shape: tuple[int, ...] = exported.answer(images).shape
    if len(shape) < 2:
        raise ExportError(f"{exported.path}: answers with shape {shape}; edgepress needs (images, outputs, ...)")
    return shape[1]


def _scaled(pixels: NDArray[np.uint8], scale: Scale | None) -> NDArray[Any]:
    return pixels if scale is None else scale.array(pixels)


def _sides(exported: Artefact) -> tuple[int, ...]:
    sides = tuple(side for side in image_shape(exported) if side is not None)
    if len(sides) != 3:
        raise UnfitDataError(
            f"{exported.path}: leaves the size of its input open; pass --data to run it on real images"
        )
    return sides
