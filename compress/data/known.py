"""Where the data sets known by name come from: the package, an image folder, torchvision's files or its download."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.data.found import Parts, Pixels
from compress.data.prepare import Defaults
from compress.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = Path(__file__).parent
DAMAGE = (OSError, RuntimeError, ValueError, TypeError, AssertionError, LookupError, EOFError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Source:
    """A data set known by name.

    Attributes:
        about: One line on what it shows.
        licence: Its terms.
        classes: How many.
        train: Images.
        test: Images.
        defaults: Its preprocessing.
        files: All the files that `read` needs, below the root.
        read: From the root to its parts.
        download: Puts the files below the root; None where they come with the package.
    """

    about: str
    licence: str
    classes: int
    train: int
    test: int
    defaults: Defaults
    files: tuple[str, ...]
    read: Callable[[Path], Parts]
    download: Callable[[Path], None] | None

    @property
    def root(self) -> Path:
        """The folder that `files` are below."""
        return data_root() if self.download else PACKAGE

    @property
    def home(self) -> Path:
        """The place below the root that holds all of the files, to name in messages."""
        return self.root / os.path.commonpath(self.files)


@dataclass(frozen=True)
class DataStatus:
    """A known data set on this machine.

    Attributes:
        name: To load it by.
        about: What it shows.
        looked: The places where it may lie, in order.
        path: Where it lies; None if it would have to be downloaded.
        classes: How many.
        train: Images in the published training part.
        test: Images in the published test part.
        licence: Its terms.
    """

    name: str
    about: str
    looked: tuple[Path, ...]
    path: Path | None
    classes: int
    train: int
    test: int
    licence: str


def data_root() -> Path:
    """The folder of downloaded data: $EDGEPRESS_DATA, else ~/.cache/edgepress/data."""
    return Path(os.environ.get("EDGEPRESS_DATA") or "~/.cache/edgepress/data").expanduser()


def status() -> list[DataStatus]:
    """Every known data set, what it is and where it lies on this machine; nothing is read or downloaded."""
    return [
        DataStatus(
            name=name,
            about=source.about,
            looked=places(name, source),
            path=locate(name, source),
            classes=source.classes,
            train=source.train,
            test=source.test,
            licence=source.licence,
        )
        for name, source in DATASETS.items()
    ]


def places(name: str, source: Source) -> tuple[Path, ...]:
    """Where the data set may lie, in the order in which it is looked for."""
    return (source.root / name, source.home) if source.download else (source.home,)


def locate(name: str, source: Source) -> Path | None:
    """The first of the places that holds the data set: an image folder of its name, else all of its files."""
    folder, home = places(name, source)[0], source.home
    if source.download and folder.is_dir():
        return folder
    return home if all((source.root / file).is_file() for file in source.files) else None


def read_source(name: str, source: Source) -> Parts:
    """The parts of a known data set, downloaded first where they are not on this machine.

    Raises:
        DataError: They are neither here nor to be had, or what is here is damaged.
    """
    place = locate(name, source)
    if place is not None and place != source.home:
        from compress.data.folder import scan

        return scan(place)
    if place is None and source.download:
        _download(name, source, source.download)
    try:
        return source.read(source.root)
    except DAMAGE as error:
        raise DataError(f"{source.home}: is damaged or not whole ({error}); remove it and get it again") from error


def _download(name: str, source: Source, download: Callable[[Path], None]) -> None:
    try:
        download(source.root)
    except (*DAMAGE, HTTPException) as error:
        folder, home = places(name, source)
        raise DataError(
            f"data set {name!r} is not on this machine and its download into {source.root} failed "
            f"({' '.join(str(error).split())}). Looked for an image folder {folder} (train/<class>/*, test/<class>/*) "
            f"and for torchvision's files {home}. Put one of the two there, or name the folder that holds it in "
            "EDGEPRESS_DATA, or run this again with a network"
        ) from error


def read_digits(root: Path) -> Parts:
    """The handwritten digits that ship with the package, (N, 1, 8, 8), their 0..16 scaled to 0..255."""
    import numpy as np
    import torch

    with np.load(root / "digits.npz", allow_pickle=False) as arrays:
        images = np.rint(arrays["images"] * (255 / 16)).astype(np.uint8)[:, None]
        labels, test = arrays["labels"].astype(np.int64), arrays["test"]
    train_part, test_part = (
        Pixels(torch.from_numpy(images[mask]), torch.from_numpy(labels[mask])) for mask in (~test, test)
    )
    return Parts(tuple(str(digit) for digit in range(10)), train_part, None, test_part)


def read_fashion_mnist(root: Path) -> Parts:
    """Fashion-MNIST from torchvision's files, (N, 1, 28, 28)."""
    from torchvision.datasets import FashionMNIST

    train, test = (FashionMNIST(root, train=train) for train in (True, False))
    return Parts(
        tuple(train.classes),
        _pixels(train.data[:, None], train.targets),
        None,
        _pixels(test.data[:, None], test.targets),
    )


