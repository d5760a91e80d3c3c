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

    They ship with edgepress: a teacher, a student, an .onnx file and its benchmark.

    Examples:
        edgepress demo
        edgepress demo -o elsewhere --force
    """
    from benchmarks.samples import samples_path
    from cli import say
    from compress.files import check_target

    output.mkdir(parents=True, exist_ok=True)
    names = ("teacher", "student.auxiliary", "student")
    made = [*(output / f"{name}.safetensors" for name in names), output / "student.onnx"]
    report = output / "benchmark.json"
    made += [report, samples_path(report)]
    for path in made:
        check_target(path, force=force)
    say.line("Each step is a command of its own; after an interruption, `edgepress demo --force` begins anew.")
    steps = [_timed(command, run) for command, run in _steps(output, seed, force).items()]
    say.result({"steps": steps, "written": made}, "", "written:", *(f"  {path}" for path in made))


def _steps(folder: Path, seed: int, force: bool) -> dict[str, Callable[[], None]]:
    """Each command as one would type it, and the very call that it makes."""
    from cli import benchmark, distill, export, train

    teacher, student = folder / "teacher.safetensors", folder / "student.safetensors"
    exported, report = folder / "student.onnx", folder / "benchmark.json"
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
        f"edgepress export {student} -o {exported}": partial(export.export, student, exported, force=force),
        f"edgepress benchmark {exported} --against {teacher} --data digits -o {report}": partial(
            benchmark.benchmark, [exported], against=teacher, data="digits", output=report, force=force
        ),
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
