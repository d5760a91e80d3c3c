"""What `edgepress compare` does around a study: reads its grid, follows its runs, prints its table."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cli
from cli import distill, say
from cli.command import parameters_of
from cli.progress import InterruptedRunError, duration
from compress.errors import GateError, MissingExtraError, PlanError, unknown_name
from compress.text import counted

if TYPE_CHECKING:
    from benchmarks.studies.folder import Plan
    from benchmarks.studies.gather import Scoring
    from benchmarks.studies.grid import AuxiliaryOf, Grid, Made, Way
    from benchmarks.studies.probe import Probe
    from benchmarks.studies.run import Outcome, Program
    from compress.checkpoint import Checkpoint

OF_THE_GRID = frozenset(
    ("teacher", "data", "output", "student", "method", "knobs", "auxiliary", "auxiliary_epochs", "ratio", "epochs")
) | frozenset(
    (
        "fraction",
        "depth",
        "seed",
        "task",
        "arch",
        "auxiliary_arch",
        "student_arch",
        "resume",
        "force",
        "arguments",
        "stages",
    )
)
NOT_THE_AUXILIARYS = frozenset(("schedule", "warm_up", "label_smoothing", "ema", "views", "keep", "width"))
ROOT = Path(cli.__file__).parents[1]

Number = TypeVar("Number", int, float)


class TrialsFailedError(GateError):
    """Some runs of a study have no result; the message says how many."""


def _passed_options() -> list[inspect.Parameter]:
    """The options of `edgepress distill` that are passed on to it as they are."""
    return [one for one in parameters_of(distill.distill) if one.name not in OF_THE_GRID]


if TYPE_CHECKING:
    Passed = Any
else:
    Passed = make_dataclass("Passed", [(one.name, one.annotation, one.default) for one in _passed_options()])

AS_DISTILL_HAS_IT = Passed()


def words_of(passed: Passed, *, without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The words that give `edgepress distill` the options that differ from its defaults."""
    words: list[str] = []
    for option in _passed_options():
        value = getattr(passed, option.name)
        if value != option.default and option.name not in without:
            for one in value if isinstance(value, list) else [value]:
                words += [_flag(option)] if one is True else [_flag(option), str(one)]
    return (*words, *_code_words())


def _code_words() -> list[str]:
    """The words that name the files of code which this command names."""
    from compress.code import named_files, takes_edited

    words = [word for file in named_files() for word in ("--code", str(file.path))]
    return [*words, "--edited"] if words and takes_edited() else words


def training_of(passed: Passed, threads: int) -> dict[str, Any]:
    """What a reader should know of how every run is trained, whether it was asked for or is the default."""
    known = {name: getattr(passed, name) for name in ("optimizer", "lr", "schedule", "batch_size")}
    return {**known, "augmentation": passed.augment or "of the data set", "keep": passed.keep, "threads": threads}


def read_numbers(option: str, text: str, kind: type[Number]) -> tuple[Number, ...]:
    """The numbers of "0.1,0.2"; PlanError for a word that is none, or one that comes twice."""
    try:
        numbers = tuple(kind(word) for word in text.split(","))
    except ValueError as error:
        whole = "whole numbers" if kind is int else "numbers"
        raise PlanError(f"{option} {text}: give {whole}, with commas between them") from error
    if len(set(numbers)) < len(numbers):
        raise PlanError(f"{option} {text}: a number is given twice; leave one out")
    return numbers


def read_ways(methods: str, baseline: str | None) -> tuple[tuple[Way, ...], str]:
    """The methods, and the label of the one that the others are held against.

    Raises:
        PlanError: A method or knob is unknown or comes twice, or the baseline is none of them.
    """
    from benchmarks.studies.grid import BASELINE, read_way

    ways = tuple(read_way(text) for text in methods.split(","))
    labels = [way.label for way in ways]
    if len(set(labels)) < len(labels):
        raise PlanError(f"--methods {methods}: a method is given twice; leave one out")
    if baseline is not None and baseline not in labels:
        raise PlanError(f"--baseline: {unknown_name('method of the study', baseline, labels)}")
    return ways, baseline or (BASELINE if BASELINE in labels else labels[0])


def how_auxiliaries_are_made(teacher: Checkpoint, epochs: int, passed: Passed) -> Made:
    """How a study makes the auxiliaries that its methods ask for."""
    from benchmarks.studies.grid import Made

    return Made(_auxiliary_of(teacher, passed.width), epochs, words_of(passed, without=NOT_THE_AUXILIARYS))


def scoring_of(tasks: str | None, task: str | None, data: str, passed: Passed) -> Scoring:
    """What every run is scored for: what the study is about, and further tasks as they were listed."""
    from benchmarks.studies.gather import Scoring
    from cli.parse import read_task
    from compress.data import DataOptions

    named = [read_task(name) for name in (task, *(tasks.split(",") if tasks else ()))]
    options = DataOptions(val_fraction=passed.val_fraction)
    return Scoring(tuple(dict.fromkeys(one.name for one in named if one is not None)), data, options)


