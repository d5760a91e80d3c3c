"""What a person sees while a network trains: one line an epoch."""

from __future__ import annotations

import math
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cli import say
from compress.errors import CompressError
from compress.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from rich.table import Table

    from compress.checkpoint import Checkpoint
    from compress.evidence import Record
    from compress.training.engine import EpochReport, Progress

Result = TypeVar("Result")

CLASS = "iou_"  # begins the metric of one class


class InterruptedRunError(CompressError):
    """The user stopped a run; the message says how to go on with it."""

    exit_code = 130


def every_s() -> float:
    """Seconds between two signs of progress that a run should give: some where a bar is drawn, else none."""
    return 0.2 if say.on_terminal() else math.inf


def follow(training: Generator[EpochReport | Progress, None, Result], output: Path) -> Result:
    """What the training returns, after a line for each of its epochs and, on a terminal, a bar within the long ones.

    Args:
        training: Yields a report an epoch, and may yield how far the epoch is in between.
        output: What it will write, for the message when it is interrupted.

    Raises:
        InterruptedRunError: Ctrl-C.
    """
    from compress.training.engine import Progress

    shown = output.name
    with _bar() as draw, closing(training):  # what it has in memory is written, whatever ends it early
        try:
            while True:
                report = next(training)
                if isinstance(report, Progress):
                    draw(report)
                    continue
                draw(None)
                if report.output != shown:
                    shown = report.output
                    say.line(f"{shown}:", bold=True)
                say.line(_line(report))
        except StopIteration as end:
            result: Result = end.value
            return result
        except KeyboardInterrupt as error:
            raise InterruptedRunError(
                f"interrupted on the way to {output}; what was kept last is beside it: repeat the command with "
                "--resume to go on"
            ) from error


@contextmanager
def _bar() -> Iterator[Callable[[Progress | None], None]]:
    """A `with` that gives what draws a bar, or with None wipes it away; where nobody watches, it does neither."""
    if not say.on_terminal():
        yield lambda _progress: None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=say.console(err=True), transient=True, redirect_stdout=False)
    task = bar.add_task("")

    def draw(progress: Progress | None) -> None:
        if progress is None:
            bar.stop()
            bar.reset(task)
            return
        about = printable(f"{progress.phase:<12} {progress.epoch:>3}/{progress.epochs}")
        bar.update(task, description=about, completed=progress.images, total=progress.of)
        bar.start()

    try:
        yield draw
    finally:
        bar.stop()


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
    """Print the test metrics of the last step and where the checkpoint is; nothing but in the process that wrote it.

    Args:
        checkpoint: The result.
        output: Its file.
        before: The file's `stamp` before the command.
    """
    from compress.processes import is_main

    if not is_main():
        return
    found = _records(checkpoint.card.lineage[-1], output)
    facts = {"output": output, "records": [record.to_dict() for record in found]}
    say.result(facts, *told(found, checkpoint.card.classes), written(output, before))


def _records(step: Mapping[str, Any], output: Path) -> list[Record]:
    """The test metrics of a step of the lineage, which says what gave them, as records of the file."""
    from compress.evidence import file_digest, metric_records

    made = {"command": step["command"], "seed": step["seed"], "environment": step["versions"]}
    found, digest = metric_records(step["metrics"], step["data"].get("test_images")), file_digest(output)
    return [replace(record, sha256=digest, **made) for record in found]


def written(output: Path, before: tuple[int, int] | None) -> str:
    """Where a result is, or that it was finished before the command and there was nothing to resume."""
    finished = before is not None and before == stamp(output)
    return f"already finished: {output}; there was nothing to resume" if finished else f"written: {output}"


def told(records: Sequence[Record], classes: Sequence[str]) -> list[str | Table]:
    """The test metrics in percent, one a line, with their interval if there is one; those of classes in a table."""
    whole = [record for record in records if not record.quantity.startswith(CLASS)]
    if len(whole) == len(records):
        return [*map(_metric, whole)]
    found = {record.quantity.removeprefix(CLASS): record.value for record in records}
    rows = [(name, _percent(found[name]) if name in found else "neither there nor predicted") for name in classes]
    return [*map(_metric, whole), say.table(("class", "IoU %"), rows)]


def _metric(record: Record) -> str:
    said = f"{record.quantity} {_percent(record.value)} %"
    return said if record.low is None else f"{said}  [95 %: {_percent(record.low)} to {_percent(record.high)}]"


def _percent(share: float | str | None) -> str:
    assert isinstance(share, int | float)
    return f"{100 * share:.2f}"
