"""The zip: a model, what it sees and says, golden vectors, and what runs and tests itself without edgepress."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from compress.card import Card
from compress.errors import DataError, ExportError
from compress.files import check_target, write_whole
from compress.text import printable
from exports import label
from exports.artefact import Artefact
from exports.bundle.golden import LIST, Golden, as_json, golden_vectors
from exports.bundle.pictures import Pictures
from exports.formats import FORMATS, Format, format_of

BUNDLED: Mapping[str, str] = {".onnx": "onnxruntime", ".tflite": "ai-edge-litert"}  # and what of PyPI runs it
MANIFEST = "MANIFEST.sha256"
COPIED = ("run.py", "selftest.py")
ALSO_COPIED: Mapping[str, tuple[str, ...]] = {".onnx": ("selftest.mjs",), ".tflite": ()}
_HERE = Path(__file__).parent
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold: two bundles of one file have the same bytes
_MODE = 0o100644 << 16
_UNIX = 3
_JAVASCRIPT = (
    "\nIn Node.js `npm install onnxruntime-node` and `node selftest.mjs` show the second half: it reads "
    "`golden/NN.seen.png`.\n"
)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written.

    Attributes:
        path: Its zip.
        sha256: Of the zip.
        manifest_sha256: Of its manifest, which has the digests of all other files.
        size_bytes: Of the zip.
        files: Name in the bundle to bytes.
        origin: What the golden images are.
        tolerance: How far the outputs of another machine may be from those here, in words.
    """

    path: Path
    sha256: str
    manifest_sha256: str
    size_bytes: int
    files: Mapping[str, int]
    origin: str
    tolerance: str


def check_bundled(path: Path) -> None:
    """Nothing, once a file is of a format that can be bundled; ExportError, which says what to do, otherwise."""
    if path.suffix in BUNDLED:
        return
    known = " or ".join(BUNDLED)
    if path.suffix in FORMATS:
        raise ExportError(f"{path}: a bundle takes {known}, which Python runs with one small package; export to these")
    raise ExportError(
        f"{path}: a bundle takes an exported file, {known}; of a checkpoint make one first: edgepress export {path} "
        f"-o {path.with_suffix('.onnx')}"
    )


def open_bundled(path: Path) -> tuple[Artefact, Card]:
    """A file that can be bundled, and its card.

    Raises:
        ExportError: It is of another format, damaged or altered.
        DataError: It does not say how it sees an image, or sees none that a picture could be.
    """
    check_bundled(path)
    if printable(path.name) != path.name:
        raise ExportError(f"{path}: its name holds characters that cannot be printed; rename it")
    artefact = format_of(path).read(path)
    if artefact.card is None:
        raise DataError(f"{path}: does not say how it sees an image; give a file that `edgepress export` wrote")
    channels = artefact.card.preprocessing.channels
    if channels not in (1, 3):
        raise DataError(f"{path}: sees images of {channels} channels; a bundle holds pictures, which have 1 or 3")
    return artefact, artefact.card


def make_bundle(path: Path, output: Path, pictures: Pictures, *, force: bool = False) -> Bundle:
    """The zip, whole; of the same file, pictures and versions it has the same bytes each time.

    Args:
        path: A file that edgepress exported, of a format in `BUNDLED`.
        output: The zip to write; its stem is the folder in it.
        pictures: Raw images for the golden vectors, at least two.
        force: Allow a file that already exists to be replaced.

    Raises:
        ExportError, DataError: See `open_bundled`; or the output is no .zip by its name.
        GateError: The file answers with NaN or infinite values.
        ValueError: Fewer than two pictures.
        OutputError: It cannot be written there, or exists and `force` is not given.
    """
    if output.suffix != ".zip":
        raise ExportError(f"{output}: a bundle is a zip; give a name that ends in .zip")
    check_target(output, force=force, inputs=[path])
    artefact, card = open_bundled(path)
    members = _members(artefact, card, pictures, output.stem)
    content = members[MANIFEST]
    write_whole(output, lambda staged: _zip(staged, output.stem, members), force=force)
    return Bundle(
        output,
        hashlib.sha256(output.read_bytes()).hexdigest(),
        hashlib.sha256(content).hexdigest(),
        output.stat().st_size,
        {name: len(member) for name, member in members.items()},
        pictures.origin,
        json.loads(members[LIST])["tolerance"]["words"],
    )


