"""The seal of an .onnx file: a digest of everything else in it, by which a changed weight or label shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

from onnx import ModelProto

from compress.errors import ExportError

KEY = "edgepress.sha256"


class AlteredError(ExportError):
    """An exported file is not as edgepress wrote it."""


def digest(model: ModelProto) -> str:
    """The hexadecimal SHA-256 of the model, serialised deterministically and without its seal."""
    bare = ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    bare.metadata_props.extend(entry for entry in model.metadata_props if entry.key != KEY)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def seal(model: ModelProto) -> str:
    """The digest, which is now the last entry of the model's metadata."""
    entry = model.metadata_props.add()
    entry.key = KEY
    entry.value = digest(model)
    return str(entry.value)


def recorded(model: ModelProto) -> str:
    """The digest that the model was sealed with; "" if it has none."""
    return next((entry.value for entry in model.metadata_props if entry.key == KEY), "")


def check_seal(path: Path, model: ModelProto) -> None:
    """Nothing, once the model is as it was sealed.

    Raises:
        AlteredError: It is not, or its seal is missing.
    """
    check_digest(path, recorded(model), digest(model))


def check_digest(path: Path, written: str, found: str) -> None:
    """Nothing, once the digest that was written is the one that was found; AlteredError otherwise."""
    if written != found:
        was = f"sha256 {written[:12]}..." if written else "a seal"
        raise AlteredError(
            f"{path}: was altered since it was exported (written with {was}, now {found[:12]}...); export it again, or "
            "get the file again"
        )
