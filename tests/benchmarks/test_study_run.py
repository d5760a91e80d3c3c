"""Trials as processes: order, failures, what a killed study left at work, and the end of all of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.studies.grid import TRIALS, Trial, output_of
from benchmarks.studies.run import Outcome, Program, is_finished, run_trials

SCRIPT = """
import pathlib, sys, time
what, output = sys.argv[1], pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
if what == "fail":
    sys.exit("error: it is out of paper")
if what == "sleep":
    time.sleep(600)
with (output.parent / "order").open("a") as file:
    file.write(output.stem + " ")
output.write_text("made")
"""
HOLD = "import sys, time\nfrom pathlib import Path\nfrom compress.files import exclusive\n"
HOLD += "path = Path(sys.argv[1])\nwith exclusive(path):\n    print('held', flush=True)\n    time.sleep(1)\n"
HOLD += "    path.write_text('made')\n"
PROGRAM = Program((sys.executable, "-c", SCRIPT), {})


def _trial(name: str, what: str = "make", needs: tuple[str, ...] = ()) -> Trial:
    return Trial(name, (what,), "cnn-s", "pkt", "", 1.0, 0, 1, needs=needs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a study."""
    (tmp_path / TRIALS).mkdir()
    return tmp_path


def _ends(outcomes: Iterator[Outcome]) -> dict[str, str]:
    return {outcome.trial.name: outcome.reason for outcome in outcomes}


def test_what_others_need_comes_first(folder: Path) -> None:
    found = _ends(run_trials([_trial("a"), _trial("b", needs=("a",)), _trial("c")], folder, PROGRAM, jobs=3))
    assert found == {"a": "", "b": "", "c": ""}
    order = (folder / TRIALS / "order").read_text().split()
    assert order.index("a") < order.index("b")


def test_a_failure_leaves_the_others_alone_but_for_those_that_need_it(folder: Path) -> None:
    trials = [_trial("a", "fail"), _trial("b", needs=("a",)), _trial("c", needs=("b",)), _trial("d")]
    assert _ends(run_trials(trials, folder, PROGRAM, jobs=1)) == {
        "a": "it is out of paper (exit code 1)",
        "b": "it needs a, which failed",
        "c": "it needs b, which failed",
        "d": "",
    }


def test_what_is_finished_is_not_run_again(folder: Path) -> None:
    output_of(folder, "a").write_text("made before")
    first = next(iter(run_trials([_trial("a", "fail")], folder, PROGRAM, jobs=1)))
    assert (first.reason, first.seconds) == ("", 0.0)
    assert output_of(folder, "a").read_text() == "made before"


def test_one_that_a_killed_study_left_at_work_is_waited_for(folder: Path) -> None:
    left = subprocess.Popen([sys.executable, "-c", HOLD, str(output_of(folder, "a"))], stdout=subprocess.PIPE)
    assert left.stdout is not None
    with left:
        assert left.stdout.readline() == b"held\n"
        assert _ends(run_trials([_trial("a", "fail"), _trial("b")], folder, PROGRAM, jobs=2)) == {"a": "", "b": ""}
    assert not (folder / TRIALS / "a.log").exists()


def test_closing_ends_those_at_work(folder: Path) -> None:
    with closing(run_trials([_trial("a"), _trial("b", "sleep")], folder, PROGRAM, jobs=2)) as outcomes:
        assert next(outcomes).trial.name == "a"
        start = time.monotonic()
    assert time.monotonic() - start < 60
    assert not is_finished(folder, "b")
