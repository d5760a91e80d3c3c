"""edgepress card"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.cards.known import Known


def card(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An exported file, or a folder of these: a set of cards for each.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            parser=options.folder_name,
            help="Of the cards.",
            rich_help_panel=options.OUTPUT,
        ),
    ],
    bench: Annotated[
        Path | None,
        typer.Option(
            "--bench",
            metavar="BENCH.json",
            help="What `edgepress benchmark -o` wrote of it. [default: one that lies beside the file]",
        ),
    ] = None,
    force: options.Force = False,
) -> None:
    """Write what others read of a file: an ML-BOM, a test result, a model card.

    bom.cdx.json is CycloneDX 1.7, test-result.intoto.json an in-toto statement over the SHA-256 of the file, README.md
    a model card of Hugging Face with its model-index. All numbers are those of the benchmark, where there is one; what
    is not known is left out.

    Examples:
        edgepress card dist/ -o cards
        edgepress card student.onnx --bench bench.json -o cards
    """
    from benchmarks.cards.known import look
    from benchmarks.cards.writing import cards, write
    from cli import say
    from cli.many import shipped_files
    from compress.files import check_target

    _check_file(file)
    paths = shipped_files(file)
    check_target(output, force=force, inputs=(file,), folder=True)
    found = [look(path, bench) for path in paths]
    _check_measured(found, bench)
    written = {one.name: cards(one) for one in found}
    write(output, written, force=force)
    facts = {
        name: {"files": list(texts), "bench": one.bench.name if one.bench else None}
        for one, (name, texts) in zip(found, written.items(), strict=True)
    }
    say.result(
        {"folder": output, "cards": facts},
        *(f"{output / name}: {', '.join(texts)}" for name, texts in written.items()),
    )


def _check_file(file: Path) -> None:
    """Nothing, unless a benchmark was given where a file is due; DataError then."""
    from benchmarks.document import is_benchmark
    from compress.errors import DataError

    if is_benchmark(file):
        raise DataError(
            f"{file}: is a benchmark, and cards are about a file; give a file that it measured, or a folder of these, "
            f"and add --bench {file}"
        )


def _check_measured(found: Sequence[Known], bench: Path | None) -> None:
    """Nothing, once the benchmark that was named measured one of the files; a note where a file was not measured."""
    from cli import say
    from compress.errors import DataError

    if bench is not None and not any(one.bench for one in found):
        names = ", ".join(one.name for one in found)
        raise DataError(f"{bench}: measured no file with the bytes of {names}; measure it: edgepress benchmark")
    for one in found:
        if one.bench is None:
            say.notes([f"{one.name}: no benchmark measured it; its cards say only what the file itself says"])
