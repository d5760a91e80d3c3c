"""A .mlpackage, our own or any other with one image input, opened to be looked at: Core ML runs on macOS only."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from compress.errors import ExportError
from exports import folder
from exports.artefact import Artefact
from exports.extras import need
from exports.formats import UNVERIFIED
from exports.graph.census import GraphCensus
from exports.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTRA = "coreml"
KIND = "a .mlpackage"
MANIFEST, PLACE = "Manifest.json", "com.apple.CoreML"
GRAPH, WEIGHTS = f"Data/{PLACE}/model.mlmodel", f"Data/{PLACE}/weights/weight.bin"
_FLOATS = (10, 11, 12)  # float16, float32 and float64 in its specification


def read(path: Path, *, threads: int = 1, sealed: bool = True) -> Artefact:
    """The network in a .mlpackage, which cannot be run here; card and provenance are None where there is no label.

    Args:
        path: The package.
        threads: For nothing; as of other formats, at least 1.
        sealed: Refuse a package that was altered since edgepress wrote it.

    Raises:
        ExportError: The package is missing, damaged, altered, or is no ML program with one input.
        MissingExtraError: coremltools is not installed.
    """
    if threads < 1:
        raise ValueError(f"threads: got {threads}; at least 1 is needed")
    need(EXTRA, "coremltools")
    content = folder.content_of(path, KIND, (MANIFEST, GRAPH, WEIGHTS))
    card, provenance = folder.own_metadata(path, content, sealed=sealed)
    model = _model(path, content)
    shape = _shape(model.description.input[0])
    _operations(path, model, len(content[WEIGHTS]))
    return Artefact(
        path=path,
        sha256=folder.sha256(content),
        size_bytes=folder.size_bytes(content),
        layout="NCHW",
        dtype="float32",
        batch=shape[0] if shape else None,
        image_shape=shape[1:],
        threads=threads,
        card=card,
        provenance=provenance,
        runner=NoRunner(path),
    )


class NoRunner:
    """What stands where a runtime would, and says that there is none.

    Args:
        path: Named in errors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """ExportError, whatever comes."""
        self._refuse(image)

    def bind(self, image: NDArray[Any]) -> NoReturn:
        """ExportError, whatever comes."""
        self._refuse(image)

    def _refuse(self, image: NDArray[Any]) -> NoReturn:
        raise ExportError(
            f"{self._path}: cannot be run on images of shape {tuple(image.shape)}: it was converted, not verified: "
            f"{UNVERIFIED}; measure the .onnx of the same checkpoint here"
        )


def graph_census(path: Path) -> GraphCensus:
    """The census of a .mlpackage.

    Raises:
        ExportError: It is no ML program.
        MissingExtraError: coremltools is not installed.
    """
    need(EXTRA, "coremltools")
    content = folder.content_of(path, KIND, (MANIFEST, GRAPH, WEIGHTS))
    model = _model(path, content)
    operations = _operations(path, model, len(content[WEIGHTS]))
    shapes = {one.name: _sides(one.type) for operation in operations for one in operation.outputs}
    stored = [operation.outputs[0] for operation in operations if _is_weight(operation)]
    return GraphCensus(
        parameters=sum(prod(_sides(one.type)) for one in stored),
        macs=sum(_macs(operation, shapes) for operation in operations),
        operators=dict(Counter(one.type for one in operations if one.type != "const").most_common()),
        versions={"specification": model.specificationVersion},
        input_shape=_shape(model.description.input[0]),
        output_shape=shapes.get(model.description.output[0].name, ()),
    )


def _model(path: Path, content: folder.Content) -> Any:
    """The specification, as the messages of protobuf that coremltools knows."""
    with quiet():
        specification = need(EXTRA, "coremltools.proto.Model_pb2").Model
    try:
        model = specification.FromString(content[GRAPH])
    except Exception as error:  # of protobuf, whose own kinds differ with what it is built of
        raise ExportError(f"{path}: is not {KIND}, or is damaged ({error!s:.200}); export it again") from error
    taken = model.description.input
    if model.WhichOneof("Type") != "mlProgram" or len(taken) != 1 or not taken[0].type.HasField("multiArrayType"):
        raise ExportError(f"{path}: is no ML program with one input of numbers; edgepress reads what it wrote itself")
    return model


def _operations(path: Path, model: Any, weight_bytes: int) -> list[Any]:
    """All of the program, once every weight that it names lies inside the file of weights."""
    try:
        function = model.mlProgram.functions["main"]
        found = list(function.block_specializations[function.opset].operations)
        stored = [one for one in found if one.type == "const" and one.attributes["val"].HasField("blobFileValue")]
        needed = [one.attributes["val"].blobFileValue.offset + prod(_sides(one.outputs[0].type)) for one in stored]
    except (KeyError, IndexError) as error:
        raise ExportError(f"{path}: is not {KIND}, or is damaged ({error!s:.200}); export it again") from error
    if not found or max(needed, default=0) > weight_bytes:
        raise ExportError(f"{path}: is not {KIND}, or is damaged: it has weights that are not there; export it again")
    return found


def _is_weight(operation: Any) -> bool:
    """Whether it brings numbers to compute with, and not what an operator is told."""
    kind = operation.outputs[0].type.tensorType if operation.outputs else None
    return operation.type == "const" and kind is not None and kind.rank > 0 and kind.dataType in _FLOATS


def _macs(operation: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    """One product for each output value and each input value it sums over."""
    if operation.type == "conv":
        weight = shapes[operation.inputs["weight"].arguments[0].name]
        return prod(shapes[operation.outputs[0].name]) * prod(weight[1:])
    if operation.type == "linear":
        return prod(shapes[operation.outputs[0].name]) * shapes[operation.inputs["weight"].arguments[0].name][-1]
    return 0


def _sides(kind: Any) -> tuple[int, ...]:
    return tuple(int(side.constant.size) for side in kind.tensorType.dimensions)


def _shape(feature: Any) -> tuple[int, ...]:
    return tuple(int(side) for side in feature.type.multiArrayType.shape)
