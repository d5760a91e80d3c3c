"""What a person sees while a network trains: one line an epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from compress.errors import CompressError

if TYPE_CHECKING:
    from collections.abc import Generator

    from compress.checkpoint import Checkpoint
    from compress.training.engine import EpochReport, Progress

Result = TypeVar("Result")


class InterruptedRunError(CompressError):
    """The user stopped a run; the message says how to go on with it."""

    exit_code = 130


def follow(training: Generator[EpochReport | Progress, None, Result], output: Path) -> Result:
    """What the training returns, after a line on the terminal for each of its epochs.

    Args:
        training: Yields a report an epoch.
        output: What it will write, for the message when it is interrupted.

    Raises:
        InterruptedRunError: Ctrl-C.
    """
    from compress.training.engine import Progress

    shown = output.name
    try:
        while True:
            report = next(training)
            if isinstance(report, Progress):
                continue
            if os.environ.get("RANK", "0") == "0":
                if report.output != shown:
                    shown = report.output
                    typer.secho(f"{shown}:", bold=True)
                typer.echo(_line(report))
    except StopIteration as end:
        result: Result = end.value
        return result
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"interrupted on the way to {output}; every finished epoch is kept: repeat the command with --resume to "
            "go on"
        ) from error


def duration(seconds: float) -> str:
    """Seconds as "1:02:03" or "2:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _line(report: EpochReport) -> str:
    losses = "  ".join(f"{name} {value:.4g}" for name, value in report.losses.items())
    score = "" if report.score is None else f"{report.metric} {100 * report.score:.2f} %  "
    return (
        f"{report.phase:<12} {report.epoch:>3}/{report.epochs}  {losses}  {score}"
        f"{report.images_per_s:,.0f} images/s  {duration(report.seconds_left)} left"
    )


def stamp(output: Path) -> tuple[int, int] | None:
    """What changes whenever a file is written anew; None where there is none."""
    if not output.exists():
        return None
    facts = output.stat()
    return facts.st_ino, facts.st_mtime_ns


def say_result(checkpoint: Checkpoint, output: Path, before: tuple[int, int] | None) -> None:
    """Print the test metrics of the last step and where the checkpoint is.

    Args:
        checkpoint: The result.
        output: Its file.
        before: The file's `stamp` before the command.
    """
    say_metrics(checkpoint.card.lineage[-1].get("metrics", {}))
    say_written(output, before)


def say_written(output: Path, before: tuple[int, int] | None) -> None:
    """Print where a result is, or that it was finished before the command and there was nothing to resume."""
    finished = before is not None and before == stamp(output)
    typer.echo(f"already finished: {output}; there was nothing to resume" if finished else f"written: {output}")


def say_metrics(metrics: dict[str, float]) -> None:
    """Print the test metrics, in percent."""
    for name, value in metrics.items():
        if f"{name}_low" in metrics:
            low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
            typer.echo(f"{name} {100 * value:.2f} %  [95 %: {100 * low:.2f} to {100 * high:.2f}]")
        elif not name.endswith(("_low", "_high")):
            typer.echo(f"{name} {100 * value:.2f} %")
