"""edgepress export"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options

if TYPE_CHECKING:
    from compress.evidence import Record
    from exports import Shipped
    from exports.graph.census import GraphCensus


def export(
    checkpoint: options.CheckpointFile,
    output: options.Output,
    opset: Annotated[
        int | None,
        options.whole(
            "--opset",
            18,
            25,
            help="ONNX operator set, 18 to 25. [default: 20, or what the weights need]",
            group=options.OUTPUT,
        ),
    ] = None,
    no_lineage: Annotated[
        bool,
        typer.Option(
            "--no-lineage", help="Leave the history of the network out of the file.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    takes: Annotated[
        str,
        options.choice(
            "--input",
            options.INPUTS,
            help="What the file takes: float32, scaled images, or uint8, pixels that it scales itself.",
            group=options.OUTPUT,
        ),
    ] = "float32",
    bare: Annotated[
        bool,
        typer.Option(
            "--bare",
            help="Write the network alone: smaller, but the file cannot say what it is or be verified.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    data: options.CompareData = None,
    samples: options.Samples = None,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    force: options.Force = False,
) -> None:
    """Write a checkpoint as an .onnx or a .tflite file, as the name of the output ends.

    The file gives the same outputs as the network; without parity nothing is written.

    Examples:
        edgepress export student.safetensors -o student.onnx
        edgepress export student.safetensors -o camera.onnx --input uint8
        edgepress export student.safetensors -o student.tflite
        edgepress export weights.pt --arch torchvision:resnet18 --data cifar10 -o resnet18.onnx
    """
    from cli import parse, say
    from cli.samples import samples_for
    from compress.data import DataOptions
    from compress.files import check_target
    from compress.opening import open_network
    from exports import Settings, format_of, ship

    settings = Settings(opset, lineage=not no_lineage, label=not bare, input=parse.read_input(takes))
    format_of(output)
    check_target(output, force=force, inputs=(checkpoint,))
    source = open_network(parse.read_file(checkpoint, plain), data, parse.read_seen(DataOptions(), seen))
    images, origin = samples_for(source.card, data, samples, settings.input)
    shipped = ship(source, output, images, settings=settings, force=force)
    census = format_of(output).census(output)
    records = [record.to_dict() for record in _records(shipped, census.nodes)]
    pixels = ", takes uint8 pixels" if takes == "uint8" else ""
    say.result(
        {"file": output, "compared_on": origin, "records": records},
        f"{output}: {shipped.artefact.size_bytes:,} bytes, {_written(output, census)}{pixels}",
        f"compared on {origin}",
        f"parity: {shipped.parity}",
    )


def _written(path: Path, census: GraphCensus) -> str:
    """The format, with its operator set where it has one, and how many nodes."""
    from exports import format_of

    opset = census.versions.get("opset")
    name = format_of(path).name
    return f"{name if opset is None else f'{name} opset {opset}'}, {census.nodes} nodes"


def _records(shipped: Shipped, nodes: int) -> list[Record]:
    from dataclasses import replace

    from cli import parse
    from compress.evidence import Record, versions
    from exports.claims import parity_records

    sha256, size = shipped.artefact.sha256, shipped.artefact.size_bytes
    records = [
        Record("size", size, unit="bytes", sha256=sha256),
        Record("nodes", nodes, sha256=sha256),
        *parity_records(shipped.parity, sha256),
    ]
    return [replace(record, command=parse.command_line(), environment=versions()) for record in records]
