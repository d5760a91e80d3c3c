"""The card of a checkpoint: the blueprint to get the network again, and where its weights came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compress.code import is_own
from compress.edits import ActivationGrid, Cut, Drop, Edit, Grid, Surgery, from_data, to_data
from compress.errors import CheckpointError, unknown_name
from compress.models import TIMM, TORCHVISION, Architecture, Option, canonical
from compress.preprocessing import Preprocessing, Scale
from compress.stage import Stage
from compress.task_names import MASKS

FORMAT = 6
THEIRS_BEFORE = ("resnet18", "resnet34")  # in formats 1 and 2; the others of ours had no namesake
SEAL = "seal"
LONGEST = 2**22  # far above any card; parsed JSON takes up to 25 times the memory of its text


@dataclass(frozen=True)
class Card:
    """What a network is, besides its weights.

    Attributes:
        architecture: How to build it; its name becomes the one that says whose network it is, see `canonical`. Of a
            file of code it keeps the digest, and no folder.
        preprocessing: How it sees an image.
        classes: Names, in the order of the logits.
        task: What it was trained for, a name in `compress.task_names.MASKS`.
        edits: What was done to the network after it was built, in order: the cuts and drops of pruning, then the grids
            of quantized weights and activations.
        stages: Its stages after the edits; none means those that the builder gives it.
        weights: The digest of its parameters and buffers, see `compress.evidence.weights_digest`; "" where not known.
        lineage: Each step that led here: command, data, seed, versions, metrics.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    task: str = "classification"
    edits: tuple[Edit, ...] = ()
    stages: tuple[Stage, ...] = ()
    weights: str = ""
    lineage: tuple[Mapping[str, Any], ...] = field(default=())

    def __post_init__(self) -> None:
        shape, see = self.architecture, self.preprocessing
        object.__setattr__(self, "architecture", replace(shape, name=canonical(shape.name)))
        if (shape.channels, *shape.size) != see.shape:
            raise ValueError(f"a network for images of {(shape.channels, *shape.size)}, which it sees as {see.shape}")
        if len(self.classes) != shape.classes:
            raise ValueError(f"{len(self.classes)} class names for {shape.classes} outputs")
        if any(not isinstance(edit, Cut | Drop) for edit in self.edits[: len(self.cuts)]):
            raise ValueError("a cut of a network that is quantized; cut first, quantize then")
        if self.task not in MASKS:
            raise ValueError(unknown_name("task", self.task, MASKS))

    @property
    def cuts(self) -> tuple[Surgery, ...]:
        """The edits that remove channels or blocks."""
        return tuple(edit for edit in self.edits if isinstance(edit, Cut | Drop))

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The edits that quantize weights."""
        return tuple(edit for edit in self.edits if isinstance(edit, Grid))

    @property
    def activations(self) -> tuple[ActivationGrid, ...]:
        """The edits that quantize values of the forward pass."""
        return tuple(edit for edit in self.edits if isinstance(edit, ActivationGrid))

    @property
    def scale(self) -> Scale:
        """How the network wants its pixels."""
        return Scale(self.preprocessing.mean, self.preprocessing.std)

    def to_json(self) -> str:
        """The card as JSON text; `from_json` reads it back."""
        data = {
            "format": FORMAT,
            "source": _source(self.architecture),
            "preprocessing": self.preprocessing.to_dict(),
            "classes": self.classes,
            "task": self.task,
            "edits": [to_data(edit) for edit in self.edits],
            "stages": [stage.to_list() for stage in self.stages],
            "weights": self.weights,
            "lineage": [dict(step) for step in self.lineage],
        }
        return json.dumps({**data, SEAL: seal(data)})

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The card that `to_json` wrote, in this format or an earlier one.

        Raises:
            CheckpointError: Something is missing, of the wrong type or out of range; it was altered after it was
                written; or the format is a newer one.
        """
        if len(text) > LONGEST:
            raise CheckpointError(f"its card is {len(text):,} characters long; the longest that is read is {LONGEST:,}")
        try:
            data = json.loads(text)
            if data["format"] not in _READERS:
                raise CheckpointError(f"its card has format {data['format']!r:.80}; this version reads 1 to {FORMAT}")
            return _READERS[data["format"]](data)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise CheckpointError(f"its card is damaged: {type(error).__name__}: {error!s:.200}") from error


