"""Weights that torchvision and timm offer, also for our trunks, and how they want to see an image."""

from __future__ import annotations

from http.client import HTTPException
from typing import Any

import torchvision
from torch import Tensor

from compress.code import is_own
from compress.errors import CheckpointError
from compress.models import MODELS, TIMM, TORCHVISION
from compress.models.ours import UNET
from compress.models.resnet import ENCODER
from compress.preprocessing import Preprocessing

# They normalise once more inside, which a network of ours leaves to its preprocessing.
HALVES = ("googlenet", "inception_v3")
SIDE_HEADS = ("aux1.", "aux2.", "AuxLogits.")  # for their training from scratch; ours are built without


TRUNKS = ("resnet18", "resnet34")  # those of ours that torchvision has too


def pretrained(name: str) -> tuple[dict[str, Tensor], Preprocessing]:
    """The best published weights of a network of torchvision or timm, and the rule that they were trained with.

    A network of ours over such a trunk gets those of its encoder alone. They are downloaded once, into the cache of
    torch.hub (TORCH_HOME changes it).

    Args:
        name: A network, see `compress.models.known_name`.

    Raises:
        CheckpointError: There are none for it, or they cannot be had.
    """
    if name.startswith(TIMM):
        from compress.models.from_timm import pretrained_timm

        return pretrained_timm(name)
    if is_own(name):
        raise CheckpointError(
            f"there are no pretrained weights of {name!r}, a network of your own; give a file of them, or let its "
            "function load some"
        )
    if name not in MODELS:
        return _published(name.removeprefix(TORCHVISION))
    trunk = name.removeprefix(UNET)
    if trunk not in TRUNKS:
        able = ", ".join((*TRUNKS, *(UNET + each for each in TRUNKS)))
        raise CheckpointError(
            f"there are no pretrained weights of {name!r}, only of torchvision's networks, and of the trunks of "
            f"{able}; "
            "give a file of weights, or train it from scratch"
        )
    state, rule = _published(trunk)
    return {ENCODER + key: value for key, value in state.items() if not key.startswith("fc.")}, rule


def _published(name: str) -> tuple[dict[str, Tensor], Preprocessing]:
    published: Any = torchvision.models.get_model_weights(name)
    weights = published.DEFAULT
    try:
        model = torchvision.models.get_model(name, weights=weights, progress=False)
    except (OSError, HTTPException, RuntimeError) as error:  # the last where what came is not what was published
        raise CheckpointError(
            f"the pretrained weights of {name!r} cannot be had from {weights.url} ({error}); try again with a network, "
            "or fetch that file elsewhere and give it instead"
        ) from error
    state = {key: value for key, value in model.state_dict().items() if not key.startswith(SIDE_HEADS)}
    return state, _rule(name, weights.transforms())


def _rule(name: str, transforms: Any) -> Preprocessing:
    side, resized = transforms.crop_size[0], transforms.resize_size[0]
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    if name in HALVES:
        mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return Preprocessing((side, side), 3, mean, std, "crop", crop=side / resized)
