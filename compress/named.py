"""What a user named as a network: a file of weights, or one of those that are known by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from compress.code import SUFFIX as CODE
from compress.code import is_own
from compress.errors import CompressError
from compress.header import SUFFIX
from compress.models import known_name

if TYPE_CHECKING:
    from compress.models import Option

WEIGHTS = (SUFFIX, ".pt", ".pth", ".bin", ".ckpt", ".onnx")


@dataclass(frozen=True)
class Named:
    """A network as it was named.

    Attributes:
        name: A file of weights, or a network's name.
        arch: The network whose plain state dict the file holds; "" where it is a checkpoint.
        options: Of a network by name, and of the one whose plain state dict it is: width, depth, those of --arg.
        told: Stage to the module whose output is its feature, in place of where it is, see `compress.models.found`.
    """

    name: str
    arch: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_file(self) -> bool:
        """Whether a file of weights is meant: by its suffix, by a folder before it, or because there is one.

        A network's name stays one, whatever lies in the folder.
        """
        if self.name.endswith(WEIGHTS) or self.arch:
            return True
        if is_own(self.name) or self.name.endswith(CODE):
            return False
        if os.sep in self.name:
            return True
        return Path(self.name).is_file() and not self.is_network

    @property
    def is_network(self) -> bool:
        """Whether there is a network of that name."""
        try:
            known_name(self.name)
        except CompressError:
            return False
        return True
