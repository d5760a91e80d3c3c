"""What cached stages save: `python -m benchmarks.speed.stages`.

Stagewise, resnet10 from resnet34 at 64 px, every phase as long: once from tables of a few views that return, once from
the same images with nothing kept. The two take turns, epoch by epoch, in one process; its CPU time is what counts,
from the check of the plan to the last weight, the making of the tables included.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import script
from benchmarks.document import save
from benchmarks.measure.rounds import Samples, ratio_over_rounds
from compress import evidence
from compress.data import DataOptions, Dataset, load
from compress.files import check_target
from compress.models import Architecture, build
from compress.phase import OPTIMIZERS, Fit, Lesson
from compress.recipes import read_method
from compress.tasks import CLASSIFICATION
from compress.training.engine import EpochReport, Run, run
from compress.training.memory import keep_memory

SCHEMA = "edgepress-speed-stages/1"
NETWORKS = ("resnet10", "resnet34")
AUGMENT = ("flip",)
GOAL = 6.0
PLAIN, CACHED = "plain", "cached"
CACHE_BYTES = {PLAIN: 0, CACHED: 4 * 10**9}


def compare(data: str, fit: Fit, *, fraction: float = 1.0, side: int = 64, rounds: int = 3) -> dict[str, Any]:
    """The measurement as JSON-able data.

    Keys: `schema`, `machine`, `threads` (of torch), `data`, `images` (an epoch), `side`, `epochs` (of each phase),
    `views`, `batch_size`, `rounds`, `phases`: name to the seconds of CPU that it takes plain and cached, and in the
    last cached epoch (medians over the rounds); `plain_s` and `cached_s` of whole runs (medians), their `ratio` (value,
    low, high: a bootstrap over the rounds), the `goal` and whether it is `met`.

    Args:
        data: Name or path of a data set.
        fit: Of each phase.
        fraction: Share of its training images to use.
        side: Of the images, in pixels.
        rounds: Whole runs of each.
    """
    where = evidence.describe()
    keep_memory()
    images = load(data, DataOptions(augment=AUGMENT, fraction=fraction, size=(side, side)))
    taken = [_round(images, fit, number) for number in range(rounds)]
    seconds = {kind: np.asarray([sum(map(sum, one[kind].values())) for one in taken]) for kind in CACHE_BYTES}
    found = ratio_over_rounds(Samples(seconds[PLAIN][:, None]), Samples(seconds[CACHED][:, None]))
    phases = {
        name: {
            **{f"{kind}_s": float(np.median([sum(one[kind][name]) for one in taken])) for kind in CACHE_BYTES},
            "last_cached_s": float(np.median([one[CACHED][name][-1] for one in taken])),
        }
        for name in taken[0][PLAIN]
    }
    return {
        "schema": SCHEMA,
        "machine": where,
        "threads": torch.get_num_threads(),
        "data": images.name,
        "images": len(images.train),
        "side": side,
        "epochs": fit.epochs,
        "views": fit.views,
        "batch_size": fit.batch_size,
        "rounds": rounds,
        "phases": phases,
        **{f"{kind}_s": float(np.median(values)) for kind, values in seconds.items()},
        "ratio": asdict(found),
        "goal": GOAL,
        "met": found.value >= GOAL,
    }


def main(
    data: Annotated[str, typer.Option(help="A data set by name, or a folder.")] = "imagenette",
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    fraction: Annotated[float, typer.Option(help="Share of the training images.")] = 0.1,
    epochs: Annotated[int, typer.Option(min=1, help="Of each of the six phases.")] = 20,
    views: Annotated[int, typer.Option(min=1, help="Views that are replayed.")] = 2,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 128,
    side: Annotated[int, typer.Option(min=32, help="Of the images, in pixels.")] = 64,
    rounds: Annotated[int, typer.Option(min=2, help="Whole runs of each.")] = 3,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Time stages that are trained from tables against the same stages trained from images."""
    if json is not None:
        check_target(json, force=force)
    torch.set_num_threads(1)
    fit = Fit(epochs, OPTIMIZERS["adam"](1e-3), (1.0,) * epochs, batch_size=batch_size, views=views)
    result = compare(data, fit, fraction=fraction, side=side, rounds=rounds)
    for name, phase in result["phases"].items():
        typer.echo(f"{name:<7} plain {phase['plain_s']:.2f} s, cached {phase['cached_s']:.2f} s")
    found = result["ratio"]
    typer.echo(
        f"in all {result['plain_s']:.1f} s, cached {result['cached_s']:.1f} s: {found['value']:.2f}x "
        f"[{found['low']:.2f}, {found['high']:.2f}]; goal at least {GOAL:g}x: {'met' if result['met'] else 'missed'}"
    )
    if json is not None:
        save(result, json, force=force)


def _round(images: Dataset, fit: Fit, number: int) -> dict[str, dict[str, list[float]]]:
    """Kind to phase to the CPU seconds of each of its epochs; the order of the two alternates."""
    kinds = list(CACHE_BYTES)[:: -1 if number % 2 else 1]
    ahead = {kind: _epochs(images, fit, CACHE_BYTES[kind]) for kind in kinds}
    taken: dict[str, dict[str, list[float]]] = {kind: {} for kind in CACHE_BYTES}
    while ahead:
        for kind in list(ahead):
            start = time.process_time()
            phase = next(ahead[kind], None)
            spent = time.process_time() - start
            if phase is None:
                del ahead[kind]
            else:
                taken[kind].setdefault(phase, []).append(spent)
    return taken


def _epochs(images: Dataset, fit: Fit, cache_bytes: int) -> Iterator[str]:
    """The phase of each epoch, once that is over."""
    shape = (len(images.classes), images.see.channels, images.see.size)
    student, teacher = (
        replace(build(Architecture(name, *shape), seed=seed), scale=images.scale) for seed, name in enumerate(NETWORKS)
    )
    lesson = Lesson(student, teacher, CLASSIFICATION, len(images.train), len(images.classes), 0)
    method = read_method("stagewise", {})
    whole = fit.over(fit.epochs * method.fewest_epochs(student))
    reports = run(
        method.phases(lesson, whole), student, images, Run(CLASSIFICATION, cache_bytes=cache_bytes), teacher=teacher
    )
    for report in reports:
        if isinstance(report, EpochReport):
            yield report.phase


if __name__ == "__main__":
    script.run(main)
