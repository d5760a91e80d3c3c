"""edgepress demo"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from cli import options


def demo(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where to write.", rich_help_panel=options.OUTPUT),
    ] = Path("demo"),
    seed: options.Seed = 0,
    force: options.Force = False,
) -> None:
    """Run the main job on the digits.

    They ship with edgepress: a teacher, a student and a pruned network, files of both, their benchmark with claims, and
    a page about it.

    Examples:
        edgepress demo
        edgepress demo -o elsewhere --force
    """
    from benchmarks.samples import samples_path
    from cli import say
    from compress.files import check_target

    output.mkdir(parents=True, exist_ok=True)
    bench = output / "benchmark.json"
    names = ("teacher", "student.auxiliary", "student", "pruned")
    files = [*(output / f"{name}.safetensors" for name in names), bench, samples_path(bench), output / "report.html"]
    for path in files:
        check_target(path, force=force)
    check_target(output / "dist", force=force, folder=True)
    say.line("Each step is a command of its own; after an interruption, `edgepress demo --force` begins anew.")
    steps = [_timed(command, run) for command, run in _steps(output, seed, force).items()]
    made = [*files[:-1], *sorted((output / "dist").glob("*")), files[-1]]
    say.result({"steps": steps, "written": made}, "", "written:", *(f"  {path}" for path in made))


def _steps(folder: Path, seed: int, force: bool) -> dict[str, Callable[[], None]]:
    """Each command as one would type it, and the very call that it makes."""
    from cli import benchmark, distill, export, prune, report, train
    from cli.claims import Claimed

    teacher, student, pruned = (folder / f"{name}.safetensors" for name in ("teacher", "student", "pruned"))
    dist, bench, page = folder / "dist", folder / "benchmark.json", folder / "report.html"
    return {
        f"edgepress train torchvision:resnet18 --data digits -o {teacher} --epochs 6 --schedule cosine "
        f"--seed {seed}": partial(
            train.train, "torchvision:resnet18", "digits", teacher, epochs=6, schedule="cosine", seed=seed, force=force
        ),
        f"edgepress distill {teacher} --student cnn-s --method indistill --data digits -o {student} "
        f"--epochs 60 --auxiliary-epochs 20 --batch-size 64 --seed {seed}": partial(
            distill.distill,
            teacher,
            "digits",
            student,
            epochs=60,
            auxiliary_epochs=20,
            batch_size=64,
            seed=seed,
            force=force,
        ),
        f"edgepress prune {teacher} --ratio 0.75 --epochs 2 --no-timing --data digits -o {pruned} "
        f"--seed {seed}": partial(
            prune.prune, teacher, "digits", pruned, ratio=0.75, epochs=2, no_timing=True, seed=seed, force=force
        ),
        f"edgepress export {student} --to onnx,litert --precision fp32,w8 --data digits -o {dist}": partial(
            export.export, student, dist, to="onnx,litert", precision="fp32,w8", data="digits", force=force
        ),
        f"edgepress export {pruned} -o {dist / 'pruned.onnx'}": partial(
            export.export, pruned, dist / "pruned.onnx", force=force
        ),
        f"edgepress benchmark {teacher} {dist} --data digits --max-size 3MB --min-speedup 5 --min-accuracy 80 "
        f"-o {bench}": partial(
            benchmark.benchmark,
            [teacher, dist],
            data="digits",
            output=bench,
            claimed=Claimed(max_size=3_000_000, min_speedup=5.0, min_accuracy=80.0),
            force=force,
        ),
        f"edgepress report {bench} -o {page}": partial(report.report, bench, output=page, force=force),
    }


def _timed(command: str, run: Callable[[], None]) -> dict[str, Any]:
    """What the step came to: command, seconds, result."""
    from cli import say
    from cli.progress import duration
    from cli.typed import typed

    say.line("")
    say.line(f"$ {command}", bold=True)
    start = perf_counter()
    with say.as_step() as results, typed(()):
        run()
    seconds = perf_counter() - start
    say.line(f"({duration(seconds)})")
    return {"command": command, "seconds": seconds, "result": results[0] if results else None}
