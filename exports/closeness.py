"""How close a file is to a network that holds its activations to grids, by what these grids change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from compress.errors import GateError
from compress.soundness import check_outputs
from compress.tasks import Agreement, part
from compress.text import counted
from exports.answers import task_of
from exports.artefact import Artefact
from exports.parity import ROUNDING, agreed, chunks

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Closeness:
    """How far one is from another that rounds the same values.

    Attributes:
        rms_difference: Root of the mean square over all outputs.
        allowed_difference: The limit.
        samples: How many images were compared.
        meaning: What it means that the two agree; None where their outputs name no classes.
        agreement: On how much of all they do, 0 to 1; None likewise.
    """

    rms_difference: float
    allowed_difference: float
    samples: int
    meaning: Agreement | None
    agreement: float | None

    def __str__(self) -> str:
        told = f"rms difference {self.rms_difference:.2g} (allowed {self.allowed_difference:.2g})"
        return f"{told}, {agreed(self.meaning, self.agreement)}{counted(self.samples, 'sample')}"


@dataclass(frozen=True)
class Networks:
    """What a file is held against.

    Attributes:
        rounded: The network.
        free: The same with its activations on no grids.
    """

    rounded: Network
    free: Network


def check_closeness(
    networks: Networks, graph: Artefact | None, deployed: Artefact, images: Iterable[Tensor], name: Path
) -> tuple[Closeness, Closeness | None]:
    """The file's graph against the network, and what runs against the graph, once both are close enough.

    Two runtimes add in another order, and so a value between two codes falls to the one here and to the other there;
    everything behind it moves by a little, the more the deeper the network is. No limit of single outputs can tell this
    from an error, so what the grids change in all is the limit: no more than that may lie between the network and the
    graph, nor between the graph and what runs. Were all values rounded independently, it would be 1.4 times as much.
    Beside it stands what parity allows any two runtimes, `ROUNDING` of the largest output: all there is where a network
    answers nearly the same to every image.

    Args:
        networks: The source, which takes what the file takes.
        graph: The file as its graph says, without what its runtime makes of it; None where the runtime has no such way,
            and what runs is held against the network alone.
        deployed: The file as it runs.
        images: Batches (B, C, H, W) of samples of the type of the file's `input`, at least one.
        name: What to call the file in messages.

    Raises:
        GateError: The outputs differ by more, in shape, or are not finite.
    """
    meaning = task_of(deployed).agreement
    noise, of_graph, of_kernels = _Squares(None), _Squares(meaning), _Squares(meaning)
    for batch in chunks(images, deployed.batch):
        with torch.no_grad():
            expected, free, found = networks.rounded(batch), networks.free(batch), deployed(batch)
        plain = graph(batch) if graph else expected
        for outputs, whose in ((expected, "the network it comes from"), (found, "the exported file")):
            check_outputs(outputs, f"{name}: {whose}")
        if found.shape != expected.shape:
            raise GateError(
                f"{name}: gives outputs of shape {tuple(found.shape)} where its network gives {tuple(expected.shape)}; "
                "do not ship it, export the network again"
            )
        noise.add(free, expected)
        of_graph.add(expected, plain)
        of_kernels.add(plain, found)
    if noise.samples == 0:
        raise ValueError("images: got none; at least one sample is needed to compare on")
    allowed = noise.rms + ROUNDING * noise.largest
    whole, kernels = of_graph.closeness(allowed), of_kernels.closeness(allowed)
    if graph is None:
        _check(kernels, name, "does not give the outputs of its network", "export the network again")
        return kernels, None
    _check(whole, name, "does not give the outputs of its network", "export the network again")
    _check(kernels, name, "on this machine it does not run as its graph says", _SATURATES)
    return whole, kernels


_SATURATES = (
    "sums of 8-bit products saturate on CPUs without VNNI instructions: quantize without --full-range, or verify it on "
    "the machine that it is meant for"
)


def _check(found: Closeness, name: Path, what: str, todo: str) -> None:
    if found.rms_difference > found.allowed_difference:
        raise GateError(f"{name}: {what}: {found}; do not ship it; {todo}")


class _Squares:
    """The sums over the samples that a closeness needs."""

    def __init__(self, meaning: Agreement | None) -> None:
        self.samples = 0
        self._meaning, self._agreeing = meaning, torch.zeros(2, dtype=torch.int64)
        self._values, self._sum = 0, 0.0
        self.largest = 0.0

    def add(self, expected: Tensor, found: Tensor) -> None:
        self.samples += len(expected)
        self.largest = max(self.largest, float(expected.abs().max()))
        self._values += expected.numel()
        self._sum += float((expected.double() - found.double()).square().sum())
        if self._meaning is not None:
            self._agreeing += self._meaning.count(expected, found)

    @property
    def rms(self) -> float:
        found: float = (self._sum / self._values) ** 0.5
        return found

    def closeness(self, allowed: float) -> Closeness:
        share = part(self._agreeing) if self._meaning else None
        return Closeness(self.rms, allowed, self.samples, self._meaning, share)