def download_fashion_mnist(root: Path) -> None:
    """Put Fashion-MNIST's files below `root`."""
    from torchvision.datasets import FashionMNIST

    FashionMNIST(root, download=True)


def read_cifar10(root: Path) -> Parts:
    """CIFAR-10 from torchvision's files, (N, 3, 32, 32).

    They are pickles; torchvision opens only those whose MD5 sums are the published ones.
    """
    from torchvision.datasets import CIFAR10

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")  # their age, to NumPy 2.4
        train, test = (CIFAR10(root, train=train) for train in (True, False))
    return Parts(tuple(train.classes), _channels_first(train), None, _channels_first(test))


def download_cifar10(root: Path) -> None:
    """Put CIFAR-10's files below `root`."""
    from torchvision.datasets import CIFAR10

    CIFAR10(root, download=True)


def _channels_first(dataset: Any) -> Pixels:
    import torch

    return _pixels(torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(dataset.targets))


def _pixels(images: Tensor, labels: Tensor) -> Pixels:
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    return Pixels(images, labels.long())


FOLDER = Defaults(
    size=(64, 64), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), augment=("flip", "crop")
)

DATASETS = {
    "digits": Source(
        about="handwritten digits, 8x8 grey, with the package",
        licence="CC BY 4.0 (E. Alpaydin, C. Kaynak, UCI)",
        classes=10,
        train=1347,
        test=450,
        defaults=Defaults(size=(32, 32), channels=1, mean=(0.3057,), std=(0.3762,), augment=("crop",)),
        files=("digits.npz",),
        read=read_digits,
        download=None,
    ),
    "fashion-mnist": Source(
        about="clothes, 28x28 grey",
        licence="MIT (Zalando SE)",
        classes=10,
        train=60000,
        test=10000,
        defaults=Defaults(size=(32, 32), channels=1, mean=(0.286,), std=(0.353,), augment=(), border=2),
        files=(
            "FashionMNIST/raw/train-images-idx3-ubyte",
            "FashionMNIST/raw/train-labels-idx1-ubyte",
            "FashionMNIST/raw/t10k-images-idx3-ubyte",
            "FashionMNIST/raw/t10k-labels-idx1-ubyte",
        ),
        read=read_fashion_mnist,
        download=download_fashion_mnist,
    ),
    "cifar10": Source(
        about="animals and vehicles, 32x32 RGB",
        licence="none stated (A. Krizhevsky, 2009)",
        classes=10,
        train=50000,
        test=10000,
        defaults=Defaults(
            size=(32, 32),
            channels=3,
            mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
            std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
            augment=("flip", "crop"),
        ),
        files=tuple(
            f"cifar-10-batches-py/{file}"
            for file in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
        ),
        read=read_cifar10,
        download=download_cifar10,
    ),
}
