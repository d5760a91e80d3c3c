"""A checkpoint as the bytes of one .tflite file: small, sealed, and laid out as LiteRT runs fastest (NHWC)."""

from __future__ import annotations

from pathlib import Path

from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from compress.tasks import TASKS
from exports import label
from exports.artefact import OWN_WRITER
from exports.graph import seal
from exports.labelling import describe
from exports.litert import converted
from exports.litert.builder import pack
from exports.litert.lowered import lowered
from exports.litert.operators import translate
from exports.litert.seal import BLANK
from exports.litert.seal import seal as sealed
from exports.litert.translation import UntranslatableError
from exports.source import Settings, noise, source_network
from exports.to_onnx import to_lowered

LAYOUT = "NHWC"


def write(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
    """Write the network as a .tflite file; its input is the normalised image, channels last.

    It is of any batch size, unless it has an operator that only litert-torch can write: then of one image.

    Raises:
        ExportError: The network cannot be expressed in ONNX, from which it is translated, or has an operator that
            cannot be written, with weights in few bits or at all; nothing is written then.
        MissingExtraError: It has an operator that only litert-torch could write, which is not installed.
    """
    path.write_bytes(to_bytes(checkpoint, path, settings))


def to_bytes(checkpoint: Checkpoint, path: Path, settings: Settings) -> bytes:
    """The content of the file, labelled and sealed: the same bits for the same checkpoint.

    Args:
        checkpoint: What to express; it is left as it is.
        path: Of the file, for messages.
        settings: The operator set of ONNX that it passes through, and whether the lineage goes with it.

    Raises:
        ExportError, MissingExtraError: As of `write`.
    """
    if settings.input != "float32":
        raise ExportError(f"{path.name}: a .tflite file takes float32 images; leave --input out, or export to .onnx")
    card, output = checkpoint.card, TASKS[checkpoint.card.task].output
    name, writer, batch = Path(path.name), OWN_WRITER, None
    try:
        builder, images, answers = translate(lowered(name, to_lowered(checkpoint, settings)))
        model = builder.model({"input": images}, {output: answers})
    except UntranslatableError as refusal:
        if card.grids or card.activations:
            raise
        model = converted.convert(source_network(checkpoint), noise(card, 1), output, refusal)
        writer, batch = converted.writer(), converted.BATCH
    if not settings.label:
        return pack(model)
    text = describe(checkpoint, settings, LAYOUT, batch=batch, writer=writer)
    return sealed(path, pack(model, producer=label.KEY, notes={label.KEY: text.encode(), seal.KEY: BLANK}))
