"""How commands talk: quiet, verbose, as JSON, and never with what a terminal would obey."""

from __future__ import annotations

import json
import math
import shlex
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from cli import say
from compress.checkpoint import Checkpoint, load, save
from compress.evidence import file_digest
from compress.text import printable

Run = Callable[[str, Path], Result]

EVIL = "\x1b[2J[bold]dog\u202e\x07"
SHOWN = r"\x1b[2J[bold]dog\u202e\x07"
FEW = "--data digits --size 24 --fraction 0.1 --epochs 1 --batch-size 32"
QUICK = "--rounds 10 --sessions 2"


def harmless(text: str) -> bool:
    """Whether it holds nothing that a terminal obeys, but for line breaks."""
    return not {unicodedata.category(c) for c in text.replace("\n", "")} & {"Cc", "Cf", "Cs"}


@pytest.fixture
def evil(workshop: Path) -> Path:
    """The workshop, with a checkpoint whose classes and lineage hold what a terminal obeys, and its export."""
    found = load(workshop / "teacher.safetensors")
    classes = tuple(f"{number}{EVIL}" for number in range(10))
    card = type(found.card)(**{**vars(found.card), "classes": classes, "lineage": ({"command": EVIL},)})
    save(Checkpoint(found.network, card), workshop / "evil.safetensors")
    return workshop


def test_no_character_of_unicode_gets_through_that_should_not() -> None:
    assert harmless(printable("".join(map(chr, range(0x110000)))))


@pytest.mark.parametrize("line", ["inspect evil.safetensors", "inspect evil.onnx", f"benchmark evil.onnx {QUICK}"])
def test_names_in_a_file_are_shown_and_not_obeyed(evil: Path, succeeds: Run, line: str) -> None:
    succeeds("export evil.safetensors -o evil.onnx", evil)
    for text in (succeeds(line, evil).stdout, succeeds(f"{line} --json", evil).stdout):
        assert harmless(text)
    if "inspect" in line:
        assert SHOWN in succeeds(line, evil).stdout


def test_a_path_is_shown_and_not_obeyed(workshop: Path, succeeds: Run, refused: Callable[..., str]) -> None:
    assert harmless(refused(f"inspect {shlex.quote(EVIL)}.safetensors", workshop, SHOWN))
    assert harmless(refused(f"train {shlex.quote(EVIL)} {FEW} -o new.safetensors", workshop))
    name = shlex.quote(f"{EVIL}.safetensors")
    (workshop / f"{EVIL}.safetensors").write_bytes((workshop / "teacher.safetensors").read_bytes())
    for line in (f"inspect {name}", f"evaluate {name} --data digits", f"benchmark {name} {QUICK}"):
        said = succeeds(line, workshop)
        assert harmless(said.output)
        assert SHOWN in said.stdout


def test_quiet_leaves_the_result(tmp_path: Path, succeeds: Run) -> None:
    said = succeeds(f"train cnn-s {FEW} -o net.safetensors -q", tmp_path)
    assert [line.split()[0] for line in said.stdout.splitlines()] == ["top1", "written:"]
    assert said.stderr == ""


def test_json_is_one_object_and_the_epochs_are_told_elsewhere(tmp_path: Path, succeeds: Run) -> None:
    said = succeeds(f"train cnn-s {FEW} -o net.safetensors --json", tmp_path)
    facts = json.loads(said.stdout)
    assert facts["output"] == "net.safetensors"
    (top1,) = facts["records"]
    made = load(tmp_path / "net.safetensors").card.lineage[-1]
    assert (top1["quantity"], top1["value"]) == ("top1", made["metrics"]["top1"])
    assert 0 < top1["low"] < top1["value"] < top1["high"] < 1
    assert (top1["n"], top1["seed"], top1["environment"]) == (450, made["seed"], made["versions"])
    assert top1["sha256"] == file_digest(tmp_path / "net.safetensors")
    assert "task           1/1" in said.stderr
    assert "--json" not in load(tmp_path / "net.safetensors").card.lineage[-1]["command"]


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("data", {"root", "data"}),
        ("networks", {"edgepress", "torchvision"}),
        ("methods", {"methods"}),
        ("evaluate teacher.safetensors --data digits", {"file", "data", "task", "records"}),
        ("export student.safetensors -o new.onnx", {"file", "compared_on", "records"}),
        ("verify student.onnx --against student.safetensors", {"file", "against", "claims"}),
        (f"benchmark student.onnx {QUICK} -o new.json", {"schema", "files", "claims"}),
        ("inspect student.onnx", {"network", "classes", "macs"}),
        (
            "prune --no-timing teacher.safetensors --ratio 0.5 --data digits -o new.safetensors",
            {"output", "networks"},
        ),
    ],
)
def test_every_command_speaks_json(workshop: Path, succeeds: Run, line: str, keys: set[str]) -> None:
    assert keys <= set(json.loads(succeeds(f"{line} --json", workshop).stdout))


def test_json_has_a_word_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with say.manner(say.Manner(as_json=True)):
        say.result({"lost": math.nan, "all": [math.inf, 1.5], "path": Path("a"), "name": "\x7f\u202e\udcff"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"lost": None, "all": [None, 1.5], "path": "a", "name": "\x7f\u202e\udcff"}
    assert harmless(text)


def test_an_error_has_a_traceback_only_on_request(tmp_path: Path, edgepress: Run) -> None:
    plain, wordy = (edgepress(f"inspect gone.onnx {option}", tmp_path) for option in ("-q", "-v"))
    assert plain.exit_code == wordy.exit_code == 2
    assert plain.stderr.startswith("error: gone.onnx")
    assert wordy.stderr.startswith("Traceback")
    assert wordy.stderr.endswith(plain.stderr)


def test_warnings_of_libraries_are_told_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    def warn(module: str) -> None:
        warnings.warn_explicit("careful\x1b", UserWarning, "file.py", 1, module=module)

    for verbose in (False, True):
        with say.manner(say.Manner(verbose=verbose)):
            warn("compress.data.folder")
            warn("torch.nn")
    assert capsys.readouterr().err.splitlines() == ["warning: careful\\x1b"] * 3


def test_only_one_of_many_processes_talks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    say.line("on the way")
    say.warning("doubtful")
    say.result({}, "done")
    assert capsys.readouterr() == ("", "")
    say.error("failed")
    assert capsys.readouterr().err == "error: failed\n"


def test_a_table_shows_markup_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say.result({}, say.table(("name",), [["[bold]x[/bold]"], ["[link=file:///]y"]], title="[red]"))
    shown = capsys.readouterr().out
    for text in ("[bold]x[/bold]", "[link=file:///]y", "[red]"):
        assert text in shown


def test_a_spinner_turns_only_where_somebody_watches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with say.doing("measuring") as update:
        update("on")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with say.doing("measuring") as update:
        update("[bold]\x1b")
    assert r"[bold]\x1b" in capsys.readouterr().err
