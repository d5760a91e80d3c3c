"""The main job, every step by its command: train, distil, prune, evaluate, export, benchmark, inspect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result
from watch import same, state_of

from benchmarks.document import SCHEMA, number, record
from compress.checkpoint import Checkpoint, load
from compress.data import DATASETS
from compress.data import load as load_data
from exports.run_onnx import read

Run = Callable[[str, Path], Result]

FEW = "--data digits --fraction 0.2 --batch-size 32 --epochs 1"
TOP1 = re.compile(r"^top1 ([\d.]+) %  \[95 %: ([\d.]+) to ([\d.]+)\]$", re.MULTILINE)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def parameters(checkpoint: Checkpoint) -> int:
    return sum(parameter.numel() for parameter in checkpoint.network.model.parameters())


def test_training_prints_a_line_an_epoch_and_keeps_a_record_of_each(trio: Any) -> None:
    lines = trio.results["teacher"].stdout.splitlines()
    kept = records(trio.folder / "teacher.metrics.jsonl")
    assert [epoch["epoch"] for epoch in kept] == [1, 2, 3, 4]
    for line, epoch in zip(lines[:4], kept, strict=True):
        assert line.split()[:2] == ["task", f"{epoch['epoch']}/4"]
        for shown in (f"ce {epoch['losses']['ce']:.4g}", "train_top1", "images/s", "left"):
            assert shown in line
    assert kept[-1]["losses"]["ce"] < kept[0]["losses"]["ce"]
    assert TOP1.search(lines[4])
    assert lines[5:] == ["written: teacher.safetensors"]
    assert trio.results["teacher"].stderr == ""


def test_nothing_but_results_and_metrics_is_left(trio: Any) -> None:
    assert sorted(path.name for path in trio.folder.iterdir()) == [
        "student.auxiliary.metrics.jsonl",
        "student.auxiliary.safetensors",
        "student.metrics.jsonl",
        "student.onnx",
        "student.safetensors",
        "teacher.metrics.jsonl",
        "teacher.safetensors",
    ]


def test_the_lineage_says_how_a_network_was_made(trio: Any) -> None:
    (step,) = load(trio.folder / "teacher.safetensors").card.lineage
    digits = load_data("digits")
    assert step["command"] == f"edgepress {trio.commands['teacher']}"
    assert step["data"]["name"] == "digits"
    assert step["data"]["train_images"] == pytest.approx(0.2 * len(digits.train), abs=10)
    assert (step["seed"], step["phases"]) == (0, [["task", 4]])
    assert torch.__version__.startswith(step["versions"]["torch"])
    assert step["metrics"]["top1"] > 0.4


def test_indistill_makes_its_auxiliary_and_then_the_student(trio: Any) -> None:
    lines = trio.results["student"].stdout.splitlines()
    made, training = lines[0], [line.split()[0] for line in lines if "images/s" in line]
    assert (made, lines[5]) == ("student.auxiliary.safetensors:", "student.safetensors:")
    assert training == ["task"] * 2 + ["embedding"] * 2 + ["map1"] + ["map2"] * 2 + ["embedding"] * 3
    auxiliary, student = (load(trio.folder / f"student{kind}.safetensors") for kind in (".auxiliary", ""))
    assert auxiliary.card.architecture.name == "cnn-a"
    assert auxiliary.network.width("map1") == 2 * student.network.width("map1") == 8
    assert [len(records(trio.folder / f"student{kind}.metrics.jsonl")) for kind in (".auxiliary", "")] == [4, 6]
    (step,) = student.card.lineage
    assert step["command"] == f"edgepress {trio.commands['student']}"
    assert step["phases"] == [["map1", 1], ["map2", 2], ["embedding", 3]]


def test_a_finished_auxiliary_gives_the_same_student(trio: Any, workshop: Path, succeeds: Run) -> None:
    line = trio.commands["student"].replace("--auxiliary-epochs 2", "--auxiliary student.auxiliary.safetensors")
    line = line.replace("-o student", "-o again")
    result = succeeds(line, workshop)
    assert [line.split()[0] for line in result.stdout.splitlines()[:2]] == ["map1", "map2"]
    assert same(
        state_of(load(workshop / "again.safetensors").network), state_of(load(workshop / "student.safetensors").network)
    )
    assert not (workshop / "again.auxiliary.safetensors").exists()


@pytest.mark.parametrize(
    ("method", "losses"), [("okd --set alpha=0.3", {"ce", "kd"}), ("pkt", {"ce", "pkt"}), ("no_teacher", {"ce"})]
)
def test_every_single_layer_method_trains_a_student(
    workshop: Path, succeeds: Run, method: str, losses: set[str]
) -> None:
    succeeds(f"distill teacher.safetensors {FEW} --method {method} -o new.safetensors", workshop)
    made = load(workshop / "new.safetensors")
    assert (made.card.architecture.name, made.card.task) == ("cnn-s", "classification")
    assert set(records(workshop / "new.metrics.jsonl")[0]["losses"]) == losses
    assert f"--method {method}" in made.card.lineage[-1]["command"]
    assert not (workshop / "new.auxiliary.safetensors").exists()


def test_a_student_can_go_on_from_a_checkpoint(workshop: Path, succeeds: Run) -> None:
    succeeds(
        f"distill teacher.safetensors {FEW} --method okd --student student.safetensors -o new.safetensors", workshop
    )
    commands = [step["command"].split()[1] for step in load(workshop / "new.safetensors").card.lineage]
    assert commands == ["distill", "distill"]


def test_retrieval_uses_no_labels_and_is_measured_as_retrieval(workshop: Path, succeeds: Run) -> None:
    succeeds(f"distill teacher.safetensors {FEW} --method pkt --task retrieval -o new.safetensors", workshop)
    assert set(records(workshop / "new.metrics.jsonl")[0]["losses"]) == {"pkt"}
    made = load(workshop / "new.safetensors")
    assert made.card.task == "retrieval"
    found = json.loads(succeeds("evaluate new.safetensors --data digits --json", workshop).stdout)
    assert found["task"] == "retrieval"
    scores = {one["quantity"]: one["value"] for one in found["records"]}
    assert {"map_e_paper", "map_c_exact"} <= set(scores)
    assert all(0 < value <= 1 for value in scores.values())


def test_evaluate_says_the_same_as_text_and_as_json(trio: Any, succeeds: Run) -> None:
    text = succeeds("evaluate teacher.safetensors --data digits", trio.folder).stdout
    found = json.loads(succeeds("evaluate teacher.safetensors --data digits --json", trio.folder).stdout)
    (top1,) = found["records"]
    assert (found["data"], found["task"], top1["n"]) == ("digits", "classification", 450)
    assert top1["sha256"] == sha256((trio.folder / "teacher.safetensors").read_bytes()).hexdigest()
    shown = TOP1.search(text)
    assert shown is not None
    assert list(shown.groups()) == [f"{100 * top1[part]:.2f}" for part in ("value", "low", "high")]
    assert TOP1.search(trio.results["teacher"].stdout)[0] == shown[0]  # type: ignore[index]


def test_a_classifier_can_be_measured_as_retrieval(trio: Any, succeeds: Run) -> None:
    text = succeeds("evaluate teacher.safetensors --data digits --task retrieval", trio.folder).stdout
    assert "retrieval on the 450 test images" in text
    assert "map_e_paper " in text


def test_the_exported_file_says_what_the_network_says(trio: Any) -> None:
    checkpoint, exported = load(trio.folder / "student.safetensors"), read(trio.folder / "student.onnx")
    image = torch.rand(5, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(exported(image), checkpoint.network.model(image), atol=1e-4)
    assert "compared on all 450 test images of digits" in trio.results["exported"].stdout
    assert "parity: max |difference|" in trio.results["exported"].stdout


def test_benchmark_writes_all_it_measured(trio: Any, workshop: Path, succeeds: Run) -> None:
    line = "benchmark student.onnx --against teacher.safetensors --data digits --rounds 10 -o bench.json"
    result = succeeds(line, workshop)
    document = json.loads((workshop / "bench.json").read_text("utf-8"))
    parts = "schema created command machine protocol data seen baseline files noise claims samples warnings digest"
    assert list(document) == parts.split()
    assert document["schema"] == SCHEMA
    student, teacher = document["files"]
    assert (student["name"], student["made"]) == ("student.onnx", "as given")
    assert (teacher["name"], teacher["made"]) == ("teacher.safetensors", "exported to ONNX for this benchmark")
    for file in (student, teacher):
        latency, least, top1 = (record(file, name) for name in ("latency", "latency_min", "top1"))
        assert latency["low"] < latency["value"] < latency["high"]
        assert 0 < least["value"] <= latency["value"]
        assert top1["n"] == 450
    assert number(student, "size") == (workshop / "student.onnx").stat().st_size
    assert document["samples"]["file"] == "bench.samples.npz"
    assert document["samples"]["sha256"] == sha256((workshop / "bench.samples.npz").read_bytes()).hexdigest()
    evaluated = TOP1.search(trio.results["teacher"].stdout)
    assert evaluated is not None
    assert f"{100 * number(teacher, 'top1'):.2f}" == evaluated[1]
    for shown in ("student.onnx", "teacher.safetensors", "ratio", "written: bench.json"):
        assert shown in result.stdout


def test_inspect_shows_both_kinds_of_file(trio: Any, succeeds: Run) -> None:
    kinds = ("student.safetensors", "student.onnx")
    before, after = (json.loads(succeeds(f"inspect {name} --json", trio.folder).stdout) for name in kinds)
    for fact in ("network", "input_shape", "classes", "parameters", "macs"):
        assert before[fact] == after[fact]
    assert before["lineage"][-1]["command"] == f"edgepress {trio.commands['student']}"
    for name in kinds:
        text = succeeds(f"inspect {name}", trio.folder).stdout
        for shown in ("cnn-s", "1 x 24 x 24", "parameters", "MACs", "bytes", "edgepress distill teacher.safetensors"):
            assert shown in text


def test_data_lists_every_set(trio: Any, succeeds: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    text = succeeds("data", trio.folder).stdout
    assert set(DATASETS) <= set(text.split())
    assert "1,347 + 450 images" in text
    assert text.count("not on this machine") == len(DATASETS) - 1, "only digits come with the package"
    assert str(tmp_path) in text


@pytest.fixture(scope="module")
def pruned_folder(trio: Any, succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pruned.safetensors with recovery, cut.safetensors without; `said` beside them."""
    folder = tmp_path_factory.mktemp("pruned")
    (folder / "teacher.safetensors").write_bytes((trio.folder / "teacher.safetensors").read_bytes())
    line = "prune --no-timing teacher.safetensors --ratio 0.5 --data digits --fraction 0.2"
    said = succeeds(f"{line} --recover okd --epochs 2 --batch-size 32 -o pruned.safetensors", folder).stdout
    (folder / "said").write_text(said, encoding="utf-8")
    succeeds(f"{line} -o cut.safetensors", folder)
    return folder


