"""edgepress demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write.")] = Path("demo"),
    seed: options.Seed = 0,
    force: options.Force = False,
) -> None:
    """Run the main job on the digits.

    They ship with edgepress: a teacher, a student, an .onnx file and its benchmark.
    """
    from cli import benchmark, distill, export, train
    from compress.files import check_target

    output.mkdir(parents=True, exist_ok=True)
    teacher, student = output / "teacher.safetensors", output / "student.safetensors"
    exported, report = output / "student.onnx", output / "benchmark.json"
    made = (teacher, output / "student.auxiliary.safetensors", student, exported, report)
    for path in made:
        check_target(path, force=force)
    typer.echo("Each step is a command of its own; after an interruption, `edgepress demo --force` begins anew.")
    _say(f"edgepress train resnet18 --data digits -o {teacher} --epochs 6 --schedule cosine --seed {seed}")
    train.train("resnet18", "digits", teacher, epochs=6, schedule="cosine", seed=seed, force=force)
    _say(
        f"edgepress distill {teacher} --student cnn-s --method indistill --data digits -o {student} "
        f"--epochs 60 --auxiliary-epochs 20 --batch-size 64 --seed {seed}"
    )
    distill.distill(teacher, "digits", student, epochs=60, auxiliary_epochs=20, batch_size=64, seed=seed, force=force)
    _say(f"edgepress export {student} -o {exported}")
    export.export(student, exported, force=force)
    _say(f"edgepress benchmark {exported} --against {teacher} --data digits --json {report}")
    benchmark.benchmark(exported, against=teacher, data="digits", json=report, force=force)
    typer.echo("\nwritten:\n" + "\n".join(f"  {path}" for path in made))


def _say(command: str) -> None:
    typer.secho(f"\n$ {command}", bold=True)
