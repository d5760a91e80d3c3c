"""The cards of shipped files, through the command, each read by those whose format it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_benchmark_compare import _checkpoint
from typer.testing import CliRunner, Result

from benchmarks.cards import cyclonedx, huggingface, intoto
from benchmarks.cards.known import look
from benchmarks.cards.wording import name_text, value_texts
from benchmarks.document import digest, record
from cli.main import app
from compress.data import DataOptions, load
from compress.evidence import Record
from exports import format_of, noise, ship

READS_CYCLONEDX = pytest.mark.extra("test", "cyclonedx", "jsonschema")
READS_INTOTO = pytest.mark.extra("test", "in_toto_attestation")
CLAIMS = ("--max-size", "1MB", "--max-latency", "1us", "--min-speedup", "0.001", "--max-drop", "5")


def _run(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/ with two files and the benchmark of them, and cards/ of these; alone.onnx that nothing measured."""
    folder = tmp_path_factory.mktemp("cards")
    (folder / "dist").mkdir()
    digits = load("digits", DataOptions()).classes
    step = {"command": "edgepress train cnn-s --data digits", "data": {"name": "digits", "fingerprint": "f0"}}
    whole, small = _checkpoint("cnn-a", digits), _checkpoint("cnn-s", digits)
    shipped = {"dist/whole.onnx": whole, "dist/small.onnx": small.with_step(step), "alone.onnx": small}
    for path, made in shipped.items():
        ship(made, folder / path, [noise(made.card)])
    files = (folder / "dist" / "whole.onnx", folder / "dist" / "small.onnx")
    bench = folder / "dist" / "bench.json"
    done = _run("benchmark", *files, "--data", "digits", "--rounds", 10, "--sessions", 2, *CLAIMS, "-o", bench)
    assert done.exit_code == 3, done.output
    done = _run("card", folder / "dist", "-o", folder / "cards")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def file(folder: Path) -> dict[str, Any]:
    """What the benchmark says of small.onnx."""
    found: dict[str, Any] = json.loads((folder / "dist" / "bench.json").read_text("utf-8"))["files"][1]
    return found


def _card(folder: Path, name: str, title: str) -> Any:
    text = (folder / "cards" / name / title).read_text("utf-8")
    return text if title.endswith(".md") else json.loads(text)


def test_a_set_for_each_file_and_a_test_result_where_something_was_claimed(folder: Path) -> None:
    held = {path.relative_to(folder / "cards").as_posix() for path in (folder / "cards").rglob("*.*") if path.is_file()}
    titles = ("README.md", "bom.cdx.json")
    small = {f"small.onnx/{title}" for title in (*titles, "test-result.intoto.json")}
    assert held == small | {f"whole.onnx/{title}" for title in titles}


# CycloneDX


def test_the_bom_holds_every_number_with_its_interval(folder: Path, file: dict[str, Any]) -> None:
    found = _card(folder, "small.onnx", "bom.cdx.json")
    model = found["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": file["sha256"]}]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [float(one["value"]) for one in metrics] == [one["value"] for one in file["records"]]
    named = {one["type"]: one for one in metrics if "class" not in one.get("slice", "")}
    top1 = record(file, "top1")
    assert top1 is not None
    assert named["top1 [share]"]["slice"] == "test split of digits"
    ends = named["top1 [share]"]["confidenceInterval"]
    assert (float(ends["lowerBound"]), float(ends["upperBound"])) == (top1["low"], top1["high"])
    assert "confidenceInterval" not in named["size [bytes]"]
    told = {one["name"]: one["value"] for one in model["properties"]}
    assert told["edgepress:benchmark:baseline"] == "whole.onnx"
    assert told["edgepress:benchmark:samples:top1"] == str(top1["n"])


def test_the_bom_names_data_tools_and_lineage(folder: Path) -> None:
    found = _card(folder, "small.onnx", "bom.cdx.json")
    assert [one["type"] for one in found["components"]] == ["data", "data"]
    refs = [one["bom-ref"] for one in found["components"]]
    assert refs[0] == "data:digits:f0"
    model = found["metadata"]["component"]
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": ref} for ref in refs]
    assert model["externalReferences"][0]["url"] == "bench.json"
    assert found["metadata"]["tools"]["components"][0]["name"] == "edgepress"
    (step,) = found["formulation"][0]["workflows"][0]["steps"]
    assert step["commands"] == [{"executed": "edgepress train cnn-s --data digits"}]


