"""Data sets: by name or from an image folder, as batches of (image, target, index)."""

from __future__ import annotations

import os
from pathlib import Path

from compress.data.found import Parts
from compress.data.known import (
    DataStatus,
    Defaults,
    Source,
    data_root,
    download_cifar10,
    download_fashion_mnist,
    locate,
    places,
    read_cifar10,
    read_digits,
    read_fashion_mnist,
    read_source,
)
from compress.data.split import AUGMENTATIONS, Batch, DataOptions, Dataset, Split
from compress.errors import DataError, unknown_name
from compress.preprocessing import Preprocessing

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "FOLDER",
    "MEMORY_LIMIT_BYTES",
    "Batch",
    "DataOptions",
    "DataStatus",
    "Dataset",
    "Split",
    "data_root",
    "load",
    "status",
]

MEMORY_LIMIT_BYTES = 2**30

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


def load(
    name_or_path: str,
    options: DataOptions | None = None,
    *,
    see: Preprocessing | None = None,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> Dataset:
    """The data set of that name, or of the image folder at that path; a name in `DATASETS` goes first.

    Args:
        name_or_path: A name in `DATASETS`, or a folder that holds train/<class>/* and test/<class>/* or val/<class>/*.
        options: What to change about it; None changes nothing.
        see: How the network that is to get the images sees them, instead of what the data set and the options say.
        memory_limit_bytes: Up to this size, as uint8 at the size asked for, images are held in memory ready to use.

    Raises:
        DataError: There is no such data set; it cannot be had; it is damaged; or it does not fit the options.
    """
    from compress.data.assemble import assemble
    from compress.data.prepare import View

    options = options or DataOptions()
    name, defaults, parts = _find(name_or_path)
    augment = defaults.augment if options.augment is None else options.augment
    view = View(see or _see(defaults, options), augment)
    return assemble(name, parts, view, options=options, memory_limit_bytes=memory_limit_bytes)


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


def _see(defaults: Defaults, options: DataOptions) -> Preprocessing:
    from compress.data.prepare import to_channels

    channels = options.channels or defaults.channels
    try:
        return Preprocessing(
            size=options.size or defaults.size,
            channels=channels,
            mean=to_channels(defaults.mean, channels) if options.mean is None else options.mean,
            std=to_channels(defaults.std, channels) if options.std is None else options.std,
            resize=options.resize or "crop",
            crop=1.0 if options.crop is None else options.crop,
            border=defaults.border,
        )
    except ValueError as error:
        raise DataError(str(error)) from error


def _find(name_or_path: str) -> tuple[str, Defaults, Parts]:
    if name_or_path in DATASETS:
        source = DATASETS[name_or_path]
        return name_or_path, source.defaults, read_source(name_or_path, source)
    path = Path(name_or_path).expanduser()
    is_path = os.sep in name_or_path or name_or_path.startswith((".", "~")) or path.exists()
    if not name_or_path or not is_path:
        message = unknown_name("data set", name_or_path, DATASETS)
        raise DataError(f"{message}; or give the path of a folder that holds train/<class>/* and test/<class>/*")
    from compress.data.folder import scan

    return path.resolve().name, FOLDER, scan(path)
