"""edgepress predict"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from compress.text import counted

if TYPE_CHECKING:
    from exports.opening import Opened


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files.")],
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            "-m",
            metavar="FILE",
            help="A checkpoint, an exported file, or with --arch a plain state dict.",
            rich_help_panel=options.NETWORK,
        ),
    ],
    top: Annotated[
        int | None,
        options.whole("--top", 1, help="How many classes to name. [default: 1; of a mask all]", group=options.OUTPUT),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            parser=options.folder_name,
            help="Write the masks here, as palette PNGs (pixel value = class) under the names of the images.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    data: options.NamingData = None,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    force: options.Force = False,
) -> None:
    """Name what is on images, or colour each of their pixels by its class.

    Each is prepared as the network was taught to see it. The share is the softmax of the logits; of a network for
    masks, that of the pixels.

    Examples:
        edgepress predict *.png -m student.safetensors --top 3 --json
        edgepress predict photo.jpg -m weights.pt --arch torchvision:resnet18 --data photos/
        edgepress predict street.jpg -m unet.onnx -o masks/
    """
    from cli import device, parse
    from compress.data import DataOptions
    from compress.errors import DataError, PlanError
    from exports import FORMATS
    from exports.opening import open_alone

    for path in images:
        if not path.is_file():
            raise DataError(f"{path} {'is a folder' if path.exists() else 'does not exist'}; give image files")
    parse.refuse_idle(model, plain, exported=model.suffix in FORMATS)
    opened = open_alone(parse.read_file(model, plain), data, parse.read_seen(DataOptions(), seen))
    if opened.task.agreement is None:
        raise PlanError(f"{model}: was trained for {opened.task.name}, not to name classes; give a classifier")
    if output is not None and not opened.task.masks:
        raise PlanError(f"--output {output}: {model} names classes and gives no masks to write; leave it out")
    opened.network.model.to(device.chosen())
    if opened.task.masks:
        _say_masks(opened, model, images, output, force=force, top=top)
    else:
        _say_classes(opened, model, images, top or 1)


def _say_classes(opened: Opened, model: Path, images: list[Path], top: int) -> None:
    from cli import say

    found = {path: _classes(opened, path, top) for path in images}
    predictions = [{"image": path, "classes": classes} for path, classes in found.items()]
    say.result({"model": model, "predictions": predictions}, *(_line(*one) for one in found.items()))


def _say_masks(
    opened: Opened, model: Path, images: list[Path], output: Path | None, *, force: bool, top: int | None
) -> None:
    from cli import masks, say

    masks.check_classes(opened)
    targets = masks.check_targets(images, output, force=force) if output else dict.fromkeys(images)
    found = [masks.predict(opened, path, target, force=force) for path, target in targets.items()]
    lines = [masks.line(one, top) for one in found]
    if output is None:
        say.result({"model": model, "predictions": found}, *lines)
        say.notes(["no mask was written; pass -o FOLDER for palette PNGs"])
        return
    written = f"written: {counted(len(found), 'mask')} into {output}"
    say.result({"model": model, "predictions": found}, *lines, masks.legend(found), written)


def _classes(opened: Opened, path: Path, top: int) -> list[dict[str, Any]]:
    """The likeliest classes of one image, the likeliest first."""
    import torch

    from compress.data.decode import read_image
    from compress.tasks import answering

    pixels = torch.from_numpy(read_image(str(path), opened.see).copy())[None]
    with answering(opened.network, opened.task.output) as answer:
        shares = answer(pixels)[0].double().softmax(0)
    values, positions = shares.topk(min(top, len(opened.classes)))
    pairs = zip(positions.tolist(), values.tolist(), strict=True)
    return [{"class": opened.classes[position], "share": share} for position, share in pairs]


def _line(path: Path, classes: list[dict[str, Any]]) -> str:
    return f"{path}: " + ", ".join(f"{one['class']} {100 * one['share']:.1f} %" for one in classes)
