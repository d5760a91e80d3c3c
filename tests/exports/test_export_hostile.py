from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from cli.main import app
from compress.errors import ExportError
from exports import Artefact
from exports.graph.seal import KEY as SEAL
from exports.graph.seal import seal
from exports.run_onnx import read

FOREVER = 2**62


def model(nodes: list[onnx.NodeProto], side: int = 4, **stored: np.ndarray) -> onnx.ModelProto:
    """From "x" (batch, 3, side, side) to "y"."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def endless() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["value"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["trips", "true", "x"], ["y"], body=body)
    return model([loop], trips=np.array(FOREVER), true=np.array(True))


def huge_value() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return model(nodes, shape=np.array([2**40]))


def huge_tensor() -> onnx.ModelProto:
    made = model([helper.make_node("Add", ["x", "w"], ["y"])])
    made.graph.initializer.append(TensorProto(name="w", dims=[2**62, 2**62], data_type=TensorProto.FLOAT))
    return made


def negative_tensor() -> onnx.ModelProto:
    made = huge_tensor()
    made.graph.initializer[0].dims[0] = -4
    return made


def elsewhere() -> onnx.ModelProto:
    """Weights in another file, and so many that they would fill the memory."""
    made = huge_tensor()
    tensor = made.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend([2**20, 2**14])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("length", str(2**36))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return made


def contradiction() -> onnx.ModelProto:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["h"]), helper.make_node("Conv", ["h", "w"], ["y"])]
    return model(nodes, shape=np.array([1, -1, -1, 7]), w=np.zeros((2, 3, 1, 1), np.float32))


def recursive() -> onnx.ModelProto:
    body = [helper.make_node("F", ["a"], ["b"], domain="own")]
    function = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("own", 1)])
    made = model([helper.make_node("F", ["x"], ["y"], domain="own")])
    made.functions.append(function)
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


def unheard_of() -> onnx.ModelProto:
    return model([helper.make_node("Mystery", ["x"], ["y"], domain="own")])


HOSTILE: dict[str, Callable[[], onnx.ModelProto]] = {
    "a value of 2^40": huge_value,
    "a tensor of 2^124": huge_tensor,
    "a tensor of -4": negative_tensor,
    "64 GB elsewhere": elsewhere,
    "an input of 2^62": lambda: model([helper.make_node("Relu", ["x"], ["y"])], side=2**62),
    "an input of 8193": lambda: model([helper.make_node("Relu", ["x"], ["y"])], side=8193),
    "shapes that contradict each other": contradiction,
    "a function that calls itself": recursive,
    "an operator that nobody knows": unheard_of,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_graph_ends_in_a_message_with_the_path(
    make: Callable[[], onnx.ModelProto], changed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed.write_bytes(make().SerializeToString())
    result = CliRunner().invoke(app, ["inspect", str(changed)])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"error: {changed}: ")
    assert capfd.readouterr() == ("", "")


def damaged(text: str) -> Callable[[dict[str, object]], str]:
    return lambda _: text


def provenance(**fields: object) -> Callable[[dict[str, dict[str, object]]], str]:
    return lambda label: json.dumps({**label, "provenance": {**label["provenance"], **fields}})


LABELS = {
    "deep": damaged("[" * 100_000),
    "deep inside": lambda label: json.dumps(label).replace(
        '"lineage": [', '"lineage": [' + "[" * 9000 + "]" * 9000 + ","
    ),
    "no JSON": damaged("not json"),
    "a list": damaged("[]"),
    "empty": damaged("{}"),
    "null": damaged("null"),
    "a number of 5,000 digits": damaged('{"card": ' + "9" * 5000 + "}"),
    "a later format": lambda label: json.dumps({**label, "format": 3}),
    "a format that is a list": lambda label: json.dumps({**label, "format": [2]}),
    "parameters of text": provenance(parameters="15050"),
    "parameters of none": provenance(parameters=None),
    "parameters of truth": provenance(parameters=True),
    "opset of a list": provenance(opset=[20]),
    "version of a number": provenance(torch_version=2.14),
    "digest of a mapping": provenance(weights_sha256={}),
    "no provenance": lambda label: json.dumps({"format": 2, "card": label["card"]}),
}


@pytest.mark.parametrize("change", LABELS.values(), ids=LABELS.keys())
def test_a_damaged_label_is_told(
    graph: onnx.ModelProto, changed: Path, change: Callable[[dict[str, object]], str]
) -> None:
    graph.metadata_props[0].value = change(json.loads(graph.metadata_props[0].value))
    del graph.metadata_props[1]
    seal(graph)
    onnx.save(graph, changed)
    with pytest.raises(
        ExportError, match=r"changed\.onnx: its edgepress metadata are damaged: .*export it again"
    ) as caught:
        read(changed)
    assert len(str(caught.value)) < 1000


def test_a_label_twice_is_told(graph: onnx.ModelProto, changed: Path) -> None:
    graph.metadata_props.append(graph.metadata_props[0])
    onnx.save(graph, changed)
    with pytest.raises(ExportError, match="it has 2 of them"):
        read(changed)


def test_bytes_that_are_no_text_are_told_with_the_path(exported: Artefact, changed: Path) -> None:
    changed.write_bytes(exported.path.read_bytes().replace(b"T-shirt", b"T-\xff\xffirt"))
    result = CliRunner().invoke(app, ["inspect", str(changed)])
    assert result.exit_code == 2
    assert str(changed) in result.stderr


def test_control_characters_of_a_label_never_reach_the_terminal(graph: onnx.ModelProto, changed: Path) -> None:
    label = json.loads(graph.metadata_props[0].value)
    label["card"]["classes"][0] = "\x1b[2J\u202egnp"
    graph.metadata_props[0].value = json.dumps(label)
    del graph.metadata_props[1]
    seal(graph)
    onnx.save(graph, changed)
    result = CliRunner().invoke(app, ["inspect", str(changed)])
    assert result.exit_code == 0
    assert not {"\x1b", "\u202e"} & set(result.stdout)
    assert "\\x1b[2J\\u202egnp" in "".join(result.stdout.replace("\u2502", "").split())


def test_every_flipped_byte_of_the_file_is_noticed(exported: Artefact, changed: Path) -> None:
    content = exported.path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(content), 150).tolist():
        flipped = bytearray(content)
        flipped[position] ^= 0x40
        changed.write_bytes(flipped)
        with pytest.raises(ExportError, match=r"changed\.onnx"):
            read(changed)


@pytest.mark.parametrize("factor", [1 + 2**-23, 1.01, 1.1, np.nan])
def test_one_changed_weight_breaks_the_seal(graph: onnx.ModelProto, changed: Path, factor: float) -> None:
    tensor = next(t for t in graph.graph.initializer if len(t.dims) == 4)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[5] *= np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(graph, changed)
    with pytest.raises(ExportError, match=r"changed\.onnx: was altered since it was exported"):
        read(changed)


@pytest.mark.parametrize(("old", "new"), [("class 4", "class 5"), ('"mean":[0.5', '"mean":[0.6')])
def test_a_changed_label_breaks_the_seal(graph: onnx.ModelProto, changed: Path, old: str, new: str) -> None:
    assert old in graph.metadata_props[0].value
    graph.metadata_props[0].value = graph.metadata_props[0].value.replace(old, new)
    onnx.save(graph, changed)
    with pytest.raises(ExportError, match="was altered since it was exported"):
        read(changed)


@pytest.mark.parametrize("command", ["inspect", "benchmark"])
def test_commands_notice_an_altered_file_by_themselves(graph: onnx.ModelProto, changed: Path, command: str) -> None:
    graph.graph.initializer[0].raw_data = bytes(reversed(graph.graph.initializer[0].raw_data))
    onnx.save(graph, changed)
    result = CliRunner().invoke(app, [command, str(changed)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {changed}: was altered since it was exported")


def test_a_file_whose_seal_is_gone_is_refused_unless_it_never_had_one(
    graph: onnx.ModelProto, exported: Artefact, changed: Path, images: torch.Tensor
) -> None:
    entry = next(entry for entry in graph.metadata_props if entry.key == SEAL)
    graph.metadata_props.remove(entry)
    onnx.save(graph, changed)
    with pytest.raises(ExportError, match="written with a seal"):
        read(changed)
    label = json.loads(graph.metadata_props[0].value)
    del label["format"], label["preprocessing"]
    graph.metadata_props[0].value = json.dumps(label)
    onnx.save(graph, changed)
    older = read(changed)
    assert older.provenance is not None
    assert older.provenance.graph_sha256 == ""
    assert torch.equal(older(images), exported(images))


def test_ctrl_c_ends_an_endless_graph(changed: Path) -> None:
    changed.write_bytes(endless().SerializeToString())
    code = f"""
import numpy as np
from pathlib import Path
from exports.run_onnx import read
artefact = read(Path({str(changed)!r}))
print("running", flush=True)
try:
    artefact.bind(np.zeros((1, 3, 4, 4), np.float32))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    try:
        assert process.communicate(timeout=20)[0] == "interrupted\n"
    finally:
        process.kill()
    assert process.returncode == 0


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    device = tmp_path / "zero.onnx"
    device.symlink_to("/dev/zero")
    with pytest.raises(ExportError, match="is not a file"):
        read(device)
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(ExportError, match="3,221,225,472 bytes"):
        read(large)