def program(threads: int) -> Program:
    """How this very edgepress is started again, whatever lies in the folder it is started in."""
    from benchmarks.studies.run import Program

    paths = (str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")]))
    environment = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(paths)}
    return Program((sys.executable, "-P", "-m", "cli.main"), environment)


def check_trials(plan: Plan, grid: Grid, teacher: Checkpoint, passed: Passed) -> None:
    """Nothing, once every run of a study has a plan that can be run.

    Raises:
        PlanError: One has not; says which and why.
    """
    from benchmarks.studies.probe import obstacles

    with say.doing("the plans"):
        found = obstacles(grid, plan.trials, _probe(teacher, passed))
    if found:
        name, reason = next(iter(found.items()))
        raise PlanError(
            f"{len(found)} of {counted(len(plan.trials), 'run')} cannot be run, the first of them {name}: {reason}; "
            "leave it out (--dry-run shows all); nothing was begun"
        )


def list_trials(plan: Plan, grid: Grid, teacher: Checkpoint, passed: Passed, *, jobs: int) -> None:
    """Print what a study would run, and how long that would take: each plan is tried for a few batches.

    Raises:
        PlanError: None of its plans can be run.
    """
    from benchmarks.studies.probe import estimates

    with say.doing("a few batches of each plan"):
        found = estimates(grid, plan.trials, _probe(teacher, passed))
    for trial in plan.trials:
        one = found[trial.name]
        say.line(f"{'cannot run' if one.cpu_s is None else duration(one.cpu_s):>10}  {trial.command}")
    reasons = dict.fromkeys(one.reason for one in found.values() if one.reason)
    for reason in reasons:
        say.warning(reason)
    known = [one.cpu_s for one in found.values() if one.cpu_s is not None]
    if not known:
        raise PlanError("none of the runs can be run")
    seconds, controls = sum(known), sum(bool(trial.control) for trial in plan.trials)
    facts = {"trials": plan.commands, "cpu_s": {name: one.cpu_s for name, one in found.items()}, **plan.facts}
    equal = f" ({controls} of them {grid.baseline} with the epochs of others)" if controls else ""
    took = f"about {duration(seconds)} of CPU time; {duration(seconds / jobs)} with --jobs {jobs} on as many idle cores"
    runs = (
        counted(len(known), "run")
        if len(known) == len(found)
        else f"{len(known)} of {counted(len(found), 'run')} can be run"
    )
    say.result(facts, f"{runs}{equal}, {took}; nothing was written")


def _probe(teacher: Checkpoint, passed: Passed) -> Probe:
    from dataclasses import fields

    from benchmarks.studies.probe import Probe
    from cli import options, parse
    from compress.phase import OPTIMIZERS, Fit

    if passed.optimizer not in OPTIMIZERS:
        raise PlanError(unknown_name("optimizer", passed.optimizer, OPTIMIZERS))
    seen = options.Seen(**{one.name: getattr(passed, one.name) for one in fields(options.Seen)})
    asked = parse.read_data_options(None, 1.0, passed.val_fraction, augment=passed.augment, seed=0)
    fit = Fit(1, OPTIMIZERS[passed.optimizer](passed.lr), (1.0,), batch_size=passed.batch_size)
    return Probe(teacher, parse.read_seen(asked, seen), fit, passed.width)


def run_study(folder: Path, plan: Plan, scoring: Scoring, begun: Program, *, jobs: int, pictures: bool) -> None:
    """Run what is not finished yet in the open folder of a study, and print the table.

    Raises:
        InterruptedRunError: Ctrl-C.
        TrialsFailedError: A run has no result; the others are there.
        MissingExtraError: There is nothing to draw pictures with; all else is there.
    """
    from contextlib import closing

    from benchmarks.studies.folder import write_study
    from benchmarks.studies.gather import gather
    from benchmarks.studies.run import run_trials
    from benchmarks.studies.summary import cells

    rows: dict[str, dict[str, Any]] = {}
    pace = Pace(jobs, {trial.name: trial.epochs * trial.fraction for trial in plan.trials})

    def document() -> dict[str, Any]:
        known = [rows[trial.name] for trial in plan.trials if trial.name in rows]
        return write_study(folder, plan, known, cells(known, plan.facts["baseline"]))

    document()
    try:
        with closing(run_trials(plan.trials, folder, begun, jobs=jobs)) as outcomes:
            for outcome in outcomes:
                pace.ended(outcome)
                if not outcome.trial.step or outcome.reason:
                    rows[outcome.trial.name] = gather(outcome.trial, folder, scoring, outcome.reason)
                say.line(_line(outcome, rows.get(outcome.trial.name), pace, plan.facts["task"]))
                if outcome.seconds or outcome.reason:
                    document()
    except KeyboardInterrupt as error:
        raise InterruptedRunError(f"interrupted; repeat the command to go on with the study in {folder}") from error
    _say_study(folder, document(), pictures=pictures)


