"""What the command line says of itself: help in groups, examples that can be typed, words that the shell completes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import Result

from cli import choosing, options
from cli.main import app
from compress.data import AUGMENTATIONS, DATASETS
from compress.models import model_names
from compress.phase import OPTIMIZERS
from compress.pruning import CRITERIA, SCOPES
from compress.recipes import RECIPES
from compress.schedule import SCHEDULES
from compress.tasks import TASKS
from compress.training.precision import PRECISIONS
from exports.artefact import INPUTS

Run = Callable[[str, Path], Result]

ROOT = Path(__file__).parents[2]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FORBIDDEN = ("torch", "rich", "numpy")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_in_groups_with_examples(tmp_path: Path, succeeds: Run, name: str) -> None:
    text = succeeds(f"{name} -h", tmp_path).stdout
    assert text == succeeds(f"{name} --help", tmp_path).stdout
    headings = [line[:-1] for line in text.splitlines() if re.fullmatch(r"[A-Z][a-z]+:", line)]
    order = ["Arguments", *options.GROUPS, "Options", "Examples"]
    assert headings == [heading for heading in order if heading in headings]
    assert headings[-2:] == ["Options", "Examples"]
    for flag in ("--json", "-q, --quiet", "-v, --verbose", "-h, --help"):
        assert flag in text


@pytest.mark.parametrize("name", COMMANDS)
def test_an_argument_is_called_by_its_name_alone(tmp_path: Path, succeeds: Run, name: str) -> None:
    text = succeeds(f"{name} -h", tmp_path).stdout
    assert "<" not in text, "no type of Python"
    listed = re.search(r"^Arguments:\n((?:  .*\n)+)", text, re.MULTILINE)
    named = [line.split()[0] for line in listed[1].splitlines() if line[2] != " "] if listed else []
    own = [one for one in COMMANDS[name].params if one.param_type_name == "argument"]
    assert [name.removesuffix("...") for name in named] == [one.metavar for one in own]
    assert [name.endswith("...") for name in named] == [one.nargs == -1 for one in own]
    assert "......" not in text
    assert "...}..." not in text


@pytest.mark.parametrize("name", COMMANDS)
def test_each_example_can_be_typed(name: str) -> None:
    examples = [shlex.split(line) for line in COMMANDS[name].epilog.splitlines()]
    assert 1 <= len(examples) <= 3
    for words in examples:
        assert words[:2] == ["edgepress", name]
        COMMANDS[name].make_context(name, words[2:])


def test_the_overview_lists_the_commands_and_little_else(tmp_path: Path, succeeds: Run) -> None:
    text = succeeds("-h", tmp_path).stdout
    listed = [line.split()[0] for line in text.split("Commands:\n")[1].split("\n\n")[0].splitlines()]
    assert listed == list(COMMANDS)
    assert [line.split()[0] for line in text.split("Options:\n")[1].split("\n\n")[0].splitlines()] == [
        "--version",
        "-h,",
    ]
    assert "edgepress --install-completion" in text


@pytest.mark.parametrize("words", [["--help"], ["train", "-h"], ["--version"]])
def test_help_imports_nothing_that_takes_time(words: list[str]) -> None:
    code = f"import sys; from cli.main import app\ntry: app({words})\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {module.partition(".")[0] for module in done.stderr.split()} & set(FORBIDDEN)


def test_the_names_that_are_completed_are_those_of_the_tables() -> None:
    for names, table in (
        (options.DATA_SETS, DATASETS),
        (options.METHODS, RECIPES),
        (options.TASKS, TASKS),
        (options.OPTIMIZERS, OPTIMIZERS),
        (options.SCHEDULES, SCHEDULES),
        (options.INPUTS, INPUTS),
        (choosing.CRITERIA, CRITERIA),
        (choosing.SCOPES, SCOPES),
        (options.PRECISIONS, PRECISIONS),
    ):
        assert set(names) == set(table)
    assert set(options.NETWORKS) <= set(model_names())
    assert set(options.AUGMENTATIONS) == {"none", *AUGMENTATIONS}


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("edgepress tr", ["train"]),
        ("edgepress train --data d", ["digits"]),
        ("edgepress train cnn", ["cnn-s", "cnn-a"]),
        ("edgepress distill t.safetensors --method pkt_", ["pkt_h_cr"]),
        ("edgepress train --opt", ["--optimizer"]),
        ("edgepress prune --recover ", list(options.METHODS)),
    ],
)
def test_the_shell_completes_words(typed: str, offered: list[str]) -> None:
    words = typed.split(" ")
    asked = {"_EDGEPRESS_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    code = "import sys; sys.argv[0] = 'edgepress'; from cli.main import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == offered


@pytest.mark.parametrize(
    ("line", "mentions"),
    [
        ("--batch-size 1", ("'--batch-size'", "got '1'", "at least 2")),
        ("--epochs many", ("'--epochs'", "got 'many'", "a whole number, at least 1")),
        ("--channels 7", ("'--channels'", "got '7'", "from 1 to 3")),
        (f"--seed {2**70}", ("'--seed'", f"got '{2**70}'", f"to {2**63 - 1}")),
        ("-o ''", ("'--output'", "empty", "name of a file")),
    ],
)
def test_an_option_out_of_range_says_what_came(
    tmp_path: Path, refused: Callable[..., str], line: str, mentions: tuple[str, ...]
) -> None:
    refused(f"train cnn-s --data digits -o net.safetensors {line}", tmp_path, *mentions)
