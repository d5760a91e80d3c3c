"""What a person sees while a network trains: a line an epoch; on a terminal, a bar within the long ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from cli import progress, say
from compress.training.engine import EpochReport, Progress


def training(*, interrupted: bool = False) -> Generator[EpochReport | Progress, None, str]:
    """Two epochs of an auxiliary and one of a student, each with two signs of progress."""
    for output, epoch in (("aux.safetensors", 1), ("aux.safetensors", 2), ("net.safetensors", 1)):
        for images in (10, 20):
            yield Progress(output, "[task]", epoch, 2, images, 40)
        if interrupted:
            raise KeyboardInterrupt
        yield EpochReport(output, "[task]", epoch, 2, {"ce": 0.5}, "train_top1", 0.25, 100.0, 3.0, 0.5)
    return "done"


def test_a_pipe_gets_one_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    assert progress.follow(training(), Path("net.safetensors")) == "done"
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()] == [
        ["aux.safetensors:"],
        ["[task]", "1/2"],
        ["[task]", "2/2"],
        ["net.safetensors:"],
        ["[task]", "1/2"],
    ]
    assert said.err == ""


def test_a_terminal_gets_a_bar_that_is_gone_before_the_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert progress.follow(training(), Path("net.safetensors")) == "done"
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 5
    assert "\x1b" not in said.out
    drawn = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", said.err)
    for shown in ("[task]         1/2", "[task]         2/2", "50%"):
        assert shown in drawn
    assert said.err.endswith("\x1b[2K"), "the bar is wiped away"
    assert said.err.count("\x1b[?25l") == said.err.count("\x1b[?25h") > 0


def test_quiet_draws_no_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with say.manner(say.Manner(quiet=True)):
        progress.follow(training(), Path("net.safetensors"))
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_wipes_the_bar_away(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(progress.InterruptedRunError, match="--resume"):
        progress.follow(training(interrupted=True), Path("net.safetensors"))
    assert capsys.readouterr().err.endswith("\x1b[2K")
