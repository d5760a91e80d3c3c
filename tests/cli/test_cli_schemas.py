"""What the commands print as JSON, held against the published schemas."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from benchmarks.document import SCHEMA as BENCHMARK
from benchmarks.pages.sensitivity import SCHEMA as SENSITIVITY
from benchmarks.studies.table import SCHEMA as STUDY
from compress.evidence import Record

pytestmark = pytest.mark.extra("test", "jsonschema", "referencing")

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
SCHEMAS = {path.name.partition(".")[0]: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}
DIGEST = "0123456789abcdef" * 4

Run = Callable[[str, Path], Result]
Change = Callable[[Any], object]


def problems(name: str, document: object) -> list[str]:
    """What a document has otherwise than its schema, each with its place."""
    from jsonschema import Draft202012Validator, FormatChecker
    from referencing import Registry, Resource

    resources = [(one["$id"], Resource.from_contents(one)) for one in SCHEMAS.values()]
    registry: Registry[Any] = Registry().with_resources(resources)
    validator = Draft202012Validator(SCHEMAS[name], registry=registry, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def records_in(found: Any) -> Iterator[dict[str, Any]]:
    """Every record, wherever it stands."""
    if isinstance(found, dict) and {"quantity", "value"} <= found.keys():
        yield found
    elif isinstance(found, dict | list):
        for part in found.values() if isinstance(found, dict) else found:
            yield from records_in(part)


@pytest.fixture(scope="module")
def benchmark(trio: Any, succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A benchmark of two files with claims and an explanation, as it is written."""
    path = tmp_path_factory.mktemp("schemas") / "bench.json"
    line = "benchmark teacher.safetensors student.onnx --data digits --rounds 10 --sessions 2 --explain --max-size 9MB"
    succeeds(f"{line} -o {path}", trio.folder)
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one_and_has_a_version(name: str) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(SCHEMAS[name])
    title, version = SCHEMAS[name]["$id"].rsplit(":", 1)
    assert title == f"urn:edgepress:schema:{name}"
    assert SCHEMAS[name]["title"] == f"edgepress {name}, version {version}"
    assert f"({name}.schema.json)" in (FOLDER / "README.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "schema"), [("benchmark", BENCHMARK), ("study", STUDY), ("sensitivity", SENSITIVITY)])
def test_a_schema_is_of_the_version_that_is_written(name: str, schema: str) -> None:
    assert SCHEMAS[name]["properties"]["schema"]["const"] == schema
    assert SCHEMAS[name]["$id"].rsplit(":", 1)[1] == schema.rsplit("/", 1)[1]


def test_the_schema_of_a_record_takes_what_edgepress_takes() -> None:
    whole = Record("top1", 0.5, 0.4, 0.6, n=9, unit="share", sha256=DIGEST, seed=0).to_dict()
    assert problems("record", whole) == []
    less = [{key: value for key, value in whole.items() if key != name} for name in whole]
    values = (None, 1, 0.5, DIGEST, True, [], {})
    for changed in (*less, whole | {"more": 1}, *({**whole, name: value} for name in whole for value in values)):
        try:
            Record.from_dict(changed)
        except ValueError:
            assert problems("record", changed) != []
        else:
            assert problems("record", changed) == []


def test_a_benchmark_is_as_its_schema_says(benchmark: Any) -> None:
    assert problems("benchmark", benchmark) == []
    assert benchmark["files"][1]["explained"]["records"]
    assert benchmark["claims"]


CHANGES: dict[str, Change] = {
    "a file without a digest": lambda one: one["files"][0].pop("sha256"),
    "a record without its unit": lambda one: one["files"][1]["records"][0].pop("unit"),
    "a record with more": lambda one: one["files"][1]["records"][0].update(sd=0.1),
    "a value that is a list": lambda one: one["files"][1]["records"][0].update(value=[1]),
    "a digest of another kind": lambda one: one["files"][1]["records"][0].update(sha256="md5"),
    "a claim of another word": lambda one: one["claims"][0].update(held="maybe"),
    "records of another name": lambda one: one["files"][0].update(numbers=one["files"][0].pop("records")),
    "numbers of what was not measured": lambda one: one["files"][0].update(reason="it is damaged"),
    "another version": lambda one: one.update(schema="edgepress-benchmark/3"),
    "no protocol": lambda one: one.pop("protocol"),
    "a record of an explanation": lambda one: one["files"][1]["explained"]["records"][0].pop("n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=[*CHANGES])
def test_a_changed_part_is_seen(benchmark: Any, change: Change) -> None:
    document = copy.deepcopy(benchmark)
    change(document)
    assert problems("benchmark", document) != []


def test_a_file_that_was_left_out_is_as_the_schema_says(trio: Any, edgepress: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    line = f"benchmark student.onnx {tmp_path / 'broken.onnx'} --rounds 10 --sessions 2 --json"
    document = json.loads(edgepress(line, trio.folder).stdout)
    assert document["files"][1]["reason"]
    assert problems("benchmark", document) == []


def test_a_study_is_as_its_schema_says(trio: Any, succeeds: Run, tmp_path: Path) -> None:
    line = f"compare {trio.folder}/teacher.safetensors --methods no_teacher --fractions 0.2 --epochs 1 --width 4"
    said = succeeds(f"{line} --depth 2 --data digits --no-figures --json -o study", tmp_path)
    document = json.loads(said.stdout)
    assert problems("study", document) == []
    assert document == json.loads((tmp_path / "study" / "study.json").read_text("utf-8"))
    document["rows"][0]["records"][0]["value"] = []
    assert problems("study", document) != []


@pytest.mark.parametrize(
    "line",
    [
        "quantize teacher.safetensors --scheme w4 --sensitivity --data digits",
        "prune teacher.safetensors --sensitivity --data digits --fraction 0.3 --samples 50",
    ],
)
def test_a_sensitivity_is_as_its_schema_says(workshop: Path, succeeds: Run, line: str) -> None:
    document = json.loads(succeeds(f"{line} --json -o look.json", workshop).stdout)
    assert problems("sensitivity", document) == []
    del next(records_in(document))["reason"]
    assert problems("sensitivity", document) != []


FEW = "--data digits --size 24 --fraction 0.2 --epochs 1"


@pytest.mark.parametrize(
    "line",
    [
        f"train cnn-s {FEW} --seed 3 -o new.safetensors",
        "distill teacher.safetensors --method okd --data digits --fraction 0.2 --epochs 1 -o new.safetensors",
        "prune teacher.safetensors --ratio 0.5 --no-timing --data digits -o new.safetensors",
        "quantize student.safetensors --scheme w8 --data digits -o new.onnx",
        "quantize student.safetensors --qat w8 --epochs 1 --fraction 0.2 --data digits -o new.safetensors",
        "export student.safetensors -o new.onnx",
        "export student.safetensors --to onnx --precision fp32,w8 --data digits -o dist",
        "evaluate student.onnx --data digits",
        "evaluate teacher.safetensors --data digits --task retrieval",
    ],
)
def test_every_number_of_a_command_is_a_record(workshop: Path, succeeds: Run, line: str) -> None:
    facts = json.loads(succeeds(f"{line} --json", workshop).stdout)
    found = list(records_in(facts))
    assert found
    assert [said for one in found for said in problems("record", one)] == []
    assert {one["command"].split()[:2] == ["edgepress", line.split()[0]] for one in found} == {True}
    assert all(one["environment"]["edgepress"] for one in found)
    assert all(len(one["sha256"]) == 64 for one in found)
