"""edgepress quantize"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cli import options
from compress.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.effects import Yardstick
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.jobs import Job, Recovery
    from compress.quantization import Scheme
    from compress.tasks import Task
    from compress.training.journal import Journal
    from exports.effect import Effect

_CHECKPOINT = ".safetensors"
_Scheme = Annotated[
    str | None,
    options.choice(
        "--scheme",
        options.SCHEMES,
        help="Without training: fp16, w8, w4, w2, or static (int8 activations, too).",
        group=options.METHOD,
    ),
]
_Qat = Annotated[
    str | None,
    options.choice(
        "--qat", options.SCHEMES, help="The same, and trained with it; writes a checkpoint.", group=options.METHOD
    ),
]
_Rounding = Annotated[
    str,
    options.choice(
        "--rounding",
        options.ROUNDINGS,
        help="compensated (by what the layers see of training images) or nearest.",
        group=options.METHOD,
    ),
]
_Calibrate = Annotated[int, options.whole("--calibrate", 1, help="Training images to look at.", group=options.METHOD)]
_Ranges = Annotated[
    str,
    options.choice(
        "--ranges",
        options.RANGES,
        help="How static finds the range of an activation: mse, percentile (99.99 %) or min-max.",
        group=options.METHOD,
    ),
]
_FullRange = Annotated[
    bool,
    options.switch(
        "--full-range",
        help="8 bits for the weights of static, not 7: sums saturate on x86 CPUs without VNNI.",
        group=options.METHOD,
    ),
]
_Equalize = Annotated[
    bool,
    options.switch(
        "--equalize", help="Static: bring the channels between two layers to like ranges first.", group=options.METHOD
    ),
]
_CorrectBias = Annotated[
    bool,
    options.switch(
        "--correct-bias", help="Static: let the mean of each channel be what it was before.", group=options.METHOD
    ),
]
_KeepFloat = Annotated[
    str | None,
    options.words(
        "--keep-float",
        "LIST",
        help="Stages or layers to leave as they are: map1,logits or *layer4*.",
        group=options.METHOD,
    ),
]
_Sensitivity = Annotated[
    bool,
    options.switch(
        "--sensitivity",
        help="Only show what it costs to quantize each layer alone; writes a .json and a .png.",
        group=options.METHOD,
    ),
]
_Mixed = Annotated[
    str | None,
    options.words(
        "--mixed",
        "LIST",
        help="Stages or layers with other schemes: map1=w8,logits=w8. Of two that name a layer the later one counts.",
        group=options.METHOD,
    ),
]
_Drop = Annotated[
    float | None,
    options.number(
        "--max-drop", 0, 100, "[]", help="Points of the score that may be lost; else exit 3.", group=options.OUTPUT
    ),
]
_Teacher = Annotated[
    Path | None,
    options.words(
        "--teacher", "CHECKPOINT", help="Teaches the training. [default: the network before]", group=options.METHOD
    ),
]
_Method = Annotated[
    str | None,
    options.choice(
        "--method",
        options.METHODS,
        help="How: see `edgepress methods`. [default: okd; pkt for retrieval]",
        group=options.METHOD,
    ),
]
_OF_STATIC = ("--ranges", "--full-range", "--equalize", "--correct-bias")
_OF_TRAINING = (
    *("--teacher", "--method", "--set", "--epochs", "--lr", "--optimizer", "--schedule", "--batch-size", "--keep"),
    *("--warm-up", "--label-smoothing", "--ema", "--precision", "--views", "--cache", "--augment", "--resume"),
)


def quantize(
    checkpoint: options.CheckpointFile,
    data: options.Data,
    output: options.Output,
    scheme: _Scheme = None,
    qat: _Qat = None,
    rounding: _Rounding = "compensated",
    calibrate: _Calibrate = 256,
    ranges: _Ranges = "mse",
    full_range: _FullRange = False,
    equalize: _Equalize = False,
    correct_bias: _CorrectBias = False,
    keep_float: _KeepFloat = None,
    mixed: _Mixed = None,
    sensitivity: _Sensitivity = False,
    max_drop: _Drop = None,
    teacher: _Teacher = None,
    method: _Method = None,
    knobs: options.Knobs = None,
    epochs: options.Epochs = 10,
    lr: options.Rate = 1e-3,
    optimizer: options.Optimizer = "adam",
    schedule: options.Schedule = "cosine",
    batch_size: options.BatchSize = 128,
    keep: options.Keep = "last",
    refined: options.Refined = options.PLAINLY,
    replayed: options.Replayed = options.NOT_REPLAYED,
    augment: options.Augment = None,
    fraction: options.Fraction = 1.0,
    val_fraction: options.ValFraction = 0.0,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    force: options.Force = False,
) -> None:
    """Store the weights in few bits, and show on the test split what it cost.

    Runtimes turn the weights back to float when they load the file: it is small, and as fast as before. With static
    they compute on whole numbers, which is faster on larger networks.

    Examples:
        edgepress quantize student.safetensors --scheme w8 --data digits -o student.w8.onnx
        edgepress quantize student.safetensors --scheme w4 --sensitivity --data digits -o sensitivity.json
        edgepress quantize student.safetensors --qat w4 --epochs 10 --data digits -o student.w4.safetensors
    """
    from cli import parse, say
    from cli.effects import Yardstick
    from cli.sensitivity import show_grids
    from compress.checkpoint import blank_image
    from compress.jobs import Job, Recovery
    from compress.opening import open_pair
    from compress.quantization import Static, idle_layers, plan, plan_values, read_range, read_rounding, sensitivities
    from compress.recipes import for_recovery, read_method
    from compress.smaller import quantized
    from compress.tasks import TASKS
    from compress.training.journal import Journal
    from exports.source import calibration

    wished, others, rounds = _scheme(scheme, qat, full_range=full_range), _others(mixed), read_rounding(rounding)
    _warn(wished)
    static = Static(ranges, equalize, correct_bias)
    read_range(ranges)
    journal = Journal(output, resume, force, (checkpoint, *([teacher] if teacher else [])))
    _check(journal, wished, rounding, trains=qat is not None, only_looks=sensitivity)
    fit = parse.read_fit(epochs, lr, optimizer, schedule, batch_size=batch_size, keep=keep, refined=refined)
    asked = parse.read_data_options(None, fraction, val_fraction, augment=augment, seed=seed)
    before, images = open_pair(parse.read_file(checkpoint, plain), data, parse.read_seen(asked, seen))
    say.notes(images.notes)
    kept = [word.strip() for word in keep_float.split(",")] if keep_float else []
    goal = TASKS[before.card.task]
    how = read_method(method or _usual(goal), parse.read_settings(knobs))
    idle = idle_layers(before.network, blank_image(before.card))
    say.notes(_left(idle))
    grids = plan(before.network, wished.bits, answer=goal.output, keep_float=kept, mixed=others, idle=idle)
    values = plan_values(before.network, wished, grids, blank_image(before.card), answer=goal.output)
    looks = sensitivity or wished.activations or rounds == "compensated"
    looked_at = calibration(before.card, images.train, calibrate) if looks else ()
    if looks and calibrate > len(images.train):
        there = counted(len(images.train), "training image")
        say.notes([f"--calibrate {calibrate:,}: there are {there}, and all are looked at"])
    if sensitivity:
        rows = sensitivities(before.network, wished, grids, looked_at, rounds)
        show_grids(rows, before, images, journal, rounding=rounding, seen=sum(map(len, looked_at)))
        return
    command = parse.command_line()
    small = quantized(before, grids, command, activations=values, rounding=rounds, static=static, images=looked_at)
    yardstick = Yardstick(before, images, max_drop, output)
    if qat is None:
        _keep(small, yardstick, force=force)
        return
    recovery = Recovery(how if teacher else for_recovery(how), parse.replaying(fit, replayed))
    job = Job(command, parse.read_run(goal, seed, refined, replayed), journal)
    _train(small, _teacher(teacher, before, images, seed), recovery, yardstick, job)


def _left(idle: Sequence[str]) -> list[str]:
    """What is said of layers that are no part of the answer, if there are any."""
    if not idle:
        return []
    which, them = ("which is", "it") if len(idle) == 1 else ("which are", "them")
    return [f"left float: {', '.join(idle)}, {which} never called, or called for nothing: an export leaves {them} out"]


def _usual(task: Task) -> str:
    """The method that listens to what the task asks of a network."""
    return "okd" if task.output == "logits" else "pkt"


def _scheme(scheme: str | None, qat: str | None, *, full_range: bool) -> Scheme:
    """By the one option of the two that was given."""
    from compress.errors import PlanError
    from compress.quantization import FULL_RANGE, read_scheme

    if scheme is None and qat is None:
        raise PlanError("give --scheme w8 (without training) or --qat w4 (with training)")
    if scheme is not None and qat is not None:
        raise PlanError("--scheme does not train and --qat does; give one of the two")
    wished = read_scheme(str(scheme or qat))
    return FULL_RANGE if wished.activations and full_range else wished


def _warn(wished: Scheme) -> None:
    """Say what not every machine computes right."""
    from cli import say
    from compress.evidence import describe
    from compress.quantization import FULL_RANGE

    if wished == FULL_RANGE:
        here = "this one has them" if any("vnni" in flag for flag in describe()["flags"]) else "this one has none"
        say.warning(f"--full-range: x86 CPUs without VNNI instructions saturate in it and say nothing; {here}")


def _others(mixed: str | None) -> dict[str, int]:
    """The bits of layers by name, of words such as map1=w8."""
    from compress.errors import PlanError
    from compress.quantization import read_scheme

    pairs = [word.partition("=") for word in mixed.split(",")] if mixed else []
    for name, sign, _ in pairs:
        if not name or not sign:
            raise PlanError(f"--mixed {mixed}: give LAYER=SCHEME, with commas between, such as map1=w8,logits=w8")
    names = [name for name, _, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"--mixed {name}: given twice")
    return {name: read_scheme(scheme).bits for name, _, scheme in pairs}


def _check(journal: Journal, wished: Scheme, rounding: str, *, trains: bool, only_looks: bool) -> None:
    """Nothing, once the output may be written and no option was typed that would be ignored."""
    from cli.sensitivity import IDLE, check_table
    from cli.typed import refuse
    from compress.files import check_target
    from exports import format_of

    if not wished.activations:
        refuse(_OF_STATIC, "it is about the activations of static; leave it out")
    if rounding != "compensated" and not only_looks and not wished.activations:
        refuse(("--calibrate",), "nothing is looked at without --rounding compensated; leave it out")
    if only_looks:
        refuse(("--qat", "--max-drop", *_OF_STATIC, *_OF_TRAINING), IDLE)
        check_table(journal)
        return
    if trains:
        refuse(("--max-drop",), "what was trained is kept, whatever it lost; leave it out")
        journal.check()
        return
    refuse(_OF_TRAINING, "nothing is trained with --scheme; leave it out, or take --qat")
    form = None if journal.output.suffix == _CHECKPOINT else format_of(journal.output)
    if form is not None:
        form.check_extra()
    folder = form is not None and form.folder
    check_target(journal.output, force=journal.force, inputs=journal.inputs, folder=folder)


def _teacher(teacher: Path | None, before: Checkpoint, images: Dataset, seed: int) -> Checkpoint:
    from compress.named import Named
    from compress.opening import open_beside

    return open_beside(f"--teacher {teacher}", Named(str(teacher)), images, seed=seed) if teacher else before


def _keep(small: Checkpoint, yardstick: Yardstick, *, force: bool) -> None:
    """The quantized network as a checkpoint or in an edge format, once it is good enough."""
    from compress.checkpoint import save
    from exports import Artefact, ship
    from exports.answers import as_network
    from exports.source import samples

    output = yardstick.output
    if output.suffix == _CHECKPOINT:
        found = yardstick.checked(small.network)
        save(small, output, force=force)
        _say(small, yardstick, found)
        return
    seen = []

    def approve(artefact: Artefact) -> None:
        seen.append(yardstick.checked(as_network(artefact, yardstick.images.scale)))

    shipped = ship(small, output, samples(small.card, yardstick.images.test), approve=approve, force=force)
    _say(small, yardstick, seen[0], *(f"to its own codes: {line}" for line in shipped.faithful.lines()))


def _train(small: Checkpoint, teacher: Checkpoint, recovery: Recovery, yardstick: Yardstick, job: Job) -> None:
    from cli import progress
    from compress.jobs import retrained

    output = yardstick.output
    stamp = progress.stamp(output)
    made = progress.follow(retrained(small, teacher, recovery, yardstick.images, job), output)
    _say(made, yardstick, yardstick.checked(made.network), progress.written(output, stamp))


def _say(small: Checkpoint, yardstick: Yardstick, found: Effect, *more: str) -> None:
    from cli import effects, parse, say
    from compress.evidence import Record

    output, images = yardstick.output, yardstick.images
    size, sha256 = _weighed(output)
    counts = _counts(small, exported=output.suffix != _CHECKPOINT)
    kept = [Record("size", size, unit="bytes"), *(Record(name, count) for name, (count, _) in counts.items())]
    kept = [replace(record, sha256=sha256) for record in kept]
    kept += effects.records(found, sha256, yardstick.before)
    seed = small.card.lineage[-1].get("seed")
    records = parse.stamped(replace(record, seed=seed) for record in kept)
    heading = f"{output}: {size:,} bytes, {', '.join(words for _, words in counts.values())}"
    facts = {"file": output, "data": images.name, "worst": found.worst, "records": records}
    say.result(facts, heading, *effects.lines(found, f"{counted(len(images.test), 'test image')}"), *more)


def _counts(small: Checkpoint, *, exported: bool) -> dict[str, tuple[int, str]]:
    """What is quantized and what is not: quantity to how many there are, and the same in words.

    Layers that are no part of the answer are not in a file that is exported.
    """
    from compress.checkpoint import blank_image
    from compress.quantization import idle_layers, plain_weights

    layers = Counter(grid.bits for grid in small.card.grids)
    counts = {
        f"layers_{bits}_bits": (count, f"{counted(count, 'layer')} of {bits} bits")
        for bits, count in sorted(layers.items())
    }
    if values := len(small.card.activations):
        counts["activations_8_bits"] = values, f"{counted(values, 'activation')} of 8 bits"
    absent = idle_layers(small.network, blank_image(small.card)) if exported else ()
    if left := plain_weights(small.network.model, absent):
        counts["float_weights"] = left, f"{counted(left, 'other weight')} {'stays' if left == 1 else 'stay'} float32"
    return counts


def _weighed(output: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a checkpoint, or of a file or folder of an edge format."""
    from compress.evidence import file_digest
    from exports import format_of

    if output.suffix == _CHECKPOINT:
        return output.stat().st_size, file_digest(output)
    artefact = format_of(output).read(output)
    return artefact.size_bytes, artefact.sha256
