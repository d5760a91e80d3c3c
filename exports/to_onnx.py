"""A checkpoint as one .onnx file: small, free of local paths, and checked against the network it came from."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, replace
from importlib import metadata
from io import StringIO
from pathlib import Path

import onnx
import torch
from onnx import ModelProto
from onnx.shape_inference import InferenceError
from torch import Tensor, nn

from compress.checkpoint import Card, Checkpoint
from compress.errors import ExportError
from compress.evidence import weights_digest
from compress.files import check_target, write_whole
from compress.stages import Answer
from compress.tasks import TASKS
from exports.artefact import Exported, Provenance, noise, verify
from exports.graph.strip import strip, without_folders
from exports.run_onnx import KEY, read

__all__ = ["DEFAULT_OPSET", "OPSETS", "export", "read"]

OPSETS = range(18, 25)
DEFAULT_OPSET = 20


def export(
    checkpoint: Checkpoint,
    path: Path,
    *,
    images: Tensor | None = None,
    opset: int = DEFAULT_OPSET,
    force: bool = False,
) -> Exported:
    """The network as an .onnx file that gives the same logits, for any batch size; its input is the normalised image.

    A network that was trained for retrieval, whose logits nothing has taught, gives its embedding instead.

    The file is written only once the checker of ONNX and a parity check in ONNX Runtime have passed. Its metadata hold
    under "edgepress" the card (classes, input, normalisation, lineage with paths cut to file names) and the provenance.

    Args:
        checkpoint: What to export; its network is left as it is.
        path: The file to write.
        images: (N, C, H, W) normalised samples to compare on; None compares on uniform noise.
        opset: ONNX operator set, one of `OPSETS`.
        force: Allow a file that already exists to be replaced.

    Raises:
        ExportError: The opset is out of range, or the network cannot be expressed in ONNX.
        GateError: The file gives other logits than the network; nothing is written.
        OutputError: The file cannot be written there.
    """
    if opset not in OPSETS:
        raise ExportError(f"opset {opset} is not supported; allowed are {OPSETS[0]} to {OPSETS[-1]}")
    check_target(path, force=force)
    staged = replace(checkpoint.network, model=copy.deepcopy(checkpoint.network.model).cpu().eval())
    output = TASKS[checkpoint.card.task].output
    network = staged.model if output == "logits" else Answer(staged, output)
    card = replace(checkpoint.card, lineage=tuple(without_folders(step) for step in checkpoint.card.lineage))
    model = strip(_convert(network, output, noise(card, 2), opset))
    _describe(model, card, _provenance(staged.model, opset))
    _check(model, opset)
    checked: list[Exported] = []

    def write(staged: Path) -> None:
        staged.write_bytes(model.SerializeToString(deterministic=True))
        exported = replace(read(staged), path=path)
        parity = verify(network, exported, noise(card) if images is None else images)
        checked.append(replace(exported, parity=parity))

    write_whole(path, write, force=force)
    return checked[0]


def _convert(network: nn.Module, output: str, image: Tensor, opset: int) -> ModelProto:
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (image,),
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=opset,
                input_names=["input"],
                output_names=[output],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(f"torch cannot express this network in ONNX (opset {opset}): {reason}") from error
    if program is None:
        raise ExportError(f"torch's exporter gave no ONNX program (torch {torch.__version__})")
    return program.model_proto


def _provenance(network: nn.Module, opset: int) -> Provenance:
    return Provenance(
        tool_version=_tool_version(),
        torch_version=torch.__version__,
        opset=opset,
        weights_sha256=weights_digest(network),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )


def _describe(model: ModelProto, card: Card, provenance: Provenance) -> None:
    model.producer_name = "edgepress"
    model.producer_version = provenance.tool_version
    entry = model.metadata_props.add()
    entry.key = KEY
    entry.value = json.dumps(
        {"card": json.loads(card.to_json()), "provenance": asdict(provenance)}, separators=(",", ":")
    )


def _check(model: ModelProto, opset: int) -> None:
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("") != opset:
        raise ExportError(f"torch wrote opset {written.get('')} where {opset} was asked for; choose another opset")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, InferenceError) as error:
        raise ExportError(f"the exported model is not valid ONNX: {str(error).strip().splitlines()[0]}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence for what torch warns, logs and prints inside the `with`; exceptions pass, with all they say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _tool_version() -> str:
    try:
        return metadata.version("edgepress")
    except metadata.PackageNotFoundError:
        return "0+source"