def _say_study(folder: Path, document: Mapping[str, Any], *, pictures: bool) -> None:
    """Print the table and what was written, pictures among it; raises what is wrong with the study."""
    from benchmarks.studies.folder import DOCUMENT, SHEET, TABLE
    from benchmarks.studies.table import headings, table_cells

    head, *body = table_cells(document)
    written = [folder / DOCUMENT, folder / SHEET, folder / TABLE]
    missing: MissingExtraError | None = None
    try:
        written += _drawn_figures(folder, document) if pictures else []
    except MissingExtraError as error:
        missing = error
    say.result(document, *headings(document), say.numbers(head, body), "written:", *(f"  {path}" for path in written))
    failed = [row for row in document["rows"] if row["reason"]]
    for row in failed:
        say.warning(f"{row['name']}: {row['reason']}")
    if failed:
        raise TrialsFailedError(
            f"{len(failed)} of {counted(len(document['grid']), 'run')} failed; repeat the command to try them again, "
            "or leave them out"
        )
    if missing is not None:
        raise MissingExtraError(f"{missing}; or leave them out with --no-figures") from missing


def _drawn_figures(folder: Path, document: Mapping[str, Any]) -> list[Path]:
    from benchmarks.pages.figures import draw
    from benchmarks.studies.folder import FIGURES
    from benchmarks.studies.gather import epochs

    curves = {row["name"]: epochs(folder, row["name"]) for row in document["rows"]}
    return draw(document, curves, folder / FIGURES)


@dataclass
class Pace:
    """How long what is left of a study will take, by what was seen so far.

    Attributes:
        jobs: Runs at a time.
        work: Trial to its size, in any unit; of those that are not over.
    """

    jobs: int
    work: dict[str, float]
    took_s: float = 0.0
    did: float = 0.0
    begun: float = 0.0
    over: int = 0

    def __post_init__(self) -> None:
        self.begun = time.monotonic()
        self.all = len(self.work)

    def ended(self, outcome: Outcome) -> None:
        """Count a trial that is over."""
        size = self.work.pop(outcome.trial.name, 0.0)
        self.over += 1
        if outcome.seconds and not outcome.reason:
            self.took_s += outcome.seconds
            self.did += size

    def left(self) -> str:
        """Such as "; 1:02:03 left"; empty while nothing is known, or nothing is left."""
        if not self.did or not self.work:
            return ""
        seconds = sum(self.work.values()) * self.took_s / self.did / self.jobs
        return f"; {duration(seconds)} left"


def _flag(parameter: inspect.Parameter) -> str:
    """The long name of an option; typer takes the first of the words it is given for a default."""
    option = parameter.annotation.__metadata__[0]
    return next(word for word in map(str, (option.default, *option.param_decls)) if word.startswith("--"))


def _line(outcome: Outcome, row: Mapping[str, Any] | None, pace: Pace, task: str) -> str:
    from benchmarks.studies.gather import cost, scores
    from benchmarks.studies.table import METRICS, known_by

    name = outcome.trial.name
    if outcome.reason:
        said = f"failed: {outcome.reason}"
    elif row is None:
        said = "made"
    else:
        known = scores(row)
        shown = known_by(task, list(known))[0]
        spent = cost(row, "cpu_s")
        said = f"{METRICS.get(shown, shown)} {100 * known[shown]:.2f} %" + (
            "" if spent is None else f", {spent:,.0f} CPU-s"
        )
    return f"{pace.over}/{pace.all} {name}: {said}{pace.left()}"


def _auxiliary_of(teacher: Checkpoint, width: int | None) -> AuxiliaryOf:
    from compress.card import Card
    from compress.checkpoint import Checkpoint, load
    from compress.jobs import auxiliary_architecture
    from compress.models import build, named
    from compress.named import Named

    def network(student: str, depth: int | None, ratio: float) -> tuple[str, ...]:
        given = {name: value for name, value in (("width", width), ("depth", depth)) if value is not None}
        if Named(student).is_file:
            small = load(Path(student))
        else:
            see, classes = teacher.card.preprocessing, teacher.card.classes
            architecture = named(student, len(classes), see.channels, see.size, given)
            small = Checkpoint(build(architecture), Card(architecture, see, classes))
        found = auxiliary_architecture(small, ratio)
        return (found.name, *(word for key, value in found.options.items() for word in (f"--{key}", str(value))))

    return network
