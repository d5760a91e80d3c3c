"""What a network may be trained for, by name: what a card is checked by, which is read without torch."""

from __future__ import annotations

from collections.abc import Mapping

MASKS: Mapping[str, bool] = {  # whether it is about a class for every pixel, instead of one for an image
    "classification": False,
    "retrieval": False,
    "segmentation": True,
}
HEADLINES: Mapping[str, str] = {  # the one of its metrics that stands for all of them
    "classification": "top1",
    "retrieval": "map_e_exact",
    "segmentation": "miou",
}