def test_pruning_shows_before_and_after(pruned_folder: Path) -> None:
    said = (pruned_folder / "said").read_text("utf-8")
    names = ("before", "cut", "fitted", "recovered")
    before, cut, fitted, recovered = rows = [
        line.split() for line in said.splitlines() if line.split()[:1] and line.split()[0] in names
    ]
    assert [row[0] for row in rows] == [*names]
    whole, small = (load(pruned_folder / f"{name}.safetensors") for name in ("teacher", "pruned"))
    assert before[1] == f"{parameters(whole):,}"
    assert cut[1] == fitted[1] == recovered[1] == f"{parameters(small):,}"
    assert said.endswith("written: pruned.safetensors\n")


def test_the_cuts_and_the_recovery_are_on_the_card(pruned_folder: Path) -> None:
    card = load(pruned_folder / "pruned.safetensors").card
    assert card.edits
    assert [step["command"].split()[1] for step in card.lineage] == ["train", "prune", "prune", "prune"]
    assert card.lineage[1]["ratio"] == 0.5
    assert card.lineage[3]["phases"] == [["okd", 2]]
    assert len(records(pruned_folder / "pruned.metrics.jsonl")) == 2


def test_without_recovery_the_cut_network_is_written_as_it_is(pruned_folder: Path) -> None:
    cut, pruned = (load(pruned_folder / f"{name}.safetensors") for name in ("cut", "pruned"))
    assert cut.card.edits == pruned.card.edits
    assert parameters(cut) == parameters(pruned)
    assert not same(state_of(cut.network), state_of(pruned.network))
    assert not (pruned_folder / "cut.metrics.jsonl").exists()


