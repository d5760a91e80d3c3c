"""`edgepress benchmark`: what files cost and what they still know, beside one of them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options
from cli.claims import NO_CLAIM, Claimed, read_claimed
from cli.conditions import AT_REST, Conditions, read_protocol
from cli.explained import explanation
from compress.text import counted

if TYPE_CHECKING:
    from benchmarks.bench import Comparison
    from benchmarks.claims import Verdict
    from compress.named import Named

DOCUMENT = ".json"


def benchmark(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Checkpoints, exported files, folders of exported files, or with --arch a plain state dict. Of "
            "several the first is the baseline that the others are held against.",
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="The baseline, such as the teacher; then FILE is none."),
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
            metavar="BENCH.json",
            parser=options.file_name,
            help="Write everything that was measured to this file, as JSON, and the raw samples beside it.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    threads: Annotated[
        int, options.whole("--threads", 1, help="CPU threads of the runtime.", group=options.CONDITIONS)
    ] = 1,
    sessions: Annotated[
        int, options.whole("--sessions", 2, help="How often each file is opened anew.", group=options.CONDITIONS)
    ] = 8,
    rounds: Annotated[
        int, options.whole("--rounds", 10, help="How often each session has its turn.", group=options.CONDITIONS)
    ] = 20,
    conditions: Conditions = AT_REST,
    explain: Annotated[
        bool,
        options.switch("--explain", help="Also say where the time of each .onnx file goes, and what to do about it."),
    ] = False,
    claimed: Claimed = NO_CLAIM,
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
    """Measure files, and hold them against one of them.

    Size, accuracy and latency, all in turn; a checkpoint is exported to ONNX for it. Faster or slower is said only
    where wall time and CPU time agree on it, and where it stands out from the noise of the machine, which is measured
    too: the baseline against itself. What a verdict on two files would have seen is by the spread of these two, and so
    another number than that noise floor. Claims are met only where the whole interval lies within the bound.

    Examples:
        edgepress benchmark a.onnx b.tflite --minutes 10 --fps 30
        edgepress benchmark student.onnx --against teacher.safetensors --data digits -o bench.json
        edgepress benchmark teacher.safetensors dist/ --data fashion-mnist --max-size 28KB --min-speedup 14.89
    """
    from benchmarks.bench import compare
    from benchmarks.claims import check
    from benchmarks.document import digest
    from benchmarks.pages import terminal
    from benchmarks.samples import pack, samples_path
    from cli import parse, say
    from compress.data import DataOptions

    given = _given(files, plain, against, against_arch)
    baseline = len(given) - 1 if against is not None else 0 if len(given) > 1 else None
    claims = read_claimed(claimed, paired=baseline is not None, scored=data is not None)
    _check_targets(output, given, force)
    asked = parse.read_seen(DataOptions(), seen)
    protocol = read_protocol(conditions, threads=threads, sessions=sessions, rounds=rounds)
    with say.doing("benchmark") as update:
        found = compare(
            given,
            baseline=baseline,
            data=data,
            options=asked,
            protocol=protocol,
            command=parse.command_line(),
            explained=explain,
            say=update,
        )
    verdicts = check(found.document, claims)
    found.document["claims"] = [one.to_dict() for one in verdicts]
    raw = pack({at: one.raw for at, one in found.measured.items()})
    if output is not None:
        found.document["samples"] = {"file": samples_path(output).name, "sha256": sha256(raw).hexdigest()}
        found.document["digest"] = digest(found.document)
    console = say.console()
    drawn = [terminal.render(found.document, console), *explanation(found.document, console)]
    say.result(found.document, *drawn, *terminal.claim_lines(found.document))
    if output is not None:
        _save(found, raw, output, force)
    _end(found, verdicts)


def _given(files: list[Path], plain: options.Plain, against: Path | None, against_arch: str | None) -> list[Named]:
    """Every file that was named, and those of a folder but the baseline; that is the last where it was named apart."""
    from cli import parse
    from cli.many import shipped_files
    from cli.typed import refuse
    from compress.named import Named

    base = against or files[0]
    there = base.exists()
    paths = [one for path in files for one in shipped_files(path) if one == path or not (there and one.samefile(base))]
    found = [parse.read_file(one, plain) for one in paths]
    if against is not None:
        return [*found, Named(str(against), against_arch or "")]
    refuse(["--against-arch"], "there is no --against whose network it names; that of FILE is --arch")
    return found


def _check_targets(output: Path | None, given: list[Named], force: bool) -> None:
    """Nothing, once document and samples may be written; OutputError otherwise."""
    from benchmarks.samples import samples_path
    from compress.errors import OutputError
    from compress.files import check_target

    if output is not None:
        if output.suffix != DOCUMENT:
            drawn = " (the page of it is drawn by `edgepress report`)" if output.suffix == ".html" else ""
            raise OutputError(f"{output}: a benchmark is written as {DOCUMENT}{drawn}; give a name that ends so")
        for path in (output, samples_path(output)):
            check_target(path, force=force, inputs=[Path(one.name) for one in given])


def _save(found: Comparison, raw: bytes, output: Path, force: bool) -> None:
    """Write the raw samples, and then the document, which has their digest."""
    from benchmarks.document import save
    from benchmarks.samples import samples_path
    from cli import say
    from compress.files import write_whole

    def write(staged: Path) -> None:
        staged.write_bytes(raw)

    path = samples_path(output)
    write_whole(path, write, force=force)
    save(found.document, output, force=force)
    say.line(f"written: {output}, {path}")


def _end(found: Comparison, verdicts: list[Verdict]) -> None:
    """Nothing, where all files were measured and all claims shown; GateError otherwise."""
    from compress.errors import GateError

    counts = {held: sum(one.held == held for one in verdicts) for held in ("broken", "not shown")}
    left_out = sum(bool(file["reason"]) for file in found.document["files"])
    said = [f"{count} of {counted(len(verdicts), 'claim')} {held}" for held, count in counts.items() if count]
    if left_out:
        said.append(f"{left_out} of {counted(len(found.document['files']), 'file')} could not be measured")
    if said:
        raise GateError("; ".join(said))
