"""What `edgepress predict` does with a network that gives a class for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from exports.opening import Opened


MOST_CLASSES = 255  # a pixel of a mask holds one byte, and 255 is void


def check_classes(opened: Opened) -> None:
    """Nothing, once a pixel can hold the number of every class; PlanError if there are too many."""
    from compress.errors import PlanError

    if len(opened.classes) > MOST_CLASSES:
        raise PlanError(f"the network tells {len(opened.classes)} classes apart; a mask holds up to {MOST_CLASSES}")


def check_targets(images: Sequence[Path], folder: Path, *, force: bool) -> dict[Path, Path]:
    """Image to where its mask goes: into the folder, which is made, under the name of the image.

    Args:
        images: What is predicted.
        folder: For the masks.
        force: Allow what already exists to be replaced; never one of the images.

    Raises:
        DataError: Two masks would have one name.
        OutputError: The folder cannot be made, or a mask may not be written there.
    """
    from compress.errors import DataError, OutputError
    from compress.files import check_target

    targets = {image: folder / f"{image.stem}.png" for image in images}
    owners: dict[Path, Path] = {}
    for image, target in targets.items():
        if owners.setdefault(target, image) != image:
            raise DataError(
                f"{owners[target]} and {image} would both give {target}; predict them into folders of their own"
            )
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder: {error.strerror}; give the name of one") from error
    for target in targets.values():
        check_target(target, force=force, inputs=images)
    return targets


def predict(opened: Opened, image: Path, target: Path | None, *, force: bool) -> dict[str, Any]:
    """The classes of one image with the share of the pixels of each, as JSON-able data; its mask is written.

    Args:
        opened: A network for masks.
        image: An image file.
        target: Where the mask goes; None writes none.
        force: Allow what already exists to be replaced.
    """
    import torch

    from compress.data.decode import read_image
    from compress.mask_image import colours, restore, seen_box, upright_size, write_mask
    from compress.tasks import answering

    pixels = torch.from_numpy(read_image(str(image), opened.see).copy())[None]
    with answering(opened.network, opened.task.output) as answer:
        taken = answer(pixels)[0].argmax(dim=0)
    size, named = upright_size(image), list(zip(opened.classes, colours(len(opened.classes)), strict=True))
    mask = restore(taken.to(torch.uint8).numpy(), size, opened.see)
    if target is not None:
        write_mask(mask, len(named), target, force=force)
    counts = torch.from_numpy(mask).flatten().bincount(minlength=256).tolist()[: len(named)]
    classes = [
        {"class": name, "share": counts[value] / sum(counts), "value": value, "colour": f"#{bytes(colour).hex()}"}
        for value, (name, colour) in enumerate(named)
        if counts[value]
    ]
    return {
        "image": image,
        "mask": target,
        "size": list(size),
        "seen": list(seen_box(size, opened.see)),
        "covered": sum(counts) / mask.size,
        "classes": sorted(classes, key=lambda one: -one["share"]),
    }


def line(found: dict[str, Any], top: int | None) -> str:
    """What is on one image, and what of it the network does not see."""
    shown = found["classes"][:top]
    text = f"{found['image']}: " + ", ".join(f"{one['class']} {100 * one['share']:.1f} %" for one in shown)
    if found["covered"] == 1:
        return text
    (top_edge, left, bottom, right), (height, width) = found["seen"], found["size"]
    seen = f"{bottom - top_edge}x{right - left} in the middle of {height}x{width}"
    return f"{text}; the network sees {seen} ({100 * found['covered']:.1f} % of it), the rest is void"


def legend(predictions: Sequence[dict[str, Any]]) -> Table:
    """What the values and colours of the masks mean, a row for each class that is on one of them."""
    from cli import say

    found = {one["value"]: one for prediction in predictions for one in prediction["classes"]}
    rows = [(str(value), found[value]["colour"], found[value]["class"]) for value in sorted(found)]
    if any(prediction["covered"] < 1 for prediction in predictions):
        rows.append(("255", "#000000", "void: not seen"))
    return say.table(("value", "colour", "class"), rows, title="in the masks")
