"""The label of an exported file as it is written; `exports.label` reads it, and needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from compress.checkpoint import Checkpoint
from compress.evidence import weights_digest
from compress.preprocessing import Preprocessing
from compress.quantization import parameters_of
from exports import folder
from exports.artefact import OWN_WRITER, Input, Provenance
from exports.graph import seal
from exports.graph.strip import without_folders
from exports.label import EXPORTED, FORMAT, KEY, compact, how_to_read, needs, steps, tool_version, unsealed
from exports.source import DEFAULT_OPSET, Settings


def describe(
    checkpoint: Checkpoint,
    settings: Settings,
    layout: str = "NCHW",
    *,
    batch: int | None = None,
    writer: str = OWN_WRITER,
) -> str:
    """The label as JSON text; `exports.label.read_label` reads it back.

    Its parts: "format", "card" (without stages; with the lineage and the export at its end, paths cut to file names,
    unless the settings leave it out; without its seal, for that of the file covers it), "preprocessing" (the rule in
    numbers, and in words under "steps"; of a file that takes pixels "input" is "uint8", and "mean" and "std" are not
    there), "output" (how to read masks; of other tasks nothing), "needs" (the least runtime, where that is a recent
    one) and "provenance".

    Args:
        checkpoint: What the file is made of.
        settings: How it is wished.
        layout: The order of the axes of what goes in, "NCHW" or "NHWC"; a map that comes out has the same.
        batch: How many images go in at once; None for any number.
        writer: What wrote the graph.
    """
    card = replace(checkpoint.card, stages=(), weights="", lineage=_lineage(checkpoint, settings))
    see = card.preprocessing
    label = {
        "format": FORMAT,
        "card": unsealed(json.loads(card.to_json())),
        "preprocessing": {**_numbers(see, settings.input), "steps": steps(see, settings.input, layout, batch)},
        **({"output": reading} if (reading := how_to_read(card, layout, batch)) else {}),
        **({"needs": least} if (least := needs(card)) else {}),
        "provenance": _told(_provenance(checkpoint, settings, writer)),
    }
    return compact(label)


def label_folder(path: Path, checkpoint: Checkpoint, settings: Settings) -> None:
    """Put the label beside the files of a folder, with a digest of all of them; nothing where none is wished."""
    if settings.label:
        text = describe(checkpoint, settings)
        told = {KEY: json.loads(text), seal.KEY: folder.seal_of(folder.content_of(path, "the folder"), text)}
        (path / folder.LABEL).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _lineage(checkpoint: Checkpoint, settings: Settings) -> tuple[Any, ...]:
    """The steps that led to a file; its export is one of its own unless the command before it was the same."""
    if not settings.lineage:
        return ()
    steps: list[Mapping[str, Any]] = [*checkpoint.card.lineage]
    if settings.command and settings.command not in [step.get("command") for step in steps[-1:]]:
        steps.append({"command": settings.command, EXPORTED: True})
    return tuple(map(without_folders, steps))


def _numbers(see: Preprocessing, takes: Input) -> dict[str, Any]:
    """What a caller has to do to an image, in numbers."""
    rule = see.to_dict()
    if takes == "float32":
        return rule
    return {name: value for name, value in rule.items() if name not in ("mean", "std")} | {"input": takes}


def _provenance(checkpoint: Checkpoint, settings: Settings, writer: str) -> Provenance:
    model = checkpoint.network.model
    return Provenance(
        tool_version=tool_version(),
        torch_version=torch.__version__,
        opset=settings.opset or DEFAULT_OPSET,
        weights_sha256=weights_digest(model),
        parameters=parameters_of(model),
        writer=writer,
    )


def _told(provenance: Provenance) -> dict[str, Any]:
    """What a label says of it: not the digest, which covers the label, nor the writer where that is edgepress."""
    left_out = ("graph_sha256", *(["writer"] if provenance.writer == OWN_WRITER else []))
    return {name: value for name, value in asdict(provenance).items() if name not in left_out}
