"""What the engine adds to an epoch, against the same training written by hand: `python -m benchmarks.speed.epochs`.

Four phases of cnn-s beside cnn-a (map1, map3, PKT on the embedding, cross-entropy), each as the engine runs it and as a
plain loop that does nothing but train. The two take turns, epoch by epoch, in one process; the process's CPU time is
what counts, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks import script
from benchmarks.document import save
from benchmarks.measure.rounds import Samples, ratio_over_rounds
from compress import evidence
from compress.data import DataOptions, Dataset, load
from compress.files import check_target
from compress.losses import cross_entropy_loss, feature_loss, pkt_loss
from compress.models import Architecture, build
from compress.models.cnn import ConvNet
from compress.phase import LABELS, OPTIMIZERS, Fit, Loss, Phase, Ref, S, T, Term
from compress.pruning import narrow_taps
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import EpochReport, Run, run
from compress.training.memory import keep_memory

SCHEMA = "edgepress-speed-epochs/1"
BATCH_SIZE = 128
AUGMENT = ("flip", "crop")
GOALS = {"map1": 1.15, "map3": 1.05, "pkt": 1.05, "ce": 1.05}
TERMS: dict[str, tuple[Loss, Ref, Ref]] = {
    "map1": (feature_loss, S("map1"), T("map1")),
    "map3": (feature_loss, S("map3"), T("map3")),
    "pkt": (pkt_loss, S("embedding"), T("embedding")),
    "ce": (cross_entropy_loss, S("logits"), LABELS),
}


def compare(data: str, *, fraction: float = 1.0, rounds: int = 7) -> dict[str, Any]:
    """The measurement as JSON-able data.

    Keys: `schema`, `machine`, `threads` (of torch), `data`, `images` (an epoch), `batch_size`, `augment`, `rounds`, and
    `phases`: name to the seconds of CPU that an epoch takes in the engine and by hand (medians), their `ratio` (value,
    low, high: a bootstrap over the rounds), the `goal` and whether it is `met`.

    Args:
        data: Name or path of a data set.
        fraction: Share of its training images to use.
        rounds: Epochs of each that are timed, after one that is not.
    """
    where = evidence.describe()
    keep_memory()
    images = load(data, DataOptions(augment=AUGMENT, fraction=fraction))
    phases = {}
    for name, goal in GOALS.items():
        seconds = _seconds({"engine": _engine(name, images, rounds + 1), "by_hand": _by_hand(name, images)}, rounds)
        found = ratio_over_rounds(Samples(seconds["engine"]), Samples(seconds["by_hand"]))
        medians = {f"{side}_s": float(np.median(values)) for side, values in seconds.items()}
        phases[name] = {**medians, "ratio": asdict(found), "goal": goal, "met": found.value <= goal}
    return {
        "schema": SCHEMA,
        "machine": where,
        "threads": torch.get_num_threads(),
        "data": images.name,
        "images": len(images.train),
        "batch_size": BATCH_SIZE,
        "augment": list(AUGMENT),
        "rounds": rounds,
        "phases": phases,
    }


def main(
    data: Annotated[str, typer.Option(help="A data set by name, or a folder.")] = "fashion-mnist",
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    fraction: Annotated[float, typer.Option(help="Share of the training images.")] = 0.1,
    rounds: Annotated[int, typer.Option(min=2, help="Timed epochs of each, in turn.")] = 15,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Time epochs of the engine against the same training written by hand."""
    if json is not None:
        check_target(json, force=force)
    torch.set_num_threads(1)
    result = compare(data, fraction=fraction, rounds=rounds)
    for name, phase in result["phases"].items():
        found = phase["ratio"]
        typer.echo(
            f"{name:<5} {phase['engine_s']:.3f} s, by hand {phase['by_hand_s']:.3f} s: {found['value']:.3f}x "
            f"[{found['low']:.3f}, {found['high']:.3f}]; goal at most {phase['goal']}x: "
            f"{'met' if phase['met'] else 'missed'}"
        )
    if json is not None:
        save(result, json, force=force)


def _seconds(epochs: dict[str, Iterator[None]], rounds: int) -> dict[str, np.ndarray]:
    """CPU seconds of each timed epoch, (rounds, 1), by name; the order of the two alternates."""
    taken: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(rounds + 1):
        for name in list(epochs)[:: -1 if turn % 2 else 1]:
            start = time.process_time()
            next(epochs[name])
            taken[name].append(time.process_time() - start)
    return {name: np.asarray(values[1:])[:, None] for name, values in taken.items()}


def _networks(images: Dataset) -> tuple[Staged, Staged]:
    shape = (len(images.classes), images.see.channels, images.see.size)
    student, auxiliary = (build(Architecture(name, *shape)) for name in ("cnn-s", "cnn-a"))
    return student, narrow_taps(auxiliary, {name: student.width(name) for name in student.body})


def _engine(name: str, images: Dataset, epochs: int) -> Iterator[None]:
    student, teacher = _networks(images)
    loss, *args = TERMS[name]
    fit = Fit(epochs, OPTIMIZERS["adam"](1e-3), (1.0,) * epochs, batch_size=BATCH_SIZE)
    phase = Phase(name, (Term(loss, tuple(args), 1.0, name),), fit)
    for report in run([phase], student, images, Run(CLASSIFICATION), teacher=teacher):
        if isinstance(report, EpochReport):
            yield


def _by_hand(name: str, images: Dataset) -> Iterator[None]:
    """An epoch a step: what one would write who wants nothing but this phase of these two networks."""
    student, teacher = _networks(images)
    for model in (student.model, teacher.model):
        model.to(memory_format=torch.channels_last)
    see = _seers(student, teacher)[name]
    loss, parameters = TERMS[name][0], list(student.model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    student.model.train()
    teacher.model.eval()
    for epoch in itertools.count():
        for batch in images.train.batches(BATCH_SIZE, order=epoch, view=epoch):
            image = student.scale(batch.image).to(memory_format=torch.channels_last)
            value = loss(*see(image, batch.target))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        yield


def _seers(student: Staged, teacher: Staged) -> dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    """Phase to a function from a batch to what its loss takes, with no module run that is not needed."""
    small, large = student.model, teacher.model
    assert isinstance(small, ConvNet)
    assert isinstance(large, ConvNet)

    def maps(blocks: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        kept = teacher.keep[f"map{blocks}"]

        def see(image: Tensor, _labels: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                target = large.blocks[:blocks](image).index_select(1, kept)
            return small.blocks[:blocks](image), target

        return see

    def embeddings(image: Tensor, _labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            target = large.embedding(large.blocks(image))
        return small.embedding(small.blocks(image)), target

    return {"map1": maps(1), "map3": maps(3), "pkt": embeddings, "ce": lambda image, labels: (small(image), labels)}


if __name__ == "__main__":
    script.run(main)
