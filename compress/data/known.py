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

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
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
        files: All the files that `read` needs, below the root; none where the data set is a folder alone.
        read: From the root to its parts; None where the folder is scanned.
        download: Puts the files below the root; None where they cannot be downloaded.
        folders: Names that its folder may have besides its own.
        packaged: Whether the files come with the package.
        get: Where it is to be had.
    """

    about: str
    licence: str
    classes: int
    train: int
    test: int
    defaults: Defaults
    files: tuple[str, ...] = ()
    read: Callable[[Path], Parts] | None = None
    download: Callable[[Path], None] | None = None
    folders: tuple[str, ...] = ()
    packaged: bool = False
    get: str = ""

    @property
    def root(self) -> Path:
        """The folder that `files` are below."""
        return PACKAGE if self.packaged else data_root()

    @property
    def home(self) -> Path | None:
        """The place below the root that holds all of the files, to name in messages."""
        return self.root / os.path.commonpath(self.files) if self.files else None


@dataclass(frozen=True)
class DataStatus:
    """A known data set on this machine.

    Attributes:
        name: To load it by.
        about: What it shows.
        looked: The places where it may lie, in order.
        path: Where it lies; None if it is not on this machine.
        classes: How many.
        train: Images in the published training part.
        test: Images in the published test part.
        licence: Its terms.
        downloads: Whether it is downloaded when it is asked for and not there.
    """

    name: str
    about: str
    looked: tuple[Path, ...]
    path: Path | None
    classes: int
    train: int
    test: int
    licence: str
    downloads: bool


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
            downloads=source.download is not None,
        )
        for name, source in DATASETS.items()
    ]


def places(name: str, source: Source) -> tuple[Path, ...]:
    """Where the data set may lie, in the order in which it is looked for: image folders, then files."""
    folders = () if source.packaged else tuple(source.root / folder for folder in (name, *source.folders))
    return (*folders, source.home) if source.home else folders


def locate(name: str, source: Source) -> Path | None:
    """The first of the places that holds the data set: an image folder of its name, else all of its files."""
    for place in places(name, source):
        whole = place.is_dir() if place != source.home else all((source.root / file).is_file() for file in source.files)
        if whole:
            return place
    return None


def read_source(name: str, source: Source) -> Parts:
    """The parts of a known data set, downloaded first where they are not on this machine.

    Raises:
        DataError: They are neither here nor to be had, or what is here is damaged.
    """
    place = locate(name, source)
    if place is not None and place != source.home:
        from compress.data.folder import scan

        return scan(place)
    if place is None:
        _download(name, source)
    assert source.read is not None
    try:
        return source.read(source.root)
    except DAMAGE as error:
        raise DataError(f"{source.home}: is damaged or not whole ({error}); remove it and get it again") from error


def _download(name: str, source: Source) -> None:
    if source.download is None:
        looked = ", ".join(map(str, places(name, source)))
        raise DataError(
            f"data set {name!r} is not on this machine and is not downloaded. Looked for a folder {looked}. Get it "
            f"from {source.get}, put it there, or name the folder that holds it in EDGEPRESS_DATA"
        )
    try:
        source.download(source.root)
    except (*DAMAGE, HTTPException) as error:
        folder, *_, home = places(name, source)
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


FOLDER = Defaults(size=(64, 64), channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD, augment=("flip", "crop"))
OF_IMAGENET = Defaults(size=(64, 64), channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD, augment=("stagewise",))

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
        packaged=True,
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
    "imagenette": Source(
        about="10 easy classes of ImageNet, photos",
        licence="Apache-2.0 (fastai); the images are ImageNet's, for research",
        classes=10,
        train=9469,
        test=3925,
        defaults=OF_IMAGENET,
        folders=("imagenette2-160", "imagenette2-320", "imagenette2"),
        get="https://github.com/fastai/imagenette",
    ),
    "imagewoof": Source(
        about="10 breeds of dogs of ImageNet, photos",
        licence="Apache-2.0 (fastai); the images are ImageNet's, for research",
        classes=10,
        train=9025,
        test=3929,
        defaults=OF_IMAGENET,
        folders=("imagewoof2-160", "imagewoof2-320", "imagewoof2"),
        get="https://github.com/fastai/imagenette",
    ),
    "cub200": Source(
        about="200 kinds of birds, photos; cub200:30 is the first 30",
        licence="for research, not for commerce (Caltech)",
        classes=200,
        train=5994,
        test=5794,
        defaults=Defaults((48, 48), 3, IMAGENET_MEAN, IMAGENET_STD, ("flip", "crop")),
        folders=("CUB_200_2011",),
        get="https://www.vision.caltech.edu/datasets/cub_200_2011",
    ),
    "camvid": Source(
        about="streets from a car, with a mask for each photo, and a val split of 101",
        licence="CC BY-NC 4.0 (G. Brostow, J. Fauqueur, R. Cipolla)",
        classes=11,
        train=367,
        test=233,
        defaults=Defaults((96, 128), 3, IMAGENET_MEAN, IMAGENET_STD, ("flip", "crop")),
        get="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid, as images/<split>/* and masks/<split>/*",
    ),
}
