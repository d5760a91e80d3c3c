"""edgepress evaluate"""

from __future__ import annotations

from typing import Annotated

from cli import options


def evaluate(
    checkpoint: options.CheckpointFile,
    data: options.Data,
    task: Annotated[
        str | None, options.choice("--task", options.TASKS, help="classification or retrieval. [default: its own]")
    ] = None,
    arch: options.Arch = None,
    size: options.Size = None,
) -> None:
    """Measure a network on a test split.

    Examples:
        edgepress evaluate student.safetensors --data digits
        edgepress evaluate weights.pt --arch resnet18 --data cifar10 --json
    """
    from cli import device, parse, progress, say
    from compress.data import DataOptions
    from compress.opening import Named, open_pair

    found, images = open_pair(Named(str(checkpoint), arch or ""), data, DataOptions(size=parse.read_size(size)))
    goal = parse.read_task(task or found.card.task)
    found.network.model.to(device.chosen())
    metrics = goal.evaluate(found.network, images)
    facts = {"data": images.name, "task": goal.name, "images": len(images.test), "metrics": metrics}
    heading = f"{checkpoint}: {goal.name} on the {len(images.test):,} test images of {images.name}"
    say.result(facts, heading, *progress.metric_lines(metrics))