def seal(data: Mapping[str, Any]) -> str:
    """The hexadecimal SHA-256 of a card's JSON-able data, which is its last entry: a card that was altered shows."""
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def _read_sealed(data: Mapping[str, Any]) -> Card:
    content = {key: value for key, value in data.items() if key != SEAL}
    if data[SEAL] != seal(content):
        raise CheckpointError("its card is not the one it was written with; get the file again")
    see = Preprocessing.from_dict(data["preprocessing"])
    return Card(
        _architecture(data["source"], len(data["classes"]), see),
        see,
        _texts(data["classes"]),
        _text(data["task"]),
        tuple(from_data(edit) for edit in _list(data["edits"])),
        tuple(Stage.from_list(stage) for stage in _list(data["stages"])),
        _text(data["weights"]),
        _steps(data["lineage"]),
    )


def _read_format_2(data: Mapping[str, Any]) -> Card:
    return _brought_up(_read_sealed(data))


def _read_format_1(data: Mapping[str, Any]) -> Card:
    shape, lineage = data["architecture"], _steps(data["lineage"])
    see = Preprocessing.from_dict(
        {
            "size": (shape["size"], shape["size"]),
            "channels": shape["channels"],
            "mean": data["mean"],
            "std": data["std"],
            "resize": "crop",
            "crop": 1.0,
            "border": 2 if _first_data(lineage) == "fashion-mnist" else 0,
        }
    )
    card = Card(
        _architecture(shape, _whole(shape["classes"]), see),
        see,
        _texts(data["classes"]),
        _text(data["task"]),
        tuple(Cut.from_list(cut) for cut in _list(data["surgery"])),
        lineage=lineage,
    )
    return _brought_up(card)


_READERS = {1: _read_format_1, 2: _read_format_2, **dict.fromkeys(range(3, FORMAT + 1), _read_sealed)}


def _brought_up(card: Card) -> Card:
    """A card of an earlier format in the words of this one.

    What it calls resnet18 was torchvision's, before there was one of ours; and a cnn-s or cnn-a of another depth than 3
    had the layout of its time.
    """
    old = card.architecture
    if old.name in THEIRS_BEFORE:
        return replace(card, architecture=replace(old, name=TORCHVISION + old.name))
    if old.name in ("cnn-s", "cnn-a") and old.options.get("depth", 3) != 3:
        return replace(card, architecture=replace(old, options={**old.options, "layout": 1}))
    return card


def _first_data(lineage: tuple[Mapping[str, Any], ...]) -> object:
    """What a network of the first format was trained on: the border of its images was that data set's."""
    named = (step["data"].get("name") for step in lineage if isinstance(step.get("data"), dict))
    return next(named, None)


def _source(architecture: Architecture) -> dict[str, Any]:
    own = {"sha256": architecture.sha256} if architecture.sha256 else {}
    return {"name": architecture.name, "options": dict(architecture.options), **own}


def _architecture(source: Mapping[str, Any], classes: int, see: Preprocessing) -> Architecture:
    name, sha256 = _text(source["name"]), _text(source.get("sha256", ""))
    read = _plain if is_own(name) or name.startswith(TIMM) else _whole
    options = {_text(key): read(value) for key, value in source["options"].items()}
    return Architecture(name, classes, see.channels, see.size, options, sha256)


def _steps(values: object) -> tuple[Mapping[str, Any], ...]:
    steps = _list(values)
    for step in steps:
        if not isinstance(step, dict):
            raise TypeError(f"a step of its lineage is {step!r:.80}, not a mapping")
    return tuple(steps)


def _texts(values: object) -> tuple[str, ...]:
    return tuple(_text(value) for value in _list(values))


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.80} is not a list")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a text")
    return value


def _plain(value: object) -> Option:
    if not isinstance(value, int | float | str):  # a truth value is an int
        raise TypeError(f"{value!r:.80} is no number, truth value or text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is not a whole number")
    return value
