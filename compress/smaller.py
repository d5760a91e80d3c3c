"""From checkpoint to a smaller checkpoint, with nothing trained: channels cut, weights and activations on grids."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import torch
from torch import Tensor

from compress.checkpoint import Checkpoint, blank_image
from compress.data import Split
from compress.errors import PlanError
from compress.evidence import versions, weights_digest
from compress.graph import Uncuttable
from compress.pruning import (
    MACS,
    NOTHING,
    Calibration,
    Choice,
    Scored,
    Step,
    Surgery,
    apply,
    enough,
    kept_channels,
    reconstruct,
    reestimate,
    score,
)
from compress.pruning import USUAL as USUAL_CHOICE
from compress.quantization import (
    FLOAT_WEIGHTS,
    USUAL,
    ActivationGrid,
    Grid,
    Rounding,
    Scheme,
    Static,
    idle_layers,
    plan,
    plan_values,
    quantize,
)
from compress.tasks import TASKS

CALIBRATION_BATCH = 32
CALIBRATION = "calibration"  # what a step of lineage calls the images that were looked at


def cut(
    checkpoint: Checkpoint,
    ratio: float,
    command: str,
    *,
    choice: Choice = USUAL_CHOICE,
    calibration: Calibration = NOTHING,
) -> Checkpoint:
    """A smaller copy of a checkpoint's network, without its least channels; the cuts are on its card.

    Args:
        checkpoint: Left as it is.
        ratio: Share of the channels to cut, in (0, 1).
        command: What the user typed, for the lineage.
        choice: How the channels are chosen.
        calibration: Images for the criteria that look at some, see `looked_at`.

    Raises:
        PlanError: Its weights are quantized; or see `scored` and `cut_at`.
    """
    return cut_at(checkpoint, scored(checkpoint, choice, calibration), ratio, command, calibration=calibration)


def scored(
    checkpoint: Checkpoint,
    choice: Choice,
    calibration: Calibration = NOTHING,
    *,
    prices: Mapping[str, float] = MACS,
) -> Scored:
    """A checkpoint's network traced and scored, to be cut at any ratio, see `cut_at`.

    Args:
        checkpoint: Left as it is.
        choice: How the channels are chosen.
        calibration: Images for the criteria that look at some, see `looked_at`.
        prices: Of layers, for the choice of blocks: what each takes; without any, MACs count.

    Raises:
        PlanError: Its weights are quantized; or see `compress.pruning.score`.
    """
    if checkpoint.card.grids:
        raise PlanError("its weights are quantized; prune the network as it was before, and quantize what is left")
    return score(checkpoint.network, blank_image(checkpoint.card), choice, calibration, prices=prices)


def cut_at(
    checkpoint: Checkpoint, found: Scored, ratio: float, command: str, *, calibration: Calibration = NOTHING
) -> Checkpoint:
    """A smaller copy of a checkpoint's network, whose channels were scored before.

    Args:
        checkpoint: That was scored; left as it is.
        found: The scores.
        ratio: Share of the channels to cut.
        command: What the user typed, for the lineage.
        calibration: What was looked at, for the lineage.

    Raises:
        PlanError: See `compress.pruning.Scored.at`.
    """
    return _without(checkpoint, found, found.at(ratio), {"command": command, "ratio": ratio}, calibration)


def cut_to(
    checkpoint: Checkpoint, found: Scored, step: Step, command: str, *, calibration: Calibration = NOTHING
) -> Checkpoint:
    """A smaller copy of a checkpoint's network, as a step of a plan leaves it, see `compress.pruning.in_steps`.

    Args:
        checkpoint: That was scored; left as it is.
        found: The scores.
        step: How wide its layers become.
        command: What the user typed, for the lineage.
        calibration: What was looked at, for the lineage.
    """
    facts = {"command": command, "ratio": step.ratio, "step": [step.number, step.of]}
    return _without(checkpoint, found, found.to(step.widths), facts, calibration)


def _without(
    checkpoint: Checkpoint,
    found: Scored,
    cuts: Sequence[Surgery],
    facts: Mapping[str, object],
    calibration: Calibration,
) -> Checkpoint:
    network = apply(checkpoint.network, cuts, blank_image(checkpoint.card))
    card = replace(checkpoint.card, edits=(*checkpoint.card.edits, *cuts), stages=(), weights="")
    step = {
        **facts,
        **found.choice.to_dict(),
        **_seen(calibration.images),
        "versions": versions(),
    }
    return Checkpoint(network, card).with_step(step)


def looked_at(checkpoint: Checkpoint, split: Split, count: int) -> Calibration:
    """That many images of a split, or all, and the loss of the checkpoint's task on them, in an order always the same.

    Args:
        checkpoint: Whose network looks at them.
        split: Of training, prepared for it.
        count: How many, at least 1.
    """
    batches, left = [], count
    for batch in split.batches(CALIBRATION_BATCH, order=0):
        if left <= 0:
            break
        batches.append((checkpoint.card.scale(batch.image[:left]), batch.target[:left]))
        left -= len(batch.image)
    terms = TASKS[checkpoint.card.task].terms

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.stack([term.loss(outputs, targets) for term in terms]).sum()

    return Calibration(batches, loss if terms else None)


def _seen(images: Sequence[Tensor]) -> dict[str, object]:
    """The entry of lineage about the images that were looked at, if any were."""
    return {CALIBRATION: {"images": sum(map(len, images)), "sha256": images_digest(images)}} if images else {}


def mended(small: Checkpoint, whole: Checkpoint, calibration: Calibration, command: str) -> tuple[Checkpoint, str]:
    """A copy of a pruned network that says again, as nearly as it can, what it said when it was whole; without labels.

    Its layers are fitted anew, see `compress.pruning.reconstruct`. Where its calls cannot be followed, its batch-norm
    gets new statistics instead.

    Args:
        small: Cut out of `whole`; left as it is.
        whole: Only read.
        calibration: With images; of large ones only the first are taken, see `compress.pruning.enough`.
        command: What the user typed, for the lineage.

    Returns:
        The network; and why its layers were not fitted, or "" if they were.
    """
    made, images, why = copy.deepcopy(small.network), enough(calibration.images), ""
    cuts = small.card.cuts[len(whole.card.cuts) :]
    kept = kept_channels(whole.network, cuts, blank_image(whole.card))
    try:
        done = {"refitted_layers": reconstruct(made, whole.network, kept, images)}
    except Uncuttable as reason:
        why = str(reason)
        done = {"new_statistics": reestimate(made.model, images)}
    step = {"command": command, **done, **_seen(images), "versions": versions()}
    return Checkpoint(made, replace(small.card, weights="")).with_step(step), why


def quantized(
    checkpoint: Checkpoint,
    grids: Sequence[Grid],
    command: str,
    *,
    activations: Sequence[ActivationGrid] = (),
    rounding: Rounding,
    static: Static = USUAL,
    images: Sequence[Tensor] = (),
) -> Checkpoint:
    """A copy of a checkpoint with weights and activations on grids, which are on its card; nothing is trained.

    Args:
        checkpoint: Left as it is.
        grids: The layers and their bits.
        command: What the user typed, for the lineage.
        activations: The values that go through them.
        rounding: How each weight finds its code, see `compress.quantization.quantize`.
        static: How activations find their grids.
        images: Batches (B, C, H, W) of normalised images, for compensated rounding and for activations.
    """
    network = quantize(
        checkpoint.network, grids, activations=activations, rounding=rounding, static=static, images=images
    )
    card = replace(checkpoint.card, edits=(*checkpoint.card.edits, *grids, *activations), weights="")
    bits = {str(width): sum(grid.bits == width for grid in grids) for width in sorted({grid.bits for grid in grids})}
    step = {
        "command": command,
        FLOAT_WEIGHTS: weights_digest(checkpoint.network.model),
        "layers_by_bits": bits,
        "rounding": rounding,
        **({"activation_grids": len(activations), **asdict(static)} if activations else {}),
        **_seen(images),
        "versions": versions(),
    }
    return Checkpoint(network, card).with_step(step)


def images_digest(images: Sequence[Tensor]) -> str:
    """The hexadecimal SHA-256 of batches (B, C, H, W), however they are parted."""
    found = hashlib.sha256()
    for batch in images:
        found.update(batch.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def quantized_by(
    checkpoint: Checkpoint, scheme: Scheme, command: str, *, rounding: Rounding, images: Sequence[Tensor]
) -> Checkpoint:
    """A copy of a checkpoint with all that a scheme puts on grids, but idle layers; nothing is trained.

    Args:
        checkpoint: Left as it is.
        scheme: For every layer alike.
        command: What the user typed, for the lineage.
        rounding: How each weight finds its code.
        images: Batches (B, C, H, W) of normalised images, at least one.
    """
    network, answer = checkpoint.network, TASKS[checkpoint.card.task].output
    grids = plan(network, scheme.bits, answer=answer, idle=idle_layers(network, images[0][:1]))
    values = plan_values(network, scheme, grids, images[0][:1], answer=answer)
    return quantized(checkpoint, grids, command, activations=values, rounding=rounding, images=images)
