"""A network beyond our own operators as a .tflite model: converted by litert-torch, then left with its graph alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from compress.errors import ExportError, MissingExtraError
from exports.litert.builder import AlignedBuffer
from exports.litert.translation import UntranslatableError
from exports.quiet import STDERR, STDOUT, quiet, silent

BATCH = 1  # litert-torch can leave no side of an image open

_PACKAGES = ("litert-torch", "litert-converter", "jax")  # what a graph depends on, the converter itself first


def writer() -> str:
    """The converter as a file names it, with all versions that its graph depends on; "" where it is not installed."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    except PackageNotFoundError:
        return ""


def convert(network: nn.Module, image: Tensor, output: str, refusal: UntranslatableError) -> Any:
    """The model, as the schema has it, of a file that takes `BATCH` images, channels last, in floats.

    Args:
        network: In eval mode, on the CPU.
        image: (B, C, H, W) of the images that it takes, at least `BATCH` of them.
        output: What to call its answers.
        refusal: Why it cannot be written without the converter, for messages.

    Raises:
        MissingExtraError: litert-torch is not installed.
        ExportError: It cannot convert the network either.
    """
    sample = image[:BATCH].permute(0, 2, 3, 1).contiguous()
    try:
        with _undisturbed():
            import litert_torch

            content = litert_torch.convert(ChannelsLast(network).eval(), (sample,)).model_content()
    except ImportError as error:
        raise MissingExtraError(
            f"{refusal}; or let litert-torch write it, which knows more operators: pip install 'edgepress[litert]'"
        ) from error
    except Exception as error:  # whatever torch, jax or the converter raises
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ExportError(f"{refusal}; litert-torch cannot convert it either: {reason:.300}") from error
    return _bare(schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)), output)


class ChannelsLast(nn.Module):
    """A network whose images, and maps if it answers with maps, have their channels last.

    Args:
        network: With channels second.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, C) images to (B, H, W, C) maps, or to (B, ...) outputs of another number of dimensions."""
        answers: Tensor = self.network(images.permute(0, 3, 1, 2))
        return answers.permute(0, 2, 3, 1) if answers.ndim == 4 else answers


def _bare(model: Any, output: str) -> Any:
    """The model without the names of its tensors, signatures and notes, and with each constant once."""
    stored = [b"" if buffer.data is None else bytes(buffer.data) for buffer in model.buffers]
    numbers = {b"": 0}
    for graph in model.subgraphs:
        graph.name = None
        for tensor in graph.tensors:
            tensor.name = None
            tensor.buffer = numbers.setdefault(stored[tensor.buffer], len(numbers))
    first = model.subgraphs[0]
    first.tensors[first.inputs[0]].name, first.tensors[first.outputs[0]].name = "input", output
    model.buffers = [AlignedBuffer(content) for content in numbers]
    model.signatureDefs = model.metadataBuffer = None
    return model


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Silence inside the `with`, and after it the environment as before: litert-torch notes its wishes there."""
    before = dict(os.environ)
    try:
        with quiet(), silent(STDOUT, STDERR):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
