"""The classification networks of torchvision, as teachers and as networks to prune."""

from __future__ import annotations

from dataclasses import replace

import torchvision
from torch import nn

from compress.models import TORCHVISION
from compress.models.source import Architecture
from compress.stages import Stage, Staged


def vision_names() -> list[str]:
    """The names of torchvision's classification networks."""
    return [str(name) for name in torchvision.models.list_models(module=torchvision.models)]


def vision(architecture: Architecture) -> Staged:
    """Any torchvision classification network by name, with random weights, for any number of input channels.

    The name is torchvision's own, with or without "torchvision:" before it.

    The stages of a ResNet are its stem, tapped after the ReLU and before the pooling, layer1 to layer4, the embedding
    (what goes into the last layer) and the logits; those of any other are still to be found.
    """
    model = _plain_model(replace(architecture, name=architecture.name.removeprefix(TORCHVISION)))
    _set_channels(model, architecture.channels)
    return Staged(model, _resnet_stages(model) if isinstance(model, torchvision.models.ResNet) else ())


def _plain_model(architecture: Architecture) -> nn.Module:
    arguments: dict[str, object] = {"weights": None, "num_classes": architecture.classes}
    if architecture.name.startswith("vit_"):
        height, width = architecture.size
        if height != width:
            raise ValueError(f"a vision transformer takes square images; got {height}x{width}")
        arguments["image_size"] = architecture.size[0]
    if "maxvit" in architecture.name:
        arguments["input_size"] = architecture.size
    if architecture.name in ("googlenet", "inception_v3"):
        arguments |= {"aux_logits": False, "init_weights": True}
    model: nn.Module = torchvision.models.get_model(architecture.name, **arguments)
    return model


def _resnet_stages(model: nn.Module) -> tuple[Stage, ...]:
    stem = Stage("stem", "relu", ("conv1", "bn1"), model.get_submodule("bn1").num_features)  # type: ignore[arg-type]
    layers = (f"layer{n}" for n in range(1, 5))
    body = (Stage(name, name, (name,), _last_norm_width(model.get_submodule(name))) for name in layers)
    head: nn.Linear = model.get_submodule("fc")  # type: ignore[assignment]
    embedding = Stage("embedding", "fc", (), head.in_features, before=True)
    return (stem, *body, embedding, Stage("logits", "", ("fc",), head.out_features))


def _last_norm_width(module: nn.Module) -> int:
    return [m.num_features for m in list(module.children())[-1].children() if isinstance(m, nn.BatchNorm2d)][-1]


def _set_channels(model: nn.Module, channels: int) -> None:
    path, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if first.in_channels == channels:
        return
    conv = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    model.set_submodule(path, conv)
