"""Networks of timm, which its extra brings: "timm:NAME"."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor, nn

from compress.errors import CheckpointError, CompressError, MissingExtraError, unknown_name
from compress.models import TIMM
from compress.models.source import Architecture
from compress.preprocessing import Preprocessing
from compress.stages import Staged

RESERVED = ("num_classes", "in_chans", "img_size", "pretrained")


def timm_name(name: str) -> str:
    """The name of a network of timm, which is given with "timm:" before it.

    Raises:
        MissingExtraError: There is no timm.
        CompressError: It has no such network.
    """
    timm, bare = _timm(), name.removeprefix(TIMM)
    if not timm.is_model(bare.partition(".")[0]):
        known = [TIMM + each for each in timm.list_models()]
        raise CompressError(unknown_name("network", name, known))
    return name


def from_timm(architecture: Architecture) -> Staged:
    """A network of timm with random weights; its stages are still to be found.

    Raises:
        CompressError: It does not take the options, the size or the channels.
    """
    name = architecture.name
    for option in architecture.options:
        if option in RESERVED:
            raise CompressError(f"network {name!r}: --arg {option}: the data and --size say that; leave it out")
    arguments: dict[str, object] = {
        "num_classes": architecture.classes,
        "in_chans": architecture.channels,
        **architecture.options,
    }
    if _fixed(name):
        arguments["img_size"] = architecture.size
    try:
        model: nn.Module = _timm().create_model(name.removeprefix(TIMM), pretrained=False, **arguments)
    except Exception as error:  # timm raises whatever a builder met in arguments that it does not take
        raise CompressError(f"network {name!r} cannot be built: {type(error).__name__}: {error}") from error
    return Staged(model, ())


def pretrained_timm(name: str) -> tuple[dict[str, Tensor], Preprocessing]:
    """The published weights of a network of timm, and the rule that they were trained with.

    They are downloaded once, into the cache of the Hugging Face hub (HF_HOME changes it).

    Raises:
        CheckpointError: There are none for it, or they cannot be had.
    """
    timm, bare = _timm(), name.removeprefix(TIMM)
    cfg = timm.get_pretrained_cfg(bare)
    if cfg is None or not cfg.has_weights:
        raise CheckpointError(
            f"there are no pretrained weights of {name!r}; give a file of weights, or train it from scratch"
        )
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of each of its many attempts
    try:
        model = timm.create_model(bare, pretrained=True)
    except Exception as error:  # requests, httpx, the hub and torch each raise their own for want of a network
        raise CheckpointError(
            f"the pretrained weights of {name!r} cannot be had from {cfg.hf_hub_id or cfg.url} "
            f"({str(error).splitlines()[0]:.200}); try again with a network, or fetch that file elsewhere and give it "
            "instead"
        ) from error
    finally:
        log.setLevel(level)
    return model.state_dict(), rule_of(cfg)


def rule_of(cfg: Any) -> Preprocessing:
    """How weights of timm want to see an image, from their `pretrained_cfg`.

    Deviates: an image is always resized bilinearly, where many of them were trained with a bicubic filter.
    """
    channels, height, width = cfg.input_size
    return Preprocessing(
        size=(height, width),
        channels=channels,
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
        resize="stretch" if cfg.crop_mode == "squash" else "crop",
        crop=cfg.crop_pct,
    )


def _fixed(name: str) -> bool:
    """Whether a network is built for one size of its images, which it has to be told."""
    timm, bare = _timm(), name.removeprefix(TIMM)
    cfg = timm.get_pretrained_cfg(bare)
    return cfg is not None and bool(cfg.fixed_input_size)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("networks of timm need the package timm: pip install 'edgepress[timm]'") from error
    return timm
