"""edgepress predict"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options

if TYPE_CHECKING:
    from exports.opening import Opened


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
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
    top: Annotated[int, options.whole("--top", 1, help="How many classes to name.", group=options.OUTPUT)] = 1,
    data: options.NamingData = None,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
) -> None:
    """Name what is on images.

    Each is prepared as the network was taught to see it; the share is the softmax of the logits.

    Examples:
        edgepress predict photo.jpg -m student.onnx
        edgepress predict *.png -m student.safetensors --top 3 --json
        edgepress predict photo.jpg -m weights.pt --arch resnet18 --data photos/
    """
    from cli import device, parse, say
    from compress.data import DataOptions
    from compress.errors import DataError, PlanError
    from compress.tasks import CLASSIFICATION
    from exports import FORMATS
    from exports.opening import open_alone

    for path in images:
        if not path.is_file():
            raise DataError(f"{path} {'is a folder' if path.exists() else 'does not exist'}; give image files")
    parse.refuse_idle(model, plain, exported=model.suffix in FORMATS)
    opened = open_alone(parse.read_file(model, plain), data, parse.read_seen(DataOptions(), seen))
    if opened.task is not CLASSIFICATION:
        raise PlanError(f"{model}: was trained for {opened.task.name}, not to name classes; give a classifier")
    opened.network.model.to(device.chosen())
    found = {path: _classes(opened, path, top) for path in images}
    predictions = [{"image": path, "classes": classes} for path, classes in found.items()]
    say.result({"model": model, "predictions": predictions}, *(_line(*one) for one in found.items()))


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
