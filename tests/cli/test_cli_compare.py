"""edgepress compare, through its real entry point: killed, gone on with, grown, refused; and what it leaves."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from benchmarks.studies.gather import scores
from compress.evidence import Record
from compress.files import check_free

Run = Callable[[str, Path], Result]
Start = Callable[..., subprocess.Popen[str]]

ROOT = Path(__file__).parents[2]
STUDY = (
    "compare teacher.safetensors --methods no_teacher,pkt,pkt:beta=1e308 --fractions 0.2 --epochs 1 "
    "--student cnn-s --width 4 --depth 2 --batch-size 32 --lr 3e-3 --data digits -o study"
)
PATIENCE_S = 600


def wait_until(there: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def studied(teacher_path: Path, edgepress: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder with a study that was killed in the middle and then gone on with, and what the second command said."""
    folder = tmp_path_factory.mktemp("studied")
    shutil.copy(teacher_path, folder)
    run = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *shlex.split(STUDY)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_until(lambda: any((folder / "study" / "trials").glob("*.safetensors")), run)
    run.kill()
    assert run.wait(PATIENCE_S) == -signal.SIGKILL
    return folder, edgepress(f"{STUDY} --jobs 2", folder)


@pytest.fixture
def study(studied: tuple[Path, Result]) -> dict[str, Any]:
    """The document of that study."""
    found: dict[str, Any] = json.loads((studied[0] / "study" / "study.json").read_text("utf-8"))
    return found


def test_a_run_that_fails_is_a_row_and_the_others_go_on(studied: tuple[Path, Result], study: dict[str, Any]) -> None:
    result = studied[1]
    assert result.exit_code == 3
    assert "1 of 3 runs failed" in result.stderr
    reasons = {row["name"]: row["reason"] for row in study["rows"]}
    failed = [name for name, reason in reasons.items() if reason]
    assert failed == [name for name in reasons if "1e308" in name]
    assert all("is not finite" in reasons[name] and "exit code 3" in reasons[name] for name in failed)
    assert [cell["seeds"] for cell in study["summary"]] == [[0], [0], []]


def test_any_number_is_made_again_by_its_command(
    studied: tuple[Path, Result], study: dict[str, Any], succeeds: Run, tmp_path: Path
) -> None:
    """What was killed ends with the numbers, and the bytes, of commands that were not."""
    shutil.copy(studied[0] / "teacher.safetensors", tmp_path)
    for row in study["rows"]:
        if row["reason"]:
            continue
        succeeds(row["command"].removeprefix("edgepress "), tmp_path)
        made = (tmp_path / f"{row['name']}.safetensors").read_bytes()
        assert made == (studied[0] / "study" / "trials" / f"{row['name']}.safetensors").read_bytes()


def test_every_number_is_a_record(study: dict[str, Any]) -> None:
    for row in study["rows"]:
        records = [Record.from_dict(one) for one in row["records"]]
        assert all(record.command == row["command"] and record.seed == row["seed"] for record in records)
        if not row["reason"]:
            top1 = records[0]
            assert top1.quantity == "top1"
            assert top1.low is not None
            assert top1.high is not None
            assert top1.low <= scores(row)["top1"] <= top1.high
            assert top1.environment["torch"]


def test_methods_are_compared_on_the_same_images(study: dict[str, Any]) -> None:
    ((seed, equal, prints),) = ((one["seed"], one["equal"], one["fingerprints"]) for one in study["splits"])
    assert (seed, equal, len(prints)) == (0, True, 1)


def test_the_sheet_says_what_the_document_says(studied: tuple[Path, Result], study: dict[str, Any]) -> None:
    lines = list(csv.DictReader((studied[0] / "study" / "study.csv").read_text("utf-8").splitlines()))
    assert [line["name"] for line in lines] == [row["name"] for row in study["rows"]]
    for line, row in zip(lines, study["rows"], strict=True):
        assert (line["command"], line["reason"], int(line["seed"])) == (row["command"], row["reason"], row["seed"])
        for one in row["records"]:
            if not one["reason"]:
                assert float(line[one["quantity"]]) == one["value"]


def test_the_table_is_on_the_terminal_and_in_a_page(studied: tuple[Path, Result], study: dict[str, Any]) -> None:
    page = (studied[0] / "study" / "table.md").read_text("utf-8")
    for text, base in ((studied[1].stdout, "vs base"), (page, "vs no_teacher")):
        assert base in text
        assert f"{100 * study['summary'][0]['scores']['top1']['mean']:.2f}" in text
    assert study["command"] in page


def test_a_study_only_grows(studied: tuple[Path, Result], refused: Any) -> None:
    """Another grid is refused, whatever it lacks or changes; nothing of the study is touched."""
    folder = studied[0]
    refused(STUDY.replace("--lr 3e-3", "--lr 2e-3"), folder, "--lr 0.003", "--lr 0.002", "--force")
    refused(STUDY.replace("pkt,", ""), folder, "runs that this one lacks", "pkt")


def test_a_plan_that_cannot_be_run_is_found_before_anything_is(studied: tuple[Path, Result], refused: Any) -> None:
    asked = STUDY.replace("pkt,pkt:beta=1e308", "stagewise").replace("-o study", "-o other")
    refused(asked, studied[0], "1 of 2 runs cannot be run", "stagewise", "give at least 3", "--dry-run")
    assert not (studied[0] / "other").exists()


