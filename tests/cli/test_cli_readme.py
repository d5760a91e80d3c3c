"""What is written of the commands is so: every line of the README and of the demo parses, every make target exists."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import Result

from cli.main import app
from compress.data import DATASETS
from compress.models import model_names
from compress.recipes import RECIPES

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ("", "sh", "bash", "shell", "console")
VALUES = {"all", "random", "release"}  # of knobs, that the table names beside the defaults
EVERYWHERE = {"code", "device", "edited", "as_json", "quiet", "verbose"}
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def shell_lines(text: str) -> list[list[str]]:
    """The words of every line in the fenced shell blocks, without prompts and comments; continued lines are joined."""
    blocks = "".join(block for language, block in FENCE.findall(text) if language in SHELL).replace("\\\n", " ")
    lines = (shlex.split(line.removeprefix("$ "), comments=True) for line in blocks.splitlines())
    return [words for words in lines if words]


def parse(words: list[str]) -> dict[str, Any]:
    """The values of the command's own arguments and options; an error where `edgepress WORDS` does not take them."""
    assert words[0] in COMMANDS, f"no command {words[0]!r}"
    values: dict[str, Any] = COMMANDS[words[0]].make_context(words[0], words[1:]).params
    return {name: None if value == () else value for name, value in values.items() if name not in EVERYWHERE}


def spread(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a command, with those that stand for several options taken apart."""
    parts = {name: vars(value) if is_dataclass(value) else {name: value} for name, value in arguments.items()}
    return {name: value for part in parts.values() for name, value in part.items()}


README = shell_lines((ROOT / "README.md").read_text("utf-8"))
TYPED = [words[1:] for words in README if words[0] == "edgepress"]


def test_blocks_are_read_with_comments_prompts_and_continued_lines() -> None:
    text = (
        "words\n```\n$ edgepress data  # all\n\nedgepress train \\\n  a\n```\n"
        "```python\nimport edgepress\n```\n```sh\nmake demo\n```\n"
    )
    assert shell_lines(text) == [["edgepress", "data"], ["edgepress", "train", "a"], ["make", "demo"]]


@pytest.mark.parametrize("words", TYPED, ids=[" ".join(words[:4]) for words in TYPED])
def test_the_readme_s_command_can_be_typed(words: list[str]) -> None:
    values = parse(words)
    for name, known in (("method", RECIPES), ("recover", RECIPES), ("arch", model_names()), ("network", model_names())):
        assert values.get(name) in {None, *known, "my_model.py:build"}
    assert values.get("data") in {None, "./photos", *DATASETS}


def test_the_readme_shows_every_command() -> None:
    assert {words[0] for words in TYPED} == set(COMMANDS)


def test_the_readme_s_table_names_every_method_with_its_knobs() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    named = {name: set(re.findall(r"`([a-z_]+)(?:=[\w.-]+)?`", knobs)) - VALUES for name, knobs in rows}
    assert named == {name: set(recipe.knobs) for name, recipe in RECIPES.items()}


def test_a_line_with_a_wrong_option_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option: --colour"):
        parse(["train", "cnn-s", "--data", "digits", "-o", "x", "--colour", "red"])


def test_the_readme_s_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {word for words in README if words[0] == "make" for word in words[1:]}
    named |= set(re.findall(r"`make ([a-z]+)`", (ROOT / "README.md").read_text("utf-8")))
    assert {"demo", "test"} <= named <= targets


def test_the_readme_s_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_demo_does_what_it_says(
    tmp_path: Path, edgepress: Callable[[str, Path], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line that the demo shows parses to the very call that it makes in its place."""
    called: list[tuple[str, dict[str, Any]]] = []

    def recorder(name: str, command: Callable[..., None]) -> Callable[..., None]:
        def record(*args: Any, **kwargs: Any) -> None:
            bound = inspect.signature(command).bind(*args, **kwargs)
            bound.apply_defaults()
            called.append((name, spread(bound.arguments)))

        return record

    steps = ["train", "distill", "prune", "export", "export", "benchmark", "report"]
    for name in dict.fromkeys(steps):
        module = import_module(f"cli.{name}")
        monkeypatch.setattr(module, name, recorder(name, getattr(module, name)))
    result = edgepress("demo -o out --seed 3", tmp_path)
    assert result.exit_code == 0, result.output
    shown = [line.removeprefix("$ edgepress ") for line in result.stdout.splitlines() if line.startswith("$ ")]
    assert [name for name, _ in called] == [line.split()[0] for line in shown] == steps
    for line, (_, arguments) in zip(shown, called, strict=True):
        assert parse(shlex.split(line)) == arguments
    assert result.stdout.splitlines()[-1] == "  out/report.html"


def test_the_demo_does_not_overwrite(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "benchmark.json").write_text("old")
    refused("demo", tmp_path, "demo/benchmark.json already exists", "--force")
