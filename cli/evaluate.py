"""edgepress evaluate"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from cli import options
from compress.text import counted


def evaluate(
    file: options.AnyFile,
    data: options.Data,
    task: Annotated[
        str | None,
        options.choice("--task", options.TASKS, help="classification, retrieval or segmentation. [default: its own]"),
    ] = None,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
) -> None:
    """Measure a network, or an exported file, on a test split.

    Examples:
        edgepress evaluate student.safetensors --data digits
        edgepress evaluate student.onnx --data digits --json
        edgepress evaluate weights.pt --arch torchvision:resnet18 --data cifar10 --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25
    """
    from cli import device, parse, progress, say
    from compress.data import DataOptions
    from compress.evidence import metric_records
    from exports.opening import open_for_data

    goal, asked = parse.read_task(task), parse.read_seen(DataOptions(), seen)
    opened, images = open_for_data(parse.read_file(file, plain), data, asked)
    say.notes(images.notes)
    goal = goal or opened.task
    opened.network.model.to(device.chosen())
    found = metric_records(goal.evaluate(opened.network, images), len(images.test))
    records = [replace(record, sha256=opened.sha256) for record in found]
    facts = {"file": file, "data": images.name, "task": goal.name, "records": parse.stamped(records)}
    heading = f"{file}: {goal.name} on the {counted(len(images.test), 'test image')} of {images.name}"
    say.result(facts, heading, *progress.told(records, images.classes))