def test_a_dry_run_writes_nothing(studied: tuple[Path, Result], succeeds: Run) -> None:
    folder = studied[0]
    before = sorted(path.name for path in folder.iterdir())
    asked = STUDY.replace("-o study", "-o other").replace("pkt,pkt:beta=1e308", "stagewise,indistill:a=0")
    result = succeeds(f"{asked} --epochs 4,stagewise=3 --auxiliary-epochs 2 --seeds 3 --dry-run --jobs 2", folder)
    assert sorted(path.name for path in folder.iterdir()) == before
    lines = [line for line in result.stdout.splitlines() if "edgepress distill" in line]
    assert len(lines) == 3 * (3 + 1 + 2)
    assert ["cannot run" in line for line in lines] == ["--method stagewise" in line for line in lines]
    assert "15 of 18 runs can be run (3 of them no_teacher with the epochs of others), about" in result.stdout
    assert result.stderr.count("shapes must be equal") == 1


@pytest.mark.extra("plots", "matplotlib")
def test_pictures_are_drawn(studied: tuple[Path, Result]) -> None:
    figures = studied[0] / "study" / "figures"
    assert {path.name for path in figures.iterdir()} == {
        f"{name}.{kind}" for name in ("methods", "losses-cnn-s-d2-f0.2") for kind in ("png", "svg")
    }
    assert (figures / "methods.png").read_bytes().startswith(b"\x89PNG")
    drawn = (figures / "methods.svg").read_text("utf-8")
    assert "no_teacher" in drawn
    assert "top-1, %" in drawn


def test_without_matplotlib_the_tables_are_there(
    studied: tuple[Path, Result], edgepress: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an import of it finds where it is not installed
    shutil.copytree(studied[0] / "study" / "trials", studied[0] / "plain" / "trials")
    line = STUDY.replace(",pkt:beta=1e308", "").replace("-o study", "-o plain --force")
    result = edgepress(line, studied[0])
    assert result.exit_code == 4
    assert "pip install 'edgepress[plots]'" in result.stderr
    assert (studied[0] / "plain" / "table.md").is_file()


def _children(run: subprocess.Popen[str]) -> list[int]:
    """The processes that it started and that are there still."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(run.pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.slow
def test_jobs_are_processes_of_one_thread_which_ctrl_c_ends_and_a_repeated_command_goes_on_with(
    teacher_path: Path, process: Start, succeeds: Run, tmp_path: Path
) -> None:
    """What two at a time, interrupted, end with is what one at a time ends with, to the byte."""
    shutil.copy(teacher_path, tmp_path)
    line = STUDY.replace(",pkt:beta=1e308", "").replace("--epochs 1", "--seeds 2 --epochs 1,pkt=8") + " --jobs 2"
    run = process(line, tmp_path)
    wait_until(lambda: len(_children(run)) == 2, run)
    children = _children(run)
    for child in children:
        assert b"OMP_NUM_THREADS=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    trials = tmp_path / "study" / "trials"
    wait_until(lambda: any(trials.glob("*pkt*.metrics.jsonl")), run)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 130
    assert "repeat the command to go on" in stderr
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    for path in trials.glob("*.log"):
        check_free(path.with_suffix(".safetensors"))
    succeeds(line, tmp_path)
    succeeds(line.replace("-o study", "-o alone").replace("--jobs 2", "--jobs 1"), tmp_path)
    two, one = (json.loads((tmp_path / name / "study.json").read_text("utf-8")) for name in ("study", "alone"))
    assert [row["name"] for row in two["rows"]] == [row["name"] for row in one["rows"]]
    assert [scores(row) for row in two["rows"]] == [scores(row) for row in one["rows"]]
    assert [cell["control"] for cell in two["summary"]] == ["", "", "pkt"]
    assert [split["equal"] for split in two["splits"]] == [True, True]
    assert two["splits"][0]["fingerprints"] != two["splits"][1]["fingerprints"]
    for row in two["rows"]:
        made = [(tmp_path / name / "trials" / f"{row['name']}.safetensors") for name in ("study", "alone")]
        assert made[0].read_bytes() == made[1].read_bytes()


def test_a_folder_of_other_things_is_no_study(teacher_path: Path, refused: Any, tmp_path: Path) -> None:
    shutil.copy(teacher_path, tmp_path)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "thesis.txt").write_text("mine")
    refused(STUDY, tmp_path, "holds something that is no study")


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        (("pkt,pkt:beta=1e308", "pkd"), ("unknown method 'pkd'", "'pkt'")),
        (("--fractions 0.2", "--fractions a"), ("--fractions a", "numbers")),
        (("--epochs 1", "--epochs 1,okd=3"), ("--epochs okd=3", "unknown method")),
        (("--fractions 0.2", "--baseline okd"), ("--baseline", "okd", "no_teacher")),
        (("--lr 3e-3", "--auxiliary a.safetensors --ratio 0.5"), ("--ratio", "finished already")),
        (("--lr 3e-3", "--auxiliary a.safetensors"), ("a.safetensors", "does not exist")),
        (("--lr 3e-3", "--paper paper.json"), ("paper.json", "is not a file")),
        (("teacher.safetensors", "none.safetensors"), ("none.safetensors", "does not exist")),
    ],
)
def test_what_makes_no_study_is_refused_before_anything_is_written(
    teacher_path: Path, refused: Any, tmp_path: Path, change: tuple[str, str], mentions: tuple[str, ...]
) -> None:
    shutil.copy(teacher_path, tmp_path)
    refused(STUDY.replace(*change), tmp_path, *mentions)
