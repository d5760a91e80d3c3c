"""A .tflite file put together: tensors and operators to a model, a model and notes to the bytes of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from exports.litert.grids import Grid

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3

_ALIGNMENT = 16  # bytes, of what a buffer holds; the schema asks for it
_LAST_SHORT_CODE = 127  # of an operator; a file says a later one in another field
_KINDS = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
    "int4": schema.TensorType.INT4,
    "int2": schema.TensorType.INT2,
}
_PACKED_BITS = {"int4": 4, "int2": 2}  # of the types of which a byte holds several


class AlignedBuffer:
    """The bytes of one buffer, which the file holds at a multiple of 16 from its start."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def Pack(self, builder: Any) -> int:  # noqa: N802 (called by the generated code of the schema)
        vector = None
        if self.content:
            size = len(self.content)
            builder.StartVector(1, size, _ALIGNMENT)
            builder.head = builder.Head() - size
            builder.Bytes[builder.Head() : builder.Head() + size] = self.content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


class Builder:
    """Tensors and operators of one graph, in the order in which they were added."""

    def __init__(self) -> None:
        self._buffers = [AlignedBuffer(b"")]  # the first is that of every tensor without values
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._grids: dict[int, Grid] = {}
        self._codes: dict[tuple[int, int], int] = {}
        self._kept: dict[tuple[object, ...], int] = {}

    def value(self, shape: Sequence[int], *, open_batch: bool = False, grid: Grid | None = None) -> int:
        """The index of a new tensor without values: of int8 codes on a grid, or of floats.

        Args:
            shape: For one image.
            open_batch: Note that its first side may be of any length.
            grid: Of its codes; None for floats.
        """
        signature = np.asarray([-1, *shape[1:]], np.int32) if open_batch else None
        return self._on(grid, schema.TensorT(shape=np.asarray(shape, np.int32), shapeSignature=signature))

    def filling(self, number: np.float32, like: int) -> int:
        """The index of a tensor of one number: a code, where the tensor `like` is of codes."""
        grid = self.grid(like)
        if grid is None:
            return self.constant(np.asarray([number], np.float32))
        buffer = self._store(np.int8(grid.code(float(number))).tobytes())
        return self._on(grid, schema.TensorT(shape=np.asarray([1], np.int32), buffer=buffer))

    def grid(self, tensor: int) -> Grid | None:
        """Of a tensor of codes that an operator computes; None for one of floats."""
        return self._grids.get(tensor)

    def constant(self, values: NDArray[Any], scale: NDArray[np.float32] | None = None) -> int:
        """The index of a tensor of these values, the same one for the same values.

        Args:
            values: Of float32, float16, int32, int8, int4 or int2, in the order of the file.
            scale: What the float values are `values` times of, of as many dimensions; more than one along one of them
                at most.
        """
        content = _bytes(values)
        key = (content, values.shape, values.dtype, None if scale is None else (scale.tobytes(), scale.shape))
        if key in self._kept:
            return self._kept[key]
        tensor = schema.TensorT(
            shape=np.asarray(values.shape, np.int32), type=_KINDS[values.dtype.name], buffer=self._store(content)
        )
        if scale is not None:
            axis = next((axis for axis, side in enumerate(scale.shape) if side != 1), 0)
            factors = scale.astype(np.float32).ravel()
            tensor.quantization = schema.QuantizationParametersT(
                scale=factors, zeroPoint=np.zeros(len(factors), np.int64), quantizedDimension=axis
            )
        self._kept[key] = self._add(tensor)
        return self._kept[key]

    def operator(
        self, code: int, inputs: Sequence[int], output: int, options: object | None = None, *, version: int = 1
    ) -> Any:
        """A new operator, as the schema has it.

        Args:
            code: One of the schema's `BuiltinOperator`.
            inputs: Indices of tensors; -1 where an optional one is left out.
            output: Index of a tensor.
            options: Of the class of the schema that belongs to the operator; None for none.
            version: The first of the operator that can do what it is asked to.
        """
        made = schema.OperatorT(
            opcodeIndex=self._codes.setdefault((code, version), len(self._codes)),
            inputs=np.asarray(inputs, np.int32),
            outputs=np.asarray([output], np.int32),
        )
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(made)
        return made

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Of a tensor that was added."""
        return tuple(self._tensors[tensor].shape.tolist())

    def model(self, given: Mapping[str, int], found: Mapping[str, int]) -> Any:
        """The model, as the schema has it.

        Args:
            given: Name to the index of what a caller gives.
            found: Name to the index of what the graph answers.
        """
        for name, index in (*given.items(), *found.items()):
            self._tensors[index].name = name
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=np.asarray([*given.values()], np.int32),
            outputs=np.asarray([*found.values()], np.int32),
            operators=self._operators,
        )
        codes = [_code(code, version) for code, version in self._codes]
        return schema.ModelT(operatorCodes=codes, subgraphs=[graph], buffers=self._buffers)

    def _on(self, grid: Grid | None, tensor: Any) -> int:
        index = self._add(tensor)
        if grid is not None:
            tensor.type, self._grids[index] = schema.TensorType.INT8, grid
            tensor.quantization = schema.QuantizationParametersT(
                scale=np.asarray([grid.step], np.float32), zeroPoint=np.asarray([grid.zero], np.int64)
            )
        return index

    def _add(self, tensor: Any) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _store(self, content: bytes) -> int:
        self._buffers.append(AlignedBuffer(content))
        return len(self._buffers) - 1


def pack(model: Any, *, producer: str = "", notes: Mapping[str, bytes] | None = None) -> bytes:
    """The file of a model, the same bytes for the same model and notes.

    Args:
        model: As the schema has it, each of its buffers a `AlignedBuffer`.
        producer: What the file says wrote it.
        notes: Name to what stands beside the graph.
    """
    model.version, model.description, model.metadata = SCHEMA_VERSION, producer, []
    for name, content in (notes or {}).items():
        model.metadata.append(schema.MetadataT(name=name, buffer=len(model.buffers)))
        model.buffers.append(AlignedBuffer(content))
    builder = flatbuffers.Builder(4096 + sum(len(buffer.content) + _ALIGNMENT for buffer in model.buffers))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _bytes(values: NDArray[Any]) -> bytes:
    """The values as a file holds them: narrow ones beside each other, the first in the lowest bits of a byte."""
    bits = _PACKED_BITS.get(values.dtype.name)
    if bits is None:
        return np.ascontiguousarray(values).tobytes()
    codes = values.astype(np.int8).ravel().view(np.uint8) & (2**bits - 1)
    rows = np.pad(codes, (0, -len(codes) % (8 // bits))).reshape(-1, 8 // bits)
    packed: NDArray[np.uint8] = (rows << np.arange(0, 8, bits).astype(np.uint8)).sum(1, dtype=np.uint8)
    return packed.tobytes()


def _code(code: int, version: int) -> Any:
    short = min(code, _LAST_SHORT_CODE)
    return schema.OperatorCodeT(deprecatedBuiltinCode=short, builtinCode=code, version=version)