def test_recovery_gives_back_what_the_cut_took(pruned_folder: Path, succeeds: Run) -> None:
    cut, pruned = (
        json.loads(succeeds(f"evaluate {name}.safetensors --data digits --json", pruned_folder).stdout)["records"][0]
        for name in ("cut", "pruned")
    )
    assert pruned["value"] > cut["value"]


def test_recovery_takes_indistill_too(pruned_folder: Path, succeeds: Run) -> None:
    line = f"prune --no-timing teacher.safetensors --ratio 0.5 {FEW} --recover indistill --set a=0 --set b=1"
    lines = succeeds(f"{line} --epochs 7 -o layers.safetensors", pruned_folder).stdout.splitlines()
    phases = [line.split()[0] for line in lines[:7]]
    assert phases == ["map1"] + ["map2"] * 2 + ["map3"] * 3 + ["embedding"]
    assert parameters(load(pruned_folder / "layers.safetensors")) == parameters(load(pruned_folder / "cut.safetensors"))


def test_a_pruned_network_exports_with_its_surgery(pruned_folder: Path, succeeds: Run) -> None:
    succeeds("export pruned.safetensors -o pruned.onnx", pruned_folder)
    facts = json.loads(succeeds("inspect pruned.onnx --json", pruned_folder).stdout)
    assert facts["parameters"] == parameters(load(pruned_folder / "pruned.safetensors"))
    assert facts["surgery"]["cuts"] > 0


