"""What a network that is to be trained starts from: random weights, or given ones that need not know its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from compress.checkpoint import Checkpoint, load
from compress.code import is_own
from compress.data import DataOptions, Dataset
from compress.data import load as load_data
from compress.errors import CheckpointError, DataError, PlanError
from compress.header import KEY, SUFFIX, read_card, read_header
from compress.models import MODELS, Option, known_name
from compress.models.resnet import ENCODER
from compress.named import Named
from compress.opening import new_network
from compress.preprocessing import Preprocessing
from compress.stages import Staged
from compress.weights import ends, fill, read_plain, read_tensors

PRETRAINED = "pretrained"
SHOWN = 5


@dataclass(frozen=True)
class Initial:
    """A network that is to be trained on, the data as it sees them, and what to tell about the two.

    Attributes:
        checkpoint: Named network, given weights; its lineage is that of the weights.
        images: Prepared as the weights were used to, where that is known.
        notes: A sentence on each layer that starts anew, and on what was decided for the images.
    """

    checkpoint: Checkpoint
    images: Dataset
    notes: tuple[str, ...]


def open_new(named: Named, weights: str | None, data: str, options: DataOptions, *, seed: int) -> Initial:
    """A network by name and the data set it is for: with random weights, or with given ones (see `open_initial`).

    Raises:
        CheckpointError, DataError, PlanError: One of them cannot be opened, or they do not fit each other.
    """
    if weights is not None:
        return open_initial(named, weights, data, options, seed=seed)
    images = load_data(data, options)
    return Initial(new_network(named, images, seed=seed), images, ())


def open_initial(named: Named, weights: str, data: str, options: DataOptions, *, seed: int) -> Initial:
    """A network by name that starts from given weights, for a data set that it need not know.

    Where classes or channels differ, the classifier or the first convolution starts anew; all else has to fit. The
    images are prepared as the weights were used to, where that is known and the options do not say otherwise.

    Args:
        named: A network by name.
        weights: A checkpoint or a plain state dict of such a network, or "pretrained" for torchvision's own.
        data: Name or path of the data set.
        options: How to read it.
        seed: Of the layers that start anew.

    Raises:
        CheckpointError, DataError, PlanError: One of them cannot be opened, or the weights are another network's.
    """
    if named.is_file:
        raise PlanError(f"{named.name} is a file of weights; give the name of its network, and the file with --weights")
    name = known_name(named.name)
    given = _given(name, weights)
    if given.rule is None:
        images, notes = load_data(data, options), []
    else:
        images = load_data(data, options, see=_like(given.rule, options))
        notes = [f"images are prepared as these weights are used to: {_told(images.see)}"]
    made = new_network(replace(named, options={**given.options, **named.options}), images, seed=seed)
    try:
        notes += _start(made.network, given.tensors, part=given.part)
    except CheckpointError as error:
        raise CheckpointError(f"{weights} does not fit {name!r}: {error}") from error
    for step in given.lineage:
        made = made.with_step(step)
    return Initial(made, images, tuple(notes))


@dataclass(frozen=True)
class _Given:
    """Weights to start from, and what is known of them: the rule of their images, options of their network, history.

    They may be those of one part of the network alone, whose names begin with `part`.
    """

    tensors: Mapping[str, Tensor]
    rule: Preprocessing | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    lineage: tuple[Mapping[str, Any], ...] = ()
    part: str = ""


def _given(name: str, weights: str) -> _Given:
    if weights == PRETRAINED:
        from compress.models.pretrained import pretrained

        return _Given(*pretrained(name), part=ENCODER if name in MODELS else "")
    path = Path(weights)
    if not path.exists():
        raise CheckpointError(f"{weights} does not exist; give a file of weights, or {PRETRAINED!r}")
    if path.suffix != SUFFIX or KEY not in read_header(path)[1]:
        return _Given(read_plain(path))
    card = read_card(path)[0]
    if card.architecture.name != name:
        raise CheckpointError(f"{weights} is a {card.architecture.name}, not a {name}; name that network")
    if card.edits:
        how = "pruned" if card.cuts else "quantized"
        raise CheckpointError(f"{weights} was {how}: its weights fit no other {name}; give those it had before")
    # the code of an own network may have been edited since, and says itself whether the weights still fit
    tensors = read_tensors(path) if is_own(name) else load(path).network.model.state_dict()
    return _Given(tensors, card.preprocessing, card.architecture.options, card.lineage)


def _like(rule: Preprocessing, options: DataOptions) -> Preprocessing:
    """The rule, but for what the options say."""
    from compress.data.prepare import to_channels

    channels = options.channels or rule.channels
    try:
        return Preprocessing(
            size=options.size or rule.size,
            channels=channels,
            mean=options.mean or to_channels(rule.mean, channels),
            std=options.std or to_channels(rule.std, channels),
            resize=options.resize or rule.resize,
            crop=rule.crop if options.crop is None else options.crop,
            border=rule.border,
        )
    except ValueError as error:
        raise DataError(str(error)) from error


def _start(network: Staged, tensors: Mapping[str, Tensor], *, part: str) -> list[str]:
    """A note on each layer of a new network that keeps its own weights; the others get the tensors."""
    own = network.model.state_dict()
    first, head = ends(network)
    notes, misfits = [], [f"{key} is unknown" for key in tensors.keys() - own.keys()]
    rest = dict.fromkeys(key.split(".")[0] for key in own if not key.startswith(part))
    if rest:
        notes.append(f"{', '.join(rest)} start anew: the weights are those of {part.rstrip('.')} alone")
    for key, value in own.items():
        if not key.startswith(part):
            continue
        old, new = tuple(tensors[key].shape) if key in tensors else None, tuple(value.shape)
        if old == new:
            own[key] = tensors[key]
        elif old is None:
            misfits.append(f"{key} is missing")
        elif key.rpartition(".")[0] == head and old[1:] == new[1:]:
            if len(new) > 1:
                notes.append(f"{head} starts anew: the weights tell {old[0]:,} classes apart, the data have {new[0]:,}")
        elif key == f"{first}.weight" and old[:1] + old[2:] == new[:1] + new[2:]:
            notes.append(f"{first} starts anew: the weights take {old[1]} channels, the images have {new[1]}")
        else:
            misfits.append(f"{key} has shape {old}, the network's {new}")
    if misfits:
        more = f"; and {len(misfits) - SHOWN} more" if len(misfits) > SHOWN else ""
        raise CheckpointError("; ".join(sorted(misfits)[:SHOWN]) + more)
    fill(network.model, own)
    return notes


def _told(see: Preprocessing) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (see.mean, see.std))
    share = f" of the middle {100 * see.crop:.4g} %" if see.crop < 1 else ""
    return f"{see.resize} to {see.size[0]}x{see.size[1]}{share}, {see.channels} channels, mean {mean}, std {std}"
