"""What a .safetensors file says before its tensors: their shapes, and its card. It is read without torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors

from compress.card import Card
from compress.errors import CheckpointError, CompressError, MissingExtraError

KEY = "edgepress"
SUFFIX = ".safetensors"
EXPORTED = ".onnx"
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_card(path: Path | str) -> tuple[Card, dict[str, tuple[int, ...]]]:
    """The card of a checkpoint and the shape of each of its tensors; neither a tensor is read nor a network built.

    Raises:
        CheckpointError: The file is missing, a folder, a pickle, truncated, or has no card, or an altered one.
    """
    path = Path(path)
    shapes, metadata = read_header(path)
    if KEY not in metadata:
        raise CheckpointError(
            f"{path}: holds weights but no card of edgepress; commands with --arch read it when its network is named"
        )
    with about(path):
        return Card.from_json(metadata[KEY]), shapes


def read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shape of every tensor in a .safetensors file and its metadata; no tensor is read.

    Raises:
        CheckpointError: The file is missing, a folder, or not whole.
    """
    with Opened(path, "np") as opened:
        shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
        return shapes, opened.metadata() or {}


@contextmanager
def about(path: Path) -> Iterator[None]:
    """A `with` whose failures are those of the file at `path`."""
    try:
        yield
    except MissingExtraError as error:
        raise MissingExtraError(f"{path}: {error}") from error
    except (CompressError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def is_pickle(path: Path) -> bool:
    """Whether a file begins as torch's pickles do."""
    with path.open("rb") as file:
        return file.read(2) in PICKLES


def check_file(path: Path) -> Path:
    """`path`, once it is sure that there is a file; CheckpointError otherwise."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give a checkpoint file")
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a checkpoint that `edgepress train` or `distill` wrote")
    if not path.is_file():
        raise CheckpointError(f"{path} is a pipe or a device; give a checkpoint file")
    if path.suffix == EXPORTED:
        raise CheckpointError(
            f"{path}: is an exported file, not a checkpoint; give the .safetensors it was exported from, or "
            "use evaluate, predict, benchmark, verify or inspect, which take .onnx"
        )
    return path


class Opened:
    """A .safetensors file inside a `with`, whose failures name it.

    Args:
        path: The file.
        framework: Whose tensors are read from it: "pt" for torch, "np" for numpy.
    """

    def __init__(self, path: Path, framework: str) -> None:
        self.path = check_file(path)
        self._framework = framework

    def __enter__(self) -> Any:
        try:
            self.file: Any = safetensors.safe_open(self.path, framework=self._framework)
            opened: Any = self.file
            return opened.__enter__()
        except (safetensors.SafetensorError, OSError) as error:
            raise self._named(error) from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.file.__exit__(kind, error, trace)
        if isinstance(error, safetensors.SafetensorError | OSError):
            raise self._named(error) from error

    def _named(self, error: Exception) -> CheckpointError:
        if isinstance(error, OSError):
            return CheckpointError(f"{self.path}: cannot be read: {error.strerror or error}")
        if is_pickle(self.path):
            return CheckpointError(
                f"{self.path}: is a PyTorch pickle, not a {SUFFIX} checkpoint; commands with --arch can read its "
                "weights safely: name its network"
            )
        return CheckpointError(f"{self.path}: is damaged or not a {SUFFIX} file: {error}")