def _members(artefact: Artefact, card: Card, pictures: Pictures, name: str) -> dict[str, bytes]:
    """Name to content, in the order of the names; the manifest comes last."""
    form, package = format_of(artefact.path), BUNDLED[artefact.path.suffix]
    golden = golden_vectors(artefact, card, pictures, f"{form.runtime} {version(package)}")
    rule = _rule(artefact, card)
    members = {
        artefact.path.name: artefact.path.read_bytes(),
        "README.md": _readme(artefact, form, rule, golden, name=name, origin=pictures.origin),
        "card.json": _card(artefact, card),
        "labels.txt": "".join(f"{printable(one)}\n" for one in card.classes).encode(),
        "preprocessing.json": as_json(rule),
        **{copied: (_HERE / copied).read_bytes() for copied in (*COPIED, *ALSO_COPIED[artefact.path.suffix])},
        **golden.members,
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(members.items())}
    manifest = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    return {**{name: members[name] for name in digests}, MANIFEST: manifest.encode()}


def _rule(artefact: Artefact, card: Card) -> dict[str, Any]:
    """What preprocessing.json says."""
    see, takes, layout = card.preprocessing, artefact.input, artefact.layout
    height, width = see.size
    sides = {"N": 1, "C": see.channels, "H": height, "W": width}
    scaled = {} if takes == "uint8" else {"mean": list(see.mean), "std": list(see.std)}
    return {
        "model": artefact.path.name,
        "task": card.task,
        "size": {"height": height, "width": width},
        "channels": see.channels,
        "colour": "grey: 0.299 R + 0.587 G + 0.114 B, rounded" if see.channels == 1 else "RGB, in this order",
        "resize": {
            "rule": see.resize,
            "crop": see.crop,
            "border": see.border,
            "filter": "bilinear, antialiased: Pillow's BILINEAR, whose triangle widens as the image is made smaller; "
            "along the width, rounded to 8 bits, then along the height; OpenCV's INTER_LINEAR and INTER_AREA differ",
        },
        **scaled,
        "scale": "none: the pixels go in as they are" if not scaled else "(pixel / 255 - mean) / std, by channel",
        "layout": layout,
        "dtype": takes,
        "shape": [sides[axis] for axis in layout],
        "steps": label.steps(see, takes, layout, 1),
        "output": _output(card, layout),
    }


def _output(card: Card, layout: str) -> str:
    """What to make of the outputs, in words."""
    read = label.how_to_read(card, layout, 1)
    if read:
        return read
    if card.task == "retrieval":
        return "The outputs are an embedding: images are alike whose embeddings are near each other."
    return (
        f"The outputs are logits of shape (1, {len(card.classes)}), one for each line of labels.txt, in its order: the "
        "class is that of the largest, and softmax makes shares of them."
    )


def _card(artefact: Artefact, card: Card) -> bytes:
    return as_json(
        {
            "file": {"name": artefact.path.name, "sha256": artefact.sha256, "size_bytes": artefact.size_bytes},
            "card": json.loads(card.to_json()),
            "provenance": None if artefact.provenance is None else asdict(artefact.provenance),
        }
    )


def _readme(
    artefact: Artefact, form: Format, rule: Mapping[str, Any], golden: Golden, *, name: str, origin: str
) -> bytes:
    card = artefact.card
    assert card is not None
    least = label.needs(card)
    text = Template((_HERE / "README.md").read_text(encoding="utf-8")).substitute(
        name=printable(name),
        about=f"A network for {card.task} of {len(card.classes)} classes, made by edgepress {label.tool_version()}.",
        model=printable(artefact.path.name),
        bytes=f"{artefact.size_bytes:,}",
        runtime=form.runtime,
        package=BUNDLED[artefact.path.suffix],
        steps="\n1. ".join(rule["steps"]),
        output=rule["output"],
        needs=f"\nIt needs {least}.\n" if least else "",
        javascript=_JAVASCRIPT if ALSO_COPIED[artefact.path.suffix] else "",
        tolerance=golden.tolerance.words,
        origin=origin,
    )
    return text.encode()


def _zip(staged: Path, folder: str, members: Mapping[str, bytes]) -> None:
    """The members in one folder, stored as they are: the same bytes, whatever zlib is at hand."""
    with zipfile.ZipFile(staged, "w", zipfile.ZIP_STORED) as made:
        for name, content in members.items():
            entry = zipfile.ZipInfo(f"{folder}/{name}", _DATE)
            entry.external_attr, entry.create_system = _MODE, _UNIX
            made.writestr(entry, content)
