"""What our own networks are called and what they may be told: known without torch, which building them needs."""

from __future__ import annotations

CNN_OPTIONS = ("width", "depth", "layout")
LAYERS = {  # basic blocks in each of layer1 to layer4 of a trunk
    "resnet10": (1, 1, 1, 1),
    "resnet14": (1, 1, 2, 2),
    "resnet18": (2, 2, 2, 2),
    "resnet20": (2, 2, 3, 2),
    "resnet26": (3, 3, 3, 3),
    "resnet34": (3, 4, 6, 3),
}
UNET = "unet-"  # what stands before the name of its trunk
