"""A checkpoint as the bytes of one .tflite file: small, sealed, and laid out as LiteRT runs fastest (NHWC)."""

from __future__ import annotations

from pathlib import Path

from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from compress.tasks import TASKS
from exports import label
from exports.graph import seal
from exports.litert.builder import pack
from exports.litert.lowered import lowered
from exports.litert.operators import translate
from exports.litert.seal import BLANK
from exports.litert.seal import seal as sealed
from exports.source import Settings
from exports.to_onnx import to_lowered

LAYOUT = "NHWC"


def write(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
    """Write the network as a .tflite file of any batch size; its input is the normalised image, channels last.

    Raises:
        ExportError: The network cannot be expressed in ONNX, from which it is translated, or has an operator that
            cannot be translated; nothing is written then.
    """
    path.write_bytes(to_bytes(checkpoint, path, settings))


def to_bytes(checkpoint: Checkpoint, path: Path, settings: Settings) -> bytes:
    """The content of the file, labelled and sealed: the same bits for the same checkpoint.

    Args:
        checkpoint: What to express; it is left as it is.
        path: Of the file, for messages.
        settings: The operator set of ONNX that it passes through, and whether the lineage goes with it.

    Raises:
        ExportError: As of `write`.
    """
    if settings.input != "float32":
        raise ExportError(f"{path.name}: a .tflite file takes float32 images; leave --input out, or export to .onnx")
    builder, images, answers = translate(lowered(Path(path.name), to_lowered(checkpoint, settings)))
    notes = {label.KEY: label.describe(checkpoint, settings, LAYOUT).encode(), seal.KEY: BLANK}
    output = TASKS[checkpoint.card.task].output
    producer, notes = (label.KEY, notes) if settings.label else ("", {})
    content = pack(builder.model({"input": images}, {output: answers}), producer=producer, notes=notes)
    return sealed(path, content) if settings.label else content
