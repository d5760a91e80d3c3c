"""`edgepress benchmark`: what a file costs and what it still knows, beside another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options


def benchmark(
    file: options.AnyFile,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="Another one to hold it against, such as its teacher."),
    ] = None,
    data: Annotated[
        str | None,
        options.choice(
            "--data",
            options.DATA_SETS,
            help="Data set whose test split gives the accuracy; none: no accuracy.",
            group=options.DATA,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            parser=options.file_name,
            help="Write everything that was measured to this file, as JSON.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    threads: Annotated[int, options.whole("--threads", 1, help="CPU threads of the runtime.")] = 1,
    sessions: Annotated[int, options.whole("--sessions", 2, help="How often each file is opened anew.")] = 8,
    rounds: Annotated[int, options.whole("--rounds", 10, help="How often each session has its turn.")] = 30,
    plain: options.Plain = options.NO_CARD,
    against_arch: Annotated[
        str | None,
        options.choice(
            "--against-arch",
            options.NETWORKS,
            help="The network, where --against is a plain torch state dict.",
            group=options.NETWORK,
        ),
    ] = None,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    force: options.Force = False,
) -> None:
    """Measure a file against another.

    Size, accuracy and latency, the two in turn; a checkpoint is exported to ONNX for it. Faster or slower is
    said only where wall time and CPU time agree on it.

    Examples:
        edgepress benchmark student.onnx --data digits
        edgepress benchmark student.onnx --against teacher.safetensors --data digits -o bench.json
        edgepress benchmark weights.pt --arch torchvision:resnet18 --data cifar10
    """
    from benchmarks.bench import Protocol, compare
    from benchmarks.pages import terminal
    from cli import parse, say
    from compress.data import DataOptions
    from compress.files import check_target
    from compress.opening import Named

    if output is not None:
        check_target(output, force=force, inputs=(file, *((against,) if against else ())))
    own, asked = parse.read_file(file, plain), parse.read_seen(DataOptions(), seen)
    other = None if against is None else Named(str(against), against_arch or "")
    with say.doing("benchmark") as update:
        protocol = Protocol(threads=threads, sessions=sessions, rounds=rounds)
        document = compare(own, other, data=data, options=asked, protocol=protocol, say=update)
    say.result(document, terminal.render(document, say.console()))
    if output is not None:
        terminal.save(document, output, force=force)
        say.line(f"written: {output}")
