"""edgepress export"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cli import options
from compress.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.many import Wish
    from compress.data import DataOptions
    from compress.evidence import Record
    from compress.named import Named
    from exports import Artefact, Settings, Shipped
    from exports.graph.census import GraphCensus


_Opset = Annotated[
    int | None,
    options.whole(
        "--opset",
        18,
        25,
        help="ONNX operator set, 18 to 25. [default: 20, or what the weights need]",
        group=options.OUTPUT,
    ),
]
_NoLineage = Annotated[
    bool,
    options.switch("--no-lineage", help="Leave the history of the network out of the file.", group=options.OUTPUT),
]
_Takes = Annotated[
    str,
    options.choice(
        "--input",
        options.INPUTS,
        help="What the file takes: float32, scaled images, or uint8, pixels that it scales itself.",
        group=options.OUTPUT,
    ),
]
_Bare = Annotated[
    bool,
    options.switch(
        "--bare",
        help="Write the network alone: smaller, but the file cannot say what it is or be verified.",
        group=options.OUTPUT,
    ),
]
_To = Annotated[
    str | None,
    options.words(
        "--to",
        "LIST",
        help="Write a folder: onnx, litert; with extras openvino, executorch, ncnn, coreml. [default: onnx,litert]",
        group=options.OUTPUT,
    ),
]
_Precision = Annotated[
    str | None,
    options.words(
        "--precision",
        "LIST",
        help="Write a folder: fp32, fp16, w8, w4, w2, static, see `edgepress quantize`. [default, with --to: fp32]",
        group=options.OUTPUT,
    ),
]


def export(
    checkpoint: options.CheckpointFile,
    output: options.Output,
    opset: _Opset = None,
    no_lineage: _NoLineage = False,
    takes: _Takes = "float32",
    bare: _Bare = False,
    data: options.CompareData = None,
    samples: options.Samples = None,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    to: _To = None,
    precision: _Precision = None,
    force: options.Force = False,
) -> None:
    """Write a checkpoint as an .onnx or a .tflite file, as the name of the output ends; or a folder of several.

    With their extras also as .openvino, .ncnn and .mlpackage, which are folders, or as .pte. The file gives the same
    outputs as the network; without parity nothing is written; of an .mlpackage nobody can tell but on macOS. In a
    folder of several, a file that cannot be had is a row with its reason; the exit code is 3, or 4 for want of extras.

    Examples:
        edgepress export student.safetensors -o camera.onnx --input uint8
        edgepress export student.safetensors --to onnx,litert --precision fp32,w8 --data digits -o dist
        edgepress export weights.pt --arch torchvision:resnet18 --data cifar10 -o resnet18.onnx
    """
    from cli import many, parse, say
    from cli.samples import samples_for
    from cli.typed import refuse
    from compress.data import DataOptions
    from compress.files import check_target
    from compress.opening import open_network
    from exports import Settings, format_of, ship

    takes_in, typed = parse.read_input(takes), parse.command_line()
    settings = Settings(opset, lineage=not no_lineage, label=not bare, input=takes_in, command=typed)
    if to is not None or precision is not None:
        refuse(("--samples",), "a folder of files is compared on whole test splits; leave it out")
        wished = many.wishes(checkpoint, output, to, precision)
        many.check(output, wished, checkpoint, force=force)
        named = parse.read_file(checkpoint, plain)
        _write_folder(named, data, parse.read_seen(DataOptions(), seen), wished, settings, force=force)
        return
    form = format_of(output)
    form.check_extra()
    check_target(output, force=force, inputs=(checkpoint,), folder=form.folder)
    source = open_network(parse.read_file(checkpoint, plain), data, parse.read_seen(DataOptions(), seen))
    images, origin = samples_for(source.card, data, samples, settings.input)
    shipped = ship(source, output, images, settings=settings, force=force)
    census = format_of(output).census(output)
    records = parse.stamped(_records(shipped, census.nodes))
    pixels = ", takes uint8 pixels" if takes == "uint8" else ""
    say.result(
        {"file": output, "compared_on": origin, "records": records},
        f"{output}: {shipped.artefact.size_bytes:,} bytes, {_written(shipped.artefact, census)}{pixels}",
        *([] if shipped.faithful.unverified else [f"compared on {origin}"]),
        *shipped.faithful.lines(),
    )


def _write_folder(
    named: Named,
    data: str | None,
    asked: DataOptions,
    wished: Sequence[Wish],
    settings: Settings,
    *,
    force: bool,
) -> None:
    from cli import many, say
    from compress.errors import GateError, MissingExtraError, PlanError
    from compress.opening import data_for, open_network, training_data

    source = open_network(named, data, asked)
    known = data or training_data(source.card)
    if known is None:
        raise PlanError("the checkpoint names no data that are on this machine; pass --data")
    images, found = data_for(source.card, known, asked), []
    for row in many.rows(source, images, wished, settings, force=force):
        say.line(f"{row.wish.path}: {many.said(row)}")
        found.append(row)
    lost = [row for row in found if row.shipped is None]
    say.result({"files": many.facts(found, source), "data": images.name}, many.table(found))
    if lost:
        failed = MissingExtraError if all(row.missing for row in lost) else GateError
        said = f"{len(lost)} of {counted(len(found), 'file')} could not be written"
        raise failed(f"{said}; the reason of each stands above")


def _written(artefact: Artefact, census: GraphCensus) -> str:
    """The format, with its operator set where it has one, how many nodes, and what is not as in most files."""
    from exports import format_of
    from exports.artefact import OWN_WRITER

    opset = census.versions.get("opset")
    name = format_of(artefact.path).name
    writer = artefact.provenance.writer if artefact.provenance else OWN_WRITER
    by = f" written by {writer}" if writer != OWN_WRITER else ""
    batch = f", batch {artefact.batch}" if artefact.batch else ""
    return f"{name if opset is None else f'{name} opset {opset}'}, {counted(census.nodes, 'node')}{by}{batch}"


def _records(shipped: Shipped, nodes: int) -> list[Record]:
    from compress.evidence import Record

    sha256, size, told = shipped.artefact.sha256, shipped.artefact.size_bytes, shipped.artefact.provenance
    counts = [Record("size", size, unit="bytes", sha256=sha256), Record("nodes", nodes, sha256=sha256)]
    writer = [Record("writer", told.writer, sha256=sha256)] if told else []
    return [*counts, *writer, *shipped.faithful.records(sha256)]
