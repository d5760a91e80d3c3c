"""The options that commands share, each once; importing them costs nothing but typer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.kinds import TIMES as TIMES
from cli.kinds import amount as amount
from cli.kinds import choice as choice
from cli.kinds import completed as completed
from cli.kinds import file_name as file_name
from cli.kinds import folder_name as folder_name
from cli.kinds import growth as growth
from cli.kinds import measure as measure
from cli.kinds import most_macs as most_macs
from cli.kinds import most_parameters as most_parameters
from cli.kinds import number as number
from cli.kinds import size as size
from cli.kinds import switch as switch
from cli.kinds import whole as whole
from cli.kinds import words as words

GROUPS = DATA, NETWORK, METHOD, TRAINING, CONDITIONS, CLAIMS, OUTPUT = (
    "Data",
    "Network",
    "Method",
    "Training",
    "Conditions",
    "Claims",
    "Output",
)

# Names that the shell completes and the help shows; the tables themselves would import torch.
DATA_SETS = ("digits", "fashion-mnist", "cifar10", "imagenette", "imagewoof", "cub200", "camvid")
NETWORKS = (
    "cnn-s",
    "cnn-a",
    *(f"{prefix}resnet{depth}" for prefix in ("", "unet-") for depth in (10, 14, 18, 20, 26, 34)),
    "torchvision:resnet18",
)
TASKS = ("classification", "retrieval", "segmentation")
METHODS = (
    "no_teacher",
    "okd",
    "hints",
    "attention",
    "mkt",
    "pkt",
    "crd",
    "pkt_h_cr",
    "indistill",
    "stagewise",
    "traditional",
    "simultaneous",
    "fsp",
    "at",
    "dkd",
    "dist",
)
SCHEMES = ("fp16", "w8", "w4", "w2", "static")
RANGES = ("mse", "percentile", "min-max")
ROUNDINGS = ("nearest", "compensated")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("step", "cosine", "constant", "one-cycle")
AUGMENTATIONS = (
    "none",
    "flip",
    "crop",
    "resized-crop",
    "color",
    "rand-augment",
    "mixup",
    "cutmix",
    "indistill",
    "stagewise",
)
RESIZES = ("crop", "stretch")
PRUNED = "pruned:"  # before the share of the channels that a student lacks
INPUTS = ("float32", "uint8")
PRECISIONS = ("fp32", "bf16")
KEEPS = ("last", "best", "best-loss")
DEVICES = ("auto", "cpu", "cuda", "mps")

LARGEST_RATE = 1e30  # beyond it torch's optimizers overflow
LARGEST_SEED = 2**63 - 1


CheckpointFile = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="A .safetensors file of edgepress, or with --arch a state dict.")
]
AnyFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A checkpoint, an exported file, or with --arch a plain state dict.")
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="PATH", parser=file_name, help="The file to write.", rich_help_panel=OUTPUT),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.", rich_help_panel=OUTPUT)]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the interrupted run of this output.", rich_help_panel=OUTPUT)
]

Data = Annotated[
    str, choice("--data", DATA_SETS, help="A data set by name (see `edgepress data`) or a folder.", group=DATA)
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|HxW",
        help="Image size in pixels: 96, or 64x96 (height, width).",
        rich_help_panel=DATA,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="LIST",
        help="Mean of each channel in [0, 1] that a network expects: 0.485,0.456,0.406.",
        rich_help_panel=DATA,
    ),
]
Std = Annotated[
    str | None,
    typer.Option("--std", metavar="LIST", help="Its standard deviation: 0.229,0.224,0.225.", rich_help_panel=DATA),
]
Resize = Annotated[
    str | None,
    choice("--resize", RESIZES, help="crop (its middle, in the shape of the input) or stretch.", group=DATA),
]
Crop = Annotated[
    float | None,
    number(
        "--crop",
        0,
        1,
        "(]",
        help="Share of the image that is taken, such as 0.875 (224 of 256). [default: 1]",
        group=DATA,
    ),
]
Channels = Annotated[int | None, whole("--channels", 1, 3, help="1 for grey, 3 for RGB.", group=DATA)]
Augment = Annotated[
    str | None,
    typer.Option(
        "--augment",
        metavar="LIST",
        help=f"Some of {', '.join(AUGMENTATIONS)}, such as flip,crop. [default: the data set's own]",
        rich_help_panel=DATA,
    ),
]
Fraction = Annotated[
    float,
    number("--fraction", 0, 1, "(]", help="Share of the training images to use, per class.", group=DATA),
]
ValFraction = Annotated[
    float,
    number("--val-fraction", 0, 1, "[)", help="Share of the training images to hold out for validation.", group=DATA),
]

TaskName = Annotated[
    str | None,
    choice(
        "--task",
        TASKS,
        help="classification, segmentation, or retrieval (labels are not used). [default: what the data are for]",
        group=TRAINING,
    ),
]
Seed = Annotated[int, whole("--seed", 0, LARGEST_SEED, help="Of everything random.", group=TRAINING)]
Epochs = Annotated[int, whole("--epochs", 1, help="Passes over the images.", group=TRAINING)]
BatchSize = Annotated[int, whole("--batch-size", 2, help="Images a step.", group=TRAINING)]
Rate = Annotated[float, number("--lr", 0, LARGEST_RATE, "(]", help="Learning rate, above 0.", group=TRAINING)]
Optimizer = Annotated[str, choice("--optimizer", OPTIMIZERS, help="adam, adamw or sgd.", group=TRAINING)]
Schedule = Annotated[
    str,
    choice(
        "--schedule",
        SCHEDULES,
        help="step (the last seventh at a tenth), cosine, constant, or one-cycle (up to --lr at 30 %, then down).",
        group=TRAINING,
    ),
]
WarmUp = Annotated[
    int,
    whole("--warm-up", 0, help="Epochs in which the rate rises to --lr; not of one-cycle.", group=TRAINING),
]
LabelSmoothing = Annotated[
    float,
    number(
        "--label-smoothing",
        0,
        1,
        "[)",
        help="Share of each label that goes to all classes alike, such as 0.1.",
        group=TRAINING,
    ),
]
Ema = Annotated[
    float,
    number(
        "--ema",
        0,
        1,
        "[)",
        help="Keep the average of the weights over the steps, by this decay, such as 0.999; 0 keeps the last ones.",
        group=TRAINING,
    ),
]
Precision = Annotated[
    str,
    choice("--precision", PRECISIONS, help="fp32, or bf16 where the device has instructions for it.", group=TRAINING),
]
Views = Annotated[
    int,
    whole(
        "--views",
        0,
        help="Replay so many augmented views in turn, whose features are kept; 0 augments every epoch anew.",
        group=TRAINING,
    ),
]
Cache = Annotated[
    int,
    size(
        "--cache",
        "1GB",
        help="Memory for features that return, such as 2GB; up to 8 times as much goes to disk. 0 keeps none.",
        group=TRAINING,
    ),
]
Keep = Annotated[
    str,
    choice(
        "--keep",
        KEEPS,
        help="Weights to keep: last, best (score on the validation split) or best-loss.",
        group=TRAINING,
    ),
]
Knobs = Annotated[
    list[str] | None,
    words("--set", "KNOB=VALUE", help="A knob of the method; may be repeated.", group=METHOD),
]

Width = Annotated[int | None, whole("--width", 1, help="Of the first block (cnn-s, cnn-a).", group=NETWORK)]
Depth = Annotated[int | None, whole("--depth", 1, help="In blocks (cnn-s, cnn-a).", group=NETWORK)]
Arch = Annotated[
    str | None,
    choice("--arch", NETWORKS, help="The network, where a plain torch state dict is given.", group=NETWORK),
]
Arguments = Annotated[
    list[str] | None,
    words(
        "--arg",
        "NAME=VALUE",
        help="An argument of a network of timm: or FILE.py:FACTORY; may be repeated.",
        group=NETWORK,
    ),
]
StageModules = Annotated[
    list[str] | None,
    words(
        "--stage",
        "NAME=MODULE",
        help="Read a stage behind this module (see `edgepress inspect`), not where it was found; may be repeated.",
        group=NETWORK,
    ),
]
Code = Annotated[
    list[Path] | None,
    words(
        "--code",
        "FILE.py",
        help="Run this file, where a checkpoint's network comes from it; may be repeated.",
        group=NETWORK,
    ),
]
Edited = Annotated[
    bool, switch("--edited", help="Take --code although it was edited since the checkpoint was written.", group=NETWORK)
]
InputShape = Annotated[
    str | None,
    words("--input", "CxHxW", help="Channels and size of the images at once: 3x96x64.", group=DATA),
]


@dataclass(frozen=True)
class Plain:
    """The network of a plain state dict. A command that takes these takes each of them as an option of its own."""

    arch: Arch = None
    width: Width = None
    depth: Depth = None
    arguments: Arguments = None
    stages: StageModules = None


@dataclass(frozen=True)
class Seen:
    """What a network that no card describes expects of its images, an option each."""

    size: Size = None
    mean: Mean = None
    std: Std = None
    resize: Resize = None
    crop: Crop = None


@dataclass(frozen=True)
class Refined:
    """What may be added to any training, an option each."""

    warm_up: WarmUp = 0
    label_smoothing: LabelSmoothing = 0.0
    ema: Ema = 0.0
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Replayed:
    """What a teacher's training may do to compute nothing twice, an option each."""

    views: Views = 0
    cache: Cache = 10**9


NO_CARD, AS_THE_DATA_SAY, PLAINLY, NOT_REPLAYED = Plain(), Seen(), Refined(), Replayed()

Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE|pretrained",
        help="Start from these: a checkpoint, a plain state dict, or those that torchvision or timm publish.",
        rich_help_panel=NETWORK,
    ),
]

CompareData = Annotated[
    str | None,
    choice(
        "--data",
        DATA_SETS,
        help="Data set to compare on, by name or folder. [default: the one it was trained on]",
        group=DATA,
    ),
]
NamingData = Annotated[
    str | None,
    choice("--data", DATA_SETS, help="What a plain state dict was trained on, which names its classes.", group=DATA),
]
Samples = Annotated[
    int | None, whole("--samples", 1, help="Images to compare on. [default: the whole test split]", group=DATA)
]

Device = Annotated[str, choice("--device", DEVICES, help="Where to compute: auto, cpu, cuda or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, all else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and the warnings of libraries.")]
