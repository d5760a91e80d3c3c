"""The options that commands share, each once; importing them costs nothing but typer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CheckpointFile = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A .safetensors file of edgepress.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run of this output.")]

Data = Annotated[str, typer.Option("--data", help="A data set by name (see `edgepress data`) or a folder.")]
Size = Annotated[
    str | None, typer.Option("--size", metavar="N|HxW", help="Image size in pixels: 96, or 64x96 (height, width).")
]
Channels = Annotated[int | None, typer.Option("--channels", min=1, max=3, help="1 for grey, 3 for RGB.")]
Augment = Annotated[
    str | None,
    typer.Option(
        "--augment",
        metavar="LIST",
        help="none, flip, crop or flip,crop. [default: the data set's own]",
    ),
]
Fraction = Annotated[float, typer.Option("--fraction", help="Share of the training images to use, per class.")]
ValFraction = Annotated[
    float,
    typer.Option("--val-fraction", help="Share of the training images to hold out for validation."),
]

CompareData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Data set to compare on, by name or folder. [default: the one it was trained on]",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option("--samples", min=1, help="Images to compare on. [default: the whole test split]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

TaskName = Annotated[str, typer.Option("--task", help="classification, or retrieval (labels are not used).")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="Passes over the images.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=2, help="Images a step.")]
Rate = Annotated[float, typer.Option("--lr", help="Learning rate, above 0.")]
Optimizer = Annotated[str, typer.Option("--optimizer", help="adam, adamw or sgd.")]
Schedule = Annotated[
    str,
    typer.Option("--schedule", help="step (the last seventh at a tenth), cosine or constant."),
]
Keep = Annotated[
    str,
    typer.Option(
        "--keep",
        help="Weights to keep: last, best (score on the validation split) or best-loss.",
    ),
]
Knobs = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KNOB=VALUE", help="A knob of the method; may be repeated."),
]

Width = Annotated[int | None, typer.Option("--width", min=1, help="Of the first block (cnn-s, cnn-a).")]
Depth = Annotated[int | None, typer.Option("--depth", min=1, help="In blocks (cnn-s, cnn-a).")]
Arch = Annotated[
    str | None,
    typer.Option("--arch", metavar="NAME", help="The network of a plain torch state dict."),
]