@READS_CYCLONEDX
def test_the_bom_is_valid_by_the_schema_of_cyclonedx(folder: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_7)
    found = [(folder / "cards" / name / "bom.cdx.json").read_text("utf-8") for name in ("small.onnx", "whole.onnx")]
    found.append(json.dumps(cyclonedx.bom(look(folder / "alone.onnx", None))))
    assert [validator.validate_str(text) for text in found] == [None, None, None]
    altered = json.loads(found[0])
    altered["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] = 1
    assert validator.validate_str(json.dumps(altered)) is not None


@READS_CYCLONEDX
@pytest.mark.extra("openvino")
def test_the_bom_of_a_folder_has_the_hash_of_every_file(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    path = tmp_path / "small.openvino"
    made = _checkpoint("cnn-s", load("digits", DataOptions()).classes)
    ship(made, path, [noise(made.card)])
    found = cyclonedx.bom(look(path, None))
    parts = {one["name"]: one["hashes"][0]["content"] for one in found["metadata"]["component"]["components"]}
    assert set(parts) == {f"small.openvino/{one.name}" for one in path.iterdir()}
    assert format_of(path).read(path).sha256 not in parts.values()
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(json.dumps(found)) is None


def test_equal_content_has_an_equal_serial_number(folder: Path, tmp_path: Path) -> None:
    assert _run("card", folder / "dist", "-o", tmp_path / "again").exit_code == 0
    again = json.loads((tmp_path / "again" / "small.onnx" / "bom.cdx.json").read_text("utf-8"))
    first = _card(folder, "small.onnx", "bom.cdx.json")
    assert first == again
    assert first["serialNumber"] != _card(folder, "whole.onnx", "bom.cdx.json")["serialNumber"]


def test_what_is_about_one_class_is_a_slice_and_no_result_on_the_data(folder: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    document = json.loads((folder / "dist" / "bench.json").read_text("utf-8"))
    file = document["files"][1]
    file["records"].append(Record("top1 3", 0.5, n=40, unit="share", sha256=file["sha256"]).to_dict())
    _write(tmp_path / "bench.json", document)
    known = look(folder / "dist" / "small.onnx", tmp_path / "bench.json")
    metrics = cyclonedx.bom(known)["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[-1] == {"type": "top1 [share]", "value": "0.5", "slice": "test split of digits, class 3"}
    text = huggingface.readme(known)
    assert "| top-1 accuracy, class 3 | 50.00 |" in text
    assert {one.metric_name for one in ModelCard(text).data.eval_results} == {
        "top-1 accuracy",
        "images decided as the baseline does",
        "calibration error",
    }


def test_frames_that_were_late_are_no_result_on_the_data(folder: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    document = json.loads((folder / "dist" / "bench.json").read_text("utf-8"))
    late = Record("deadline_miss_share", 0.1, 0.05, 0.2, n=180, unit="share", sha256=document["files"][1]["sha256"])
    document["files"][1]["records"].append(late.to_dict())
    _write(tmp_path / "bench.json", document)
    known = look(folder / "dist" / "small.onnx", tmp_path / "bench.json")
    metrics = cyclonedx.bom(known)["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert (metrics[-1]["type"], "slice" in metrics[-1]) == ("deadline_miss_share [share]", False)
    text = huggingface.readme(known)
    assert "| share of frames answered too late | 10.00 |" in text
    assert "deadline_miss_share" not in {one.metric_type for one in ModelCard(text).data.eval_results}


# in-toto


def test_the_statement_divides_the_claims_as_the_benchmark_held_them(folder: Path, file: dict[str, Any]) -> None:
    found = _card(folder, "small.onnx", "test-result.intoto.json")
    assert found["subject"] == [{"name": "small.onnx", "digest": {"sha256": file["sha256"]}}]
    predicate = found["predicate"]
    assert predicate["result"] == "FAILED"
    claims = json.loads((folder / "dist" / "bench.json").read_text("utf-8"))["claims"]
    assert (
        predicate["passedTests"][0] == f"size {record(file, 'size')['value']:,} bytes, asked: at most 1,000,000 bytes"
    )  # type: ignore[index]
    for held, name in (("met", "passedTests"), ("not shown", "warnedTests"), ("broken", "failedTests")):
        told = [one["sentence"].removeprefix(f"{file['name']}: ") for one in claims if one["held"] == held]
        assert predicate[name] == told
    assert [one["name"] for one in predicate["configuration"]] == ["bench.json", "bench.samples.npz"]


@pytest.mark.parametrize(
    ("kept", "result"), [(("met",), "PASSED"), (("met", "not shown"), "WARNED"), (("not shown", "broken"), "FAILED")]
)
def test_the_result_is_that_of_the_worst_claim(
    folder: Path, tmp_path: Path, kept: tuple[str, ...], result: str
) -> None:
    document = json.loads((folder / "dist" / "bench.json").read_text("utf-8"))
    name = document["files"][1]["name"]
    claims = [
        {"file": name, "claim": "max-size", "bound": 1.0, "held": one, "sentence": f"{name}: {one}"} for one in kept
    ]
    path = tmp_path / "bench.json"
    _write(path, {**document, "claims": claims})
    found = intoto.statement(look(folder / "dist" / "small.onnx", path))
    assert found is not None
    assert found["predicate"]["result"] == result


@READS_INTOTO
def test_the_statement_is_read_by_in_toto(folder: Path) -> None:
    from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
    from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    found = _card(folder, "small.onnx", "test-result.intoto.json")
    read = ParseDict(found, Message())
    Statement.copy_from_pb(read).validate()
    assert MessageToDict(read) == found
    predicate = ParseDict(found["predicate"], TestResult())
    assert predicate.result == "FAILED"
    assert list(predicate.failed_tests) == found["predicate"]["failedTests"]
    with pytest.raises(ParseError, match="brokenTests"):
        ParseDict({**found["predicate"], "brokenTests": []}, TestResult())


# Hugging Face


def test_the_model_index_is_read_by_hugging_face(folder: Path, file: dict[str, Any]) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(_card(folder, "small.onnx", "README.md"))
    assert card.data.model_name == "small.onnx"
    assert card.data.pipeline_tag == "image-classification"
    found = {one.metric_name: one for one in card.data.eval_results}
    assert set(found) == {"top-1 accuracy", "images decided as the baseline does", "calibration error"}
    top1 = found["top-1 accuracy"]
    assert (top1.metric_type, top1.dataset_name, top1.dataset_split) == ("accuracy", "digits", "test")
    assert top1.metric_value == record(file, "top1")["value"]  # type: ignore[index]


def test_the_model_card_says_what_the_file_and_the_benchmark_say(folder: Path, file: dict[str, Any]) -> None:
    text = _card(folder, "small.onnx", "README.md")
    top1 = record(file, "top1")
    assert top1 is not None
    value, low, high = (f"{100 * top1[key]:.2f}" for key in ("value", "low", "high"))
    row = f"| top-1 accuracy | {value} | {low} to {high} | % | {top1['n']} |"
    for part in (
        file["sha256"],
        row,
        "    edgepress train cnn-s --data digits\n",
        "Feed float32 of shape (batch, 1, 32",
    ):
        assert part in text
    assert text.count("| broken | ") == 1
    table = text[text.index("| --- | --- | --- | --- | --- |") : text.index("## Claims")]
    assert "_" not in table.replace("\\_", ""), "a name for people, not of a record"
    assert not re.search(r"\.\d*[1-9]\d{4}", table), "no digits that mean nothing"


@pytest.mark.parametrize(
    ("record", "row"),
    [
        (Record("size", 62_649, unit="bytes"), ("size", "62.6 kB", "", "")),
        (Record("latency batch 8", 0.0123456, 0.011, 0.0139, unit="ms"), ("latency of a call, batch 8", "0.0123")),
        (Record("top1 big cat", 0.5, 0.4, 0.61234, unit="share"), ("top-1 accuracy, class big cat", "50.00")),
        (Record("drop", 0.2222, -0.39, 0.834, unit="points"), ("score below the baseline's", "0.22", "-0.39 to 0.83")),
        (Record("map_c_paper", 0.123, unit="share"), ("mAP by cosine, as published tables count it", "12.30", "", "%")),
        (Record("fps_of_mine", 3.14159265), ("fps_of_mine", "3.142", "", "")),
    ],
)
def test_a_number_is_said_as_people_read_it(record: Record, row: tuple[str, ...]) -> None:
    assert (name_text(record.quantity), *value_texts(record))[: len(row)] == row


def test_what_is_not_known_is_left_out(folder: Path) -> None:
    from huggingface_hub import ModelCard

    known = look(folder / "alone.onnx", None)
    text, found = huggingface.readme(known), cyclonedx.bom(known)
    assert ModelCard(text).data.eval_results is None
    assert "## Claims" not in text
    assert "model-index" not in text
    assert "license" not in text
    metrics = found["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [one["type"] for one in metrics] == ["parameters", "values", "macs", "size [bytes]"]
    assert "timestamp" not in found["metadata"]
    assert intoto.statement(known) is None


def test_a_file_that_says_nothing_of_itself_has_cards_too(folder: Path, tmp_path: Path) -> None:
    import onnx
    from huggingface_hub import ModelCard

    model = onnx.load(folder / "alone.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    bench = tmp_path / "bench.json"
    words = ("--data", "digits", "--mean", "0.3", "--std", "0.3", "--rounds", 10, "--sessions", 2)
    done = _run("benchmark", tmp_path / "bare.onnx", *words, "--min-accuracy", 0, "-o", bench)
    assert done.exit_code == 0, done.output
    known = look(tmp_path / "bare.onnx", None)
    text, found, tested = huggingface.readme(known), cyclonedx.bom(known), intoto.statement(known)
    assert [one.metric_name for one in ModelCard(text).data.eval_results] == ["top-1 accuracy", "calibration error"]
    assert "## How to feed it" not in text
    assert "formulation" not in found
    assert "task" not in found["metadata"]["component"]["modelCard"]["modelParameters"]
    assert tested is not None
    assert tested["predicate"]["result"] == "PASSED"


def test_a_name_is_no_markup(tmp_path: Path) -> None:
    names = ("a|b", "<script>", "c_d_e", "`f`", *"ghijkl")
    made = _checkpoint("cnn-s", names)
    ship(made, tmp_path / "odd.onnx", [noise(made.card)])
    text = huggingface.readme(look(tmp_path / "odd.onnx", None))
    assert r"a\|b, \<script\>, c\_d\_e, \`f\`" in text


# the command


def _write(path: Path, document: dict[str, Any]) -> None:
    from benchmarks.document import save

    save({**document, "digest": digest(document)}, path, force=True)


def test_it_says_which_benchmark_it_took(folder: Path, tmp_path: Path) -> None:
    done = _run("card", folder / "alone.onnx", "-o", tmp_path / "cards", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["cards"] == {
        "alone.onnx": {"files": ["README.md", "bom.cdx.json"], "bench": None},
    }
    assert "no benchmark measured it" in done.stderr
    small = folder / "dist" / "small.onnx"
    done = _run("card", small, "-o", tmp_path / "own", "--bench", folder / "dist" / "bench.json", "--json")
    assert json.loads(done.stdout)["cards"]["small.onnx"]["bench"] == "bench.json"


@pytest.mark.parametrize(
    ("change", "says", "code"),
    [
        (lambda text: text.replace('"top1"', '"top2"'), "is not as `edgepress benchmark` wrote it", 3),
        (lambda _text: "{}", "its schema is None", 2),
    ],
)
def test_a_benchmark_that_was_altered_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[str], str], says: str, code: int
) -> None:
    path = tmp_path / "bench.json"
    path.write_text(change((folder / "dist" / "bench.json").read_text("utf-8")), encoding="utf-8")
    done = _run("card", folder / "dist" / "small.onnx", "--bench", path, "-o", tmp_path / "cards")
    assert (done.exit_code, says in done.stderr) == (code, True), done.output
    assert not (tmp_path / "cards").exists()


def test_a_benchmark_is_no_file(folder: Path, tmp_path: Path) -> None:
    bench = folder / "dist" / "bench.json"
    done = _run("card", bench, "-o", tmp_path / "cards")
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "is a benchmark, and cards are about a file; give a file that it measured" in said
    assert f"--bench {bench}" in said
    assert not (tmp_path / "cards").exists()


def test_what_cannot_be_told_apart_or_was_not_measured_is_refused(folder: Path, tmp_path: Path) -> None:
    bench = folder / "dist" / "bench.json"
    done = _run("card", folder / "alone.onnx", "--bench", bench, "-o", tmp_path / "cards")
    measured_by_whom = "measured no file with the bytes of alone.onnx"
    assert (done.exit_code, measured_by_whom in done.stderr) == (2, True), done.output
    for name in ("small.onnx", "bench.json"):
        (tmp_path / name).write_bytes((folder / "dist" / name).read_bytes())
    (tmp_path / "other.json").write_bytes(bench.read_bytes())
    done = _run("card", tmp_path / "small.onnx", "-o", tmp_path / "cards")
    assert (done.exit_code, "--bench bench.json" in done.stderr) == (2, True), done.output
    done = _run("card", tmp_path / "small.onnx", "--bench", bench, "-o", folder / "cards")
    assert (done.exit_code, "--force" in done.stderr) == (2, True), done.output
