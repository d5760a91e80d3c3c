"""edgepress train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options


def train(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="See `edgepress networks`; also timm:NAME, or FILE.py:FACTORY for one of your own.",
            autocompletion=options.completed(options.NETWORKS),
        ),
    ],
    data: options.Data,
    output: options.Output,
    task: options.TaskName = None,
    epochs: options.Epochs = 70,
    lr: options.Rate = 1e-3,
    optimizer: options.Optimizer = "adam",
    schedule: options.Schedule = "step",
    batch_size: options.BatchSize = 128,
    keep: options.Keep = "last",
    weights: options.Weights = None,
    shape: options.InputShape = None,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    channels: options.Channels = None,
    refined: options.Refined = options.PLAINLY,
    augment: options.Augment = None,
    fraction: options.Fraction = 1.0,
    val_fraction: options.ValFraction = 0.0,
    width: options.Width = None,
    depth: options.Depth = None,
    arguments: options.Arguments = None,
    stages: options.StageModules = None,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Train a network on labels alone: from scratch, or from given weights.

    Examples:
        edgepress train mobilenet_v3_small --weights pretrained --data photos/ --epochs 10 -o net.safetensors
        edgepress train cnn-s --data photos/ --size 96 --epochs 30 --keep best --val-fraction 0.1 -o net.safetensors
        edgepress train my_model.py:build --input 3x96x64 --arg width=16 --data photos/ -o net.safetensors
    """
    from cli import parse, progress, say
    from compress.initial import open_new
    from compress.jobs import Job, lesson
    from compress.jobs import train as run
    from compress.recipes import read_method
    from compress.training.journal import Journal

    goal = parse.read_task(task)
    fit = parse.read_fit(epochs, lr, optimizer, schedule, batch_size=batch_size, keep=keep, refined=refined)
    read = (Path(weights),) if weights else ()
    journal = Journal(output, resume, force, read)
    journal.check()
    named = parse.read_network(network, None, options.Plain(None, width, depth, arguments, stages))
    asked = parse.read_data_options(channels, fraction, val_fraction, augment=augment, seed=seed)
    asked = parse.with_input(parse.read_seen(asked, seen), shape)
    begun = open_new(named, weights, data, asked, seed=seed)
    say.notes((*begun.images.notes, *begun.notes))
    checkpoint, images = begun.checkpoint, begun.images
    job = Job(parse.command_line(), parse.read_run(goal or parse.task_for(images), seed, refined), journal)
    phases = read_method("no_teacher").phases(lesson(checkpoint, images, job), fit)
    before = progress.stamp(output)
    progress.say_result(progress.follow(run(checkpoint, phases, images, job), output), output, before)
