"""An ONNX model without what only its exporter needed: the same outputs, bit for bit, from fewer bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, defs, helper

_DEBUG_FIELDS = ("doc_string", "metadata_props")


def _ones(values: Sequence[int]) -> bool:
    return all(value == 1 for value in values)


def _zeros(values: Sequence[int]) -> bool:
    return not any(values)


def _reversed(values: Sequence[int]) -> bool:
    return list(values) == list(reversed(range(len(values))))


_WINDOW = {"dilations": _ones, "strides": _ones, "pads": _zeros}
_DEFAULTS_BY_RANK: Mapping[str, Mapping[str, Callable[[Sequence[int]], bool]]] = {
    "AveragePool": _WINDOW,
    "Conv": _WINDOW,
    "ConvInteger": _WINDOW,
    "ConvTranspose": {**_WINDOW, "output_padding": _zeros},
    "LpPool": _WINDOW,
    "MaxPool": _WINDOW,
    "QLinearConv": _WINDOW,
    "Transpose": {"perm": _reversed},
}  # whose length is that of the input's shape, so that the schema can name no value
_FOLDER = r"(?:(?:[A-Za-z]:|~\w*|\.\.)?[/\\])"
_QUOTED_PATH = re.compile(
    rf"(?P<quote>['\"])(?P<option>--?[\w-]+=?)?{_FOLDER}[^'\"]*[/\\](?P<name>[^'\"/\\]*)(?P=quote)"
)
_BARE_PATH = re.compile(rf"(?:(?<![^\s=,('\"])|(?<=\s-\w))(?:file://)?{_FOLDER}(?:[^\s'\"/\\]*[/\\])*(?=[^\s/\\])")


def strip(model: ModelProto) -> ModelProto:
    """A copy of the model that computes the same bits and holds nothing of the machine it was made on.

    Gone are all metadata (where torch keeps stack traces with file paths), doc strings, inferred shapes and attributes
    that say the default; every name but those of inputs and outputs becomes a few hexadecimal digits. The metadata
    of the model itself go too: write your own afterwards.

    Args:
        model: Any model; its inputs, outputs and symbolic sizes keep their names.
    """
    stripped = ModelProto()
    stripped.CopyFrom(model)
    for message in _messages(stripped):
        for field in _DEBUG_FIELDS:
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)
    opsets = {entry.domain: entry.version for entry in stripped.opset_import}
    parts = list(graphs(stripped.graph))
    for graph in parts:
        graph.name = "graph"
        graph.ClearField("value_info")
        for node in graph.node:
            node.ClearField("name")
            _drop_defaults(node, opsets)
    _rename(parts, [value.name for value in (*stripped.graph.input, *stripped.graph.output)])
    return stripped


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph, then every graph inside its nodes (the branches of an If, the body of a Loop), at any depth."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else attribute.graphs
            for part in inner:
                yield from graphs(part)


def without_folders(value: Any) -> Any:
    """JSON-able data with every absolute, home or parent path in it cut down to its last part.

    Args:
        value: Text, numbers, lists and mappings, nested in any way.
    """
    if isinstance(value, Mapping):
        return {key: without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(part) for part in value]
    if not isinstance(value, str):
        return value
    if "\n" not in value and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        return PureWindowsPath(value).name
    return _BARE_PATH.sub("", _QUOTED_PATH.sub(_quoted_name, value))


def _quoted_name(match: re.Match[str]) -> str:
    return f"{match['quote']}{match['option'] or ''}{match['name']}{match['quote']}"


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _messages(part)


def _drop_defaults(node: NodeProto, opsets: dict[str, int]) -> None:
    try:
        known = defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain).attributes
    except defs.SchemaError:
        return
    for index in reversed(range(len(node.attribute))):
        if _is_default(node, node.attribute[index], known):
            del node.attribute[index]


def _is_default(node: NodeProto, attribute: AttributeProto, known: dict[str, Any]) -> bool:
    if attribute.name not in known or attribute.ref_attr_name:
        return False
    by_rank = _DEFAULTS_BY_RANK.get(node.op_type, {}).get(attribute.name)
    if by_rank is not None:
        return by_rank(attribute.ints)
    default = known[attribute.name].default_value
    if default.type != attribute.type:
        return False
    return bool(helper.get_attribute_value(default) == helper.get_attribute_value(attribute))


def _rename(parts: Sequence[GraphProto], kept: Sequence[str]) -> None:
    short: dict[str, str] = {name: name for name in ("", *kept)}
    for graph in parts:
        defined = [value.name for value in (*graph.input, *graph.initializer)]
        for name in (*defined, *(output for node in graph.node for output in node.output)):
            if name not in short:
                short[name] = _unused(len(short), kept)
    for graph in parts:
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = short[value.name]
        for node in graph.node:
            node.input[:] = [short[name] for name in node.input]
            node.output[:] = [short[name] for name in node.output]


def _unused(number: int, kept: Sequence[str]) -> str:
    name = f"{number:x}"
    while name in kept:
        name = f"_{name}"
    return name
