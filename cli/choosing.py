"""The options of `edgepress prune` that say which channels go, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cli import options
from compress.errors import PlanError
from compress.text import counted

if TYPE_CHECKING:
    from compress.checkpoint import Checkpoint
    from compress.data import Dataset
    from compress.pruning import Calibration, Choice

# Names that the shell completes and the help shows; the tables themselves would import torch.
CRITERIA = ("l1", "l2", "bn-scale", "fpgm", "lamp", "taylor", "reconstruction", "random")
SCOPES = ("local", "global")

_Criterion = Annotated[
    str,
    options.choice(
        "--criterion",
        CRITERIA,
        help=f"Which channels go: the least by {', '.join(CRITERIA)}.",
        group=options.METHOD,
    ),
]
_Scope = Annotated[
    str,
    options.choice(
        "--scope",
        SCOPES,
        help="local: the same share of every layer; global: the least of all layers, at most 90 % of one.",
        group=options.METHOD,
    ),
]
_LayerRatio = Annotated[
    list[str] | None,
    options.words(
        "--layer-ratio",
        "LAYER=X",
        help="Another ratio for some stages or layers, such as *layer4*=0.7; may be repeated, and of two that name a "
        "layer the later one counts.",
        group=options.METHOD,
    ),
]
_Leave = Annotated[
    str | None,
    options.words(
        "--leave",
        "LIST",
        help="Stages or layers that keep all of their channels: stem,*layer4*.",
        group=options.METHOD,
    ),
]
_Round = Annotated[
    int,
    options.whole(
        "--round",
        1,
        help="Multiple that widths are rounded to, a smaller one where layers are narrow; 1 rounds none.",
        group=options.METHOD,
    ),
]
_Blocks = Annotated[
    int,
    options.whole(
        "--blocks",
        0,
        help="Residual blocks to remove first: those whose removal costs the least loss for the time it saves, by ONNX "
        "Runtime's profile; with --no-timing, for the MACs it saves.",
        group=options.METHOD,
    ),
]
_Calibrate = Annotated[
    int,
    options.whole(
        "--calibrate",
        0,
        help="Training images to look at; what is left is fitted to what the network said on them. 0 fits nothing.",
        group=options.METHOD,
    ),
]


@dataclass(frozen=True)
class Chosen:
    """Which channels go, an option each."""

    criterion: _Criterion = "l1"
    scope: _Scope = "local"
    layer_ratio: _LayerRatio = None
    leave: _Leave = None
    round: _Round = 16
    blocks: _Blocks = 0
    calibrate: _Calibrate = 256


LEAST_NORMS = Chosen()


def read_choice(chosen: Chosen, ratio: float | None, budgets: Sequence[object], seed: int) -> Choice:
    """The choice that was typed.

    Raises:
        PlanError: A name is unknown, a ratio is none, images are needed, or nothing is to be cut.
    """
    from compress.errors import unknown_name
    from compress.pruning import SCOPES as KNOWN
    from compress.pruning import Choice

    if ratio is None and not budgets and chosen.layer_ratio:
        raise PlanError(
            "--layer-ratio: how much to cut of the other layers? give --ratio, 0 to leave them whole, or a budget such "
            "as --max-params"
        )
    if (ratio is None) == (not budgets):
        raise PlanError(
            "how much to cut: give either --ratio, or what may be left: --max-params, --max-macs, --max-size, "
            "--max-latency, --min-speedup"
        )
    if ratio == 0 and not chosen.layer_ratio and not chosen.blocks:
        raise PlanError("--ratio 0 cuts nothing; give a number above 0 and below 1, --layer-ratio or --blocks")
    if looks(chosen) and not chosen.calibrate:
        what = "--blocks" if chosen.blocks else f"criterion {chosen.criterion}"
        raise PlanError(f"--calibrate 0: {what} has to look at images; give a number above 0, such as 256")
    if chosen.scope not in KNOWN:
        raise PlanError(unknown_name("--scope", chosen.scope, KNOWN))
    ratios, leave = _read_ratios(chosen.layer_ratio), _listed(chosen.leave)
    return Choice(chosen.criterion, chosen.scope, chosen.round, ratios, leave, blocks=chosen.blocks, seed=seed)


def looks(chosen: Chosen) -> bool:
    """Whether images decide which channels go."""
    from compress.pruning import read_criterion

    return read_criterion(chosen.criterion).looks or chosen.blocks > 0


def _read_ratios(words: list[str] | None) -> dict[str, float]:
    """LAYER=X words as a mapping; PlanError for a word that is none, or a layer named twice."""
    from cli.parse import read_pairs

    ratios: dict[str, float] = {}
    for layer, text in read_pairs("--layer-ratio", "LAYER", words, value="X").items():
        try:
            ratio = float(text)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio < 1:
            raise PlanError(
                f"--layer-ratio {layer}={text}: give it as LAYER=X, X from 0 to below 1, such as *layer4*=0.7"
            )
        ratios[layer] = ratio
    return ratios


def _listed(text: str | None) -> tuple[str, ...]:
    names = tuple(word.strip() for word in text.split(",")) if text is not None else ()
    if not all(names):
        raise PlanError(f"--leave {text!r}: give names separated by commas, such as stem,*layer4*")
    return names


def look(checkpoint: Checkpoint, images: Dataset, chosen: Chosen) -> Calibration:
    """The training images to look at, or none."""
    from cli import say
    from compress.pruning import NOTHING
    from compress.smaller import looked_at

    if not chosen.calibrate:
        return NOTHING
    if chosen.calibrate > len(images.train):
        said = f"there are {counted(len(images.train), 'training image')}, and all are looked at"
        say.notes([f"--calibrate {chosen.calibrate:,}: {said}"])
    return looked_at(checkpoint, images.train, chosen.calibrate)


def fitted(small: Checkpoint, before: Checkpoint, seen: Calibration, command: str) -> Checkpoint:
    """What is left of a network, fitted on what was looked at; where it is not, that is said."""
    from cli import say
    from compress.smaller import mended

    made, unfitted = mended(small, before, seen, command)
    say.notes([f"layers are not fitted, but have new statistics: {unfitted}"] if unfitted else [])
    return made