def test_a_pruned_network_prunes_again_and_teaches(pruned_folder: Path, succeeds: Run) -> None:
    succeeds("prune --no-timing pruned.safetensors --ratio 0.5 --data digits -o twice.safetensors", pruned_folder)
    once, twice = (load(pruned_folder / f"{name}.safetensors") for name in ("pruned", "twice"))
    assert parameters(twice) < parameters(once)
    assert twice.card.edits[: len(once.card.edits)] == once.card.edits
    line = f"distill pruned.safetensors {FEW} --method okd --student twice.safetensors -o taught.safetensors"
    succeeds(line, pruned_folder)
    assert parameters(load(pruned_folder / "taught.safetensors")) == parameters(twice)


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth"])
def test_a_plain_state_dict_is_read_with_arch(workshop: Path, succeeds: Run, name: str) -> None:
    teacher = load(workshop / "teacher.safetensors")
    torch.save(teacher.network.model.state_dict(), workshop / name)
    plain = succeeds(f"evaluate {name} --arch cnn-a --size 24 --data digits", workshop).stdout
    own = succeeds("evaluate teacher.safetensors --data digits", workshop).stdout
    assert TOP1.search(plain)[0] == TOP1.search(own)[0]  # type: ignore[index]
    succeeds(f"distill {name} --arch cnn-a --size 24 {FEW} --method okd -o new.safetensors", workshop)
    assert load(workshop / "new.safetensors").card.classes == teacher.card.classes


def test_an_image_folder_by_its_path(tmp_path: Path, succeeds: Run) -> None:
    from torchvision.utils import save_image

    for part, count in (("train", 6), ("test", 3)):
        for shade, name in enumerate(("dark", "light")):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for place in range(count):
                save_image(torch.full((3, 30, 20), 0.1 + 0.7 * shade + 0.02 * place), folder / f"{place}.png")
    succeeds(
        "train cnn-s --data ./photos --size 16 --channels 1 --epochs 8 --lr 0.02 --batch-size 4 --depth 2 "
        "-o net.safetensors",
        tmp_path,
    )
    found = json.loads(succeeds("evaluate net.safetensors --data photos/ --json", tmp_path).stdout)
    assert (found["data"], found["records"][0]["n"]) == ("photos", 6)
    assert load(tmp_path / "net.safetensors").card.classes == ("dark", "light")


def test_a_device_is_taken_or_refused(trio: Any, succeeds: Run, refused: Callable[..., str]) -> None:
    line = "evaluate teacher.safetensors --data digits --device"
    assert succeeds(f"{line} cpu", trio.folder).stdout == succeeds(f"{line} auto", trio.folder).stdout
    for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not there:
            refused(f"{line} {name}", trio.folder, f"--device {name}", "none on this machine", "it finds cpu")
