"""edgepress export"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options

if TYPE_CHECKING:
    from torch import Tensor

    from compress.checkpoint import Card


def export(
    checkpoint: options.CheckpointFile,
    output: options.Output,
    opset: Annotated[int, typer.Option("--opset", help="ONNX operator set, 18 to 24.")] = 20,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Data set to compare on, by name or folder. [default: the one it was trained on]",
        ),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Images to compare on.")] = 256,
    arch: options.Arch = None,
    size: options.Size = None,
    force: options.Force = False,
) -> None:
    """Write a checkpoint as an .onnx file.

    The file gives the same logits as the network; without parity nothing is written.
    """
    from cli import parse
    from compress.data import DataOptions
    from compress.files import check_target
    from compress.opening import Named, open_network
    from exports import format_of
    from exports.graph.census import graph_census

    target = format_of(output)
    check_target(output, force=force, inputs=(checkpoint,))
    asked = DataOptions(size=parse.read_size(size))
    source = open_network(Named(str(checkpoint), arch or ""), data, asked)
    images, origin = _parity_images(source.card, data, samples)
    exported = target.export(source, output, images=images, opset=opset, force=force)
    nodes = sum(graph_census(output).operators.values())
    typer.echo(f"{output}: {exported.size_bytes:,} bytes, ONNX opset {opset}, {nodes} nodes")
    typer.echo(f"compared on {origin}")
    typer.echo(f"parity: {exported.parity}")


def _parity_images(card: Card, data: str | None, samples: int) -> tuple[Tensor, str]:
    """Normalised images, and what they are: of the data asked for, else of its training data if here, else noise."""
    from compress.data import status
    from compress.errors import DataError
    from exports import noise

    if data is not None:
        return _test_images(card, data, samples)
    trained_on = _training_data(card)
    if trained_on is None:
        return noise(card, samples), "uniform noise (the checkpoint names no data; pass --data for real images)"
    known = {row.name: row.path for row in status()}
    if trained_on not in known:
        return noise(card, samples), f"uniform noise (trained on a folder of images, {trained_on}: pass it with --data)"
    if known[trained_on] is None:
        return noise(card, samples), f"uniform noise ({trained_on} is not on this machine; pass --data to get it)"
    try:
        return _test_images(card, trained_on, samples)
    except DataError as error:
        return noise(card, samples), f"uniform noise (its training data cannot be used: {error})"


def _training_data(card: Card) -> str | None:
    """The name of the data set in the latest step of lineage that has one."""
    named = (step["data"].get("name") for step in reversed(card.lineage) if isinstance(step.get("data"), Mapping))
    return next((name for name in named if isinstance(name, str)), None)


def _test_images(card: Card, data: str, samples: int) -> tuple[Tensor, str]:
    from compress.data import DataOptions
    from compress.opening import data_for

    pixels = next(data_for(card, data, DataOptions()).test.batches(samples)).image
    return card.scale(pixels), f"test images of {data}"
