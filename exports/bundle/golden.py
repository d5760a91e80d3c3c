"""Golden vectors: raw images, the pixels that a file sees of them, what it answers here, and how far others may be."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from compress import evidence
from compress.card import Card
from compress.data.decode import read_image
from compress.preprocessing import unscaled
from compress.soundness import check_outputs
from exports.artefact import Artefact
from exports.bundle.pictures import Pictures
from exports.parity import ROUNDING, TOLERANCE, by_output, limits

GRID_SHARE = 0.05  # of the spread of all outputs; see `Tolerance`
FOLDER = "golden"
LIST = f"{FOLDER}/golden.json"
_MACHINE = ("cpu", "flags", "os", "python")


@dataclass(frozen=True)
class Tolerance:
    """How far the outputs of another machine may be from those here.

    Of values that no grid rounds, as parity allows any two runtimes: each output by a share of its own spread over the
    golden images, and by some steps of float32. Where activations are on grids, a value between two codes may fall to
    the one here and to the other there, which no limit of single outputs can tell from an error: there the root of the
    mean square over the outputs of an image is held against a share of the spread of them all.

    Attributes:
        measure: "each output" or "rms".
        allowed: One limit an output, or one for all.
        words: The same as a sentence.
    """

    measure: str
    allowed: tuple[float, ...]
    words: str


@dataclass(frozen=True)
class Golden:
    """The golden vectors of a file.

    Attributes:
        members: Name in the bundle to content.
        tolerance: Of the outputs.
    """

    members: Mapping[str, bytes]
    tolerance: Tolerance


def golden_vectors(artefact: Artefact, card: Card, pictures: Pictures, runtime: str) -> Golden:
    """The images as PNG, the pixels that the file sees of them as PNG, and its outputs, in the layout of the file.

    The product reads its own PNG files, as `predict` would, so that a bundle is held against it and not against itself.

    Args:
        artefact: The file, opened.
        card: Its own.
        pictures: At least two, for the limits depend on how far the outputs differ from image to image.
        runtime: What runs it, with its version.

    Raises:
        GateError: An output is not finite.
        ValueError: Fewer than two pictures.
    """
    if len(pictures.images) < 2:
        raise ValueError(f"golden images: got {len(pictures.images)}; at least 2 are needed to tell outputs apart")
    raw = [_png(image) for image in pictures.images]
    seen = [_seen(content, card) for content in raw]
    scale = unscaled if artefact.input == "uint8" else card.scale
    outputs = check_outputs(torch.cat([artefact(scale(pixels[None])) for pixels in seen]), str(artefact.path))
    tolerance, given = _tolerance(outputs, card), _as_given(outputs, artefact.layout)
    members: dict[str, bytes] = {}
    told = []
    for number, (content, pixels) in enumerate(zip(raw, seen, strict=True)):
        names = {part: f"{FOLDER}/{number:02}{end}" for part, end in _ENDS.items()}
        output = np.ascontiguousarray(given[number : number + 1].numpy(), "<f4")
        contents = (content, _png(_picture(pixels)), output.tobytes())
        members |= dict(zip(names.values(), contents, strict=True))
        told.append({**names, "shape": list(output.shape)})
    where = evidence.describe()
    listed = {
        "origin": pictures.origin,
        "runtime": runtime,
        "machine": {name: where[name] for name in _MACHINE},
        "tolerance": {
            "measure": tolerance.measure,
            "allowed": list(tolerance.allowed) if tolerance.measure == "each output" else tolerance.allowed[0],
            "words": tolerance.words,
        },
        "images": told,
    }
    return Golden({LIST: as_json(listed), **members}, tolerance)


_ENDS = {"image": ".png", "seen": ".seen.png", "output": ".f32"}


def as_json(data: Any) -> bytes:
    """JSON for people, in UTF-8, with a line end."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _seen(content: bytes, card: Card) -> Tensor:
    """(C, H, W) uint8."""
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "image.png"
        path.write_bytes(content)
        return torch.from_numpy(read_image(str(path), card.preprocessing).copy())


def _picture(pixels: Tensor) -> Image.Image:
    planes = pixels.numpy()
    return Image.fromarray(planes[0] if len(planes) == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0)))


def _png(image: Image.Image) -> bytes:
    made = BytesIO()
    Image.fromarray(np.asarray(image)).save(made, "PNG")  # the pixels alone: no profile, date or place of a photo
    return made.getvalue()


def _as_given(outputs: Tensor, layout: str) -> Tensor:
    """The outputs with the axes that the file itself gives."""
    return outputs.movedim(1, -1) if layout == "NHWC" and outputs.ndim == 4 else outputs


def _tolerance(outputs: Tensor, card: Card) -> Tolerance:
    """Of (B, outputs, ...)."""
    rows = by_output(outputs.double())
    spreads, largest = rows.std(0, correction=0), float(rows.abs().max())
    if not card.activations:
        words = (
            f"each output by {TOLERANCE:g} of its own spread over the golden images (standard deviation), "
            f"and by {ROUNDING:.2g} of the largest output."
        )
        return Tolerance("each output", tuple(limits(spreads, largest).tolist()), words)
    allowed = GRID_SHARE * float(spreads.square().mean().sqrt()) + ROUNDING * largest
    words = (
        f"the root of the mean square over the outputs of an image by {allowed:.3g}, which is {GRID_SHARE:g} of their "
        "spread over the golden images: values are rounded on the way, and one that lies between two codes may fall to "
        "either."
    )
    return Tolerance("rms", (allowed,), words)
