"""`edgepress benchmark`: what a file costs and what it still knows, beside another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options


def benchmark(
    file: Annotated[Path, typer.Argument(help="An .onnx file, or a .safetensors checkpoint.")],
    against: Annotated[Path | None, typer.Option(help="Another one to hold it against, such as its teacher.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set whose test split gives the accuracy; none: no accuracy.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write everything that was measured to this file.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the runtime.")] = 1,
    sessions: Annotated[int, typer.Option(min=2, help="How often each file is opened anew.")] = 8,
    rounds: Annotated[int, typer.Option(min=10, help="How often each session has its turn.")] = 30,
    force: options.Force = False,
) -> None:
    """Measure a file against another.

    Size, accuracy and latency, the two in turn and in one runtime; a checkpoint is exported for it. Faster or slower is
    said only where wall time and CPU time agree on it.
    """
    from rich.console import Console

    from benchmarks.bench import Protocol, compare
    from benchmarks.pages import terminal
    from compress.files import check_target
    from compress.text import printable

    if json is not None:
        check_target(json, force=force, inputs=(file, *((against,) if against else ())))
    console, errors = Console(), Console(stderr=True)
    with errors.status("benchmark") as status:
        protocol = Protocol(threads=threads, sessions=sessions, rounds=rounds)
        document = compare(file, against, data=data, protocol=protocol, say=status.update)
    console.print(terminal.render(document, console))
    if json is not None:
        terminal.save(document, json, force=force)
        typer.echo(f"wrote {printable(str(json))}")
