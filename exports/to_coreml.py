"""A checkpoint as a .mlpackage: an ML program of Core ML, converted here, but to be run on macOS and iOS alone."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import torch

from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from compress.tasks import TASKS
from exports.extras import need
from exports.labelling import label_folder
from exports.quiet import STDERR, STDOUT, quiet, silent
from exports.run_coreml import EXTRA, GRAPH, MANIFEST
from exports.source import Settings, check_floats, noise, source_network


def write(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
    """Write the network for one image at a time, for iOS 16 and macOS 13 on; weights and computation are float32.

    Raises:
        ExportError: It is to take pixels or store codes, which the package could not, or it cannot be converted.
        MissingExtraError: coremltools is not installed.
    """
    tools = need(EXTRA, "coremltools")
    check_floats(path, "Core ML", checkpoint, settings)
    network, image = source_network(checkpoint), noise(checkpoint.card, 1)
    try:
        with quiet(), silent(STDOUT, STDERR):
            model = tools.convert(
                torch.jit.trace(network, image, check_trace=False),  # type: ignore[no-untyped-call]
                convert_to="mlprogram",
                inputs=[tools.TensorType(name="input", shape=image.shape)],
                outputs=[tools.TensorType(name=TASKS[checkpoint.card.task].output)],
                minimum_deployment_target=tools.target.iOS16,
                compute_precision=tools.precision.FLOAT32,
                skip_model_load=True,
            )
            model.user_defined_metadata.clear()  # which hold the day
            model.save(str(path))
            (path / GRAPH).write_bytes(model.get_spec().SerializeToString(deterministic=True))
    except Exception as error:  # torch.jit and coremltools raise whatever the operator at hand throws
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"{path.name}: coremltools cannot convert this network: {reason:.300}") from error
    _name_by_place(path / MANIFEST)
    label_folder(path, checkpoint, settings)


def _name_by_place(manifest: Path) -> None:
    """Give every file of the package an identifier that is always the same; coremltools draws them."""
    text = manifest.read_text(encoding="utf-8")
    for drawn, entry in json.loads(text)["itemInfoEntries"].items():
        text = text.replace(drawn, str(uuid.uuid5(uuid.NAMESPACE_URL, f"edgepress:{entry['path']}")))
    manifest.write_text(json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n", encoding="utf-8")
