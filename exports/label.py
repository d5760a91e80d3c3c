"""The label of an exported file: the JSON text in its metadata that says what the file is and how to feed it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from compress.card import SEAL, Card, seal
from compress.errors import CheckpointError, ExportError
from compress.preprocessing import Preprocessing
from compress.task_names import MASKS
from exports.artefact import OWN_WRITER, Input, Provenance

KEY = "edgepress"
FORMAT = 2
EXPORTED = "exported"  # what the step of a lineage says that is of the file, and not of its network


@dataclass(frozen=True)
class Label:
    """What a file says of itself.

    Attributes:
        card: What the network is.
        provenance: Where the file comes from.
        sealed: The file was written with a digest of its own content.
    """

    card: Card
    provenance: Provenance
    sealed: bool


def commands(lineage: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was typed on the way to a network, the first first; a command that took several steps is there once."""
    typed = (str(step["command"]) for step in lineage if step.get("command"))
    return [command for command, _ in groupby(typed)]


def before_export(card: Card) -> Card:
    """The card of a file without the step that tells of its export."""
    return replace(card, lineage=tuple(step for step in card.lineage if EXPORTED not in step))


def exported_by(card: Card) -> str:
    """The command that wrote a file; "" where its lineage has no step of its own for that."""
    return next((str(step.get("command", "")) for step in card.lineage if EXPORTED in step), "")


def read_label(path: Path, text: str) -> Label:
    """The label that `exports.labelling.describe` wrote, in this format or the first.

    Args:
        path: Of the file, for messages.
        text: Its label.

    Raises:
        ExportError: Something is missing, of another type or out of range.
    """
    try:
        data = json.loads(text)
        written = data.get("format", 1)
        if written not in (1, FORMAT):
            raise ValueError(f"their format is {written!r:.80}; this version reads 1 to {FORMAT}")
        card = unsealed(data["card"])
        text = json.dumps({**card, SEAL: seal(card)})
        return Label(Card.from_json(text), _read_provenance(data["provenance"]), written == FORMAT)
    except (CheckpointError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ExportError(f"{path}: its edgepress metadata are damaged: {reason:.300}; export it again") from error


def sizes(text: str) -> dict[str, int]:
    """The bytes of each part of a label: "card" (without its lineage), "lineage", "preprocessing" and so on.

    Empty where the text is not written as `exports.labelling.describe` does: its parts would be of other lengths.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: It is no label.
    """
    data = json.loads(text)
    if compact(data) != text:
        return {}
    lineage = len(compact(data["card"]["lineage"]))
    found = {name: len(compact(part)) for name, part in data.items() if name != "format"}
    return {"card": found.pop("card") - lineage, "lineage": lineage, **found}


_COLOURS = {
    1: "Convert it to RGB and then to grey: 0.299 R + 0.587 G + 0.114 B, rounded; transparency is dropped.",
    3: "Convert it to RGB; transparency is dropped, grey is repeated.",
}


_NEEDS = {4: "ONNX Runtime 1.23 or newer", 2: "ONNX Runtime 1.24 or newer"}
_VNNI = (
    "a CPU with VNNI or one of Arm; elsewhere sums of products saturate, unless ONNX Runtime is given the session "
    "option session.x64quantprecision=1"
)
_ORDERS = {
    "NCHW": "channels first, then rows, then columns",
    "NHWC": "rows first, then columns, then the channels of each pixel",
}


def steps(see: Preprocessing, takes: Input = "float32", layout: str = "NCHW", batch: int | None = None) -> list[str]:
    """How to turn a photo into what goes into the file: one sentence a step, in order.

    Args:
        see: How the network sees an image.
        takes: What goes in: "float32", scaled images, or "uint8", their pixels.
        layout: The order of the axes of what goes in.
        batch: How many images go in at once; None for any number.
    """
    height, width = see.size
    ratio = "square" if width == height else f"box of the shape {width} : {height}"
    box = f"the largest {ratio}" if see.resize == "crop" else "the whole of it"
    share = "" if see.crop == 1 else f", {see.crop:g} of that in width and in height"
    resized = [
        *([f"Put {see.border} black pixels around it."] if see.border else []),
        f"Cut {box}{share} out of its middle; sides and corner are rounded to the nearest, halves to even.",
        f"Resize that to {width} pixels wide and {height} high: bilinear, antialiased (Pillow's BILINEAR with a box).",
    ]
    scaled = (
        f"Divide by 255, subtract the mean {list(see.mean)}, divide by the std {list(see.std)}, channel by channel."
    )
    fits = f"If it is {width} pixels wide and {height} high already, skip the next {len(resized)} steps."
    return [
        "Turn the image upright by its EXIF orientation.",
        _COLOURS.get(see.channels, f"Bring it to {see.channels} channels."),
        *([fits] if see.crop == 1 else []),
        *resized,
        scaled if takes == "float32" else "Leave the pixels as they are, 0 to 255: the file scales them itself.",
        f"Feed {takes} of shape {_batch(layout, see.channels, see.size, batch)}: {_ORDERS[layout]}.",
    ]


def how_to_read(card: Card, layout: str = "NCHW", batch: int | None = None) -> str:
    """What to make of the outputs where they are a class for every pixel, in words; else empty."""
    if not MASKS[card.task]:
        return ""
    shape = _batch(layout, len(card.classes), card.preprocessing.size, batch)
    return (
        f"The outputs are logits of shape {shape}, a class for every pixel of the input: the one with the largest. "
        "Enlarge such a mask by its nearest pixels, for a mean of two classes is none."
    )


def needs(card: Card) -> str:
    """The least runtime that computes with the types of the weights, in words; empty where any does."""
    widths = {grid.bits for grid in card.grids}
    return _VNNI if card.activations and 8 in widths else _NEEDS.get(min(widths, default=0), "")


def compact(data: object) -> str:
    """JSON text as a label is written, with no space in it that says nothing."""
    return json.dumps(data, separators=(",", ":"))


def _batch(layout: str, channels: int, size: tuple[int, int], batch: int | None) -> str:
    sides = {"C": channels, "H": size[0], "W": size[1]}
    return f"({batch or 'batch'}, {', '.join(str(sides[axis]) for axis in layout[1:])})"


def unsealed(card: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON-able data of a card without its seal: that of the file covers it."""
    return {key: value for key, value in card.items() if key != SEAL}


def _read_provenance(data: Mapping[str, Any]) -> Provenance:
    return Provenance(
        data["tool_version"],
        data["torch_version"],
        data["opset"],
        data["weights_sha256"],
        data["parameters"],
        writer=data.get("writer", OWN_WRITER),
    )


def tool_version() -> str:
    """The version of edgepress, as its package or, from a source tree without one, "0+source"."""
    try:
        return metadata.version("edgepress")
    except metadata.PackageNotFoundError:
        return "0+source"
