"""Which runs a study has: every student, method, fraction, depth, ratio and seed, each as one command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compress.errors import PlanError, unknown_name
from compress.recipes import read_method
from compress.tasks import CLASSIFICATION, RETRIEVAL, TASKS

TRIALS = "trials"
SUFFIX = ".safetensors"
BASELINE = "no_teacher"
FOR_ALL = ""  # whose epochs are those of every method that has none of its own

_UNSAFE = re.compile(r"[^\w.=+-]+")

AuxiliaryOf = Callable[[str, "int | None", float], Sequence[str]]


@dataclass(frozen=True)
class Way:
    """A method as a study names it: "indistill:scheme=decay:last=crd", "okd@classification".

    Attributes:
        label: As it was named.
        name: Of the recipe.
        settings: Its knobs, "knob=value" each.
        guide: Whom the student listens to: nobody, teacher or auxiliary.
        task: What it is trained for; "" for what the study is about.
        by_labels: It has nothing to train on but the labels.
    """

    label: str
    name: str
    settings: tuple[str, ...]
    guide: str
    task: str = ""
    by_labels: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """How `edgepress distill` is told of it."""
        return ("--method", self.name, *(word for setting in self.settings for word in ("--set", setting)))


@dataclass(frozen=True)
class Made:
    """How auxiliaries are made that were not given: one for each student, depth, ratio, fraction and seed.

    Attributes:
        network: From a student, its depth and the ratio to the words that name a new auxiliary's network.
        epochs: On the labels, and as many on the teacher.
        options: Words that their two commands get.
    """

    network: AuxiliaryOf
    epochs: int
    options: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """What a study compares.

    Attributes:
        folder: Of the study.
        teacher: Its file.
        data: Name or path of the data set.
        students: Networks by name, or checkpoints.
        ways: The methods.
        fractions: Shares of the training images.
        seeds: Of everything random.
        epochs: Label of a method to its epochs; `FOR_ALL` to those of the others.
        baseline: Label of the method that the others are held against.
        task: What for; "" leaves it to the command.
        options: Words that every command gets.
        depths: Of the students; None leaves it to the network.
        ratios: Shares of an auxiliary's filters to drop; None leaves it to the command.
        auxiliary: The file of a finished one for all, or how one is made.
    """

    folder: Path
    teacher: str
    data: str
    students: tuple[str, ...]
    ways: tuple[Way, ...]
    fractions: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: Mapping[str, int]
    baseline: str
    task: str = ""
    options: tuple[str, ...] = ()
    depths: tuple[int | None, ...] = (None,)
    ratios: tuple[float | None, ...] = (None,)
    auxiliary: str | Made = ""


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        name: Of its files, without suffix.
        words: The command that makes it, without `edgepress` and the output; paths as they were typed.
        student: As it was named.
        method: Label of the method.
        task: What it is trained for; "" where that was left to the command.
        fraction, seed, epochs, depth, ratio: Where it stands in the grid.
        control: Whose epochs the baseline is given here; "" for a run that was asked for.
        needs: Names of the trials that come before it.
        step: False: it is compared. True: it only makes what others need.
    """

    name: str
    words: tuple[str, ...]
    student: str
    method: str
    task: str
    fraction: float
    seed: int
    epochs: int
    depth: int | None = None
    ratio: float | None = None
    control: str = ""
    needs: tuple[str, ...] = field(default=())
    step: bool = False

    @property
    def command(self) -> str:
        """What to type to run it again beside its inputs."""
        bare = (Path(word).name or word if "/" in word else word for word in self.words)
        return shlex.join(["edgepress", *bare, "-o", f"{self.name}{SUFFIX}"])


def output_of(folder: Path, name: str) -> Path:
    """The checkpoint of a trial in the folder of its study."""
    return folder / TRIALS / f"{name}{SUFFIX}"


def log_of(folder: Path, name: str) -> Path:
    """What the process of a trial said."""
    return folder / TRIALS / f"{name}.log"


def read_way(text: str) -> Way:
    """The method that "name:knob=value:knob=value" names; "name@task" is trained for another task than the study's.

    Raises:
        PlanError: There is no such method, knob or task, or a value that is none.
    """
    whole, sign, task = text.partition("@")
    if sign and task not in TASKS:
        raise PlanError(f"--methods {text}: {unknown_name('task', task, TASKS)}")
    name, *settings = whole.split(":")
    pairs = [setting.partition("=") for setting in settings]
    for knob, sign, value in pairs:
        if not (knob and sign and value):
            raise PlanError(f"--methods {text}: knobs are given as {name}:knob=value:knob=value")
    recipe = read_method(name, {knob: value for knob, _, value in pairs}).recipe
    return Way(text, name, tuple(settings), recipe.guide, task, "labels" in recipe.needs)


def read_epochs(text: str, ways: Sequence[Way]) -> dict[str, int]:
    """Label to epochs, of "70", "stagewise=60,no_teacher=10" or "10,stagewise=60".

    Raises:
        PlanError: A number that is none, a method that is not compared, or one without epochs.
    """
    found: dict[str, int] = {}
    for word in text.split(","):
        label, _, number = word.rpartition("=")
        if label and label not in (known := {way.label for way in ways}):
            raise PlanError(f"--epochs {word}: {unknown_name('method', label, known)}")
        if not (number.isascii() and number.isdigit() and int(number) > 0):
            raise PlanError(f"--epochs {word}: give a whole number of at least 1, or METHOD=NUMBER")
        if label in found:
            raise PlanError(f"--epochs {text}: {label or 'the number for all'} is given twice")
        found[label] = int(number)
    without = [way.label for way in ways if way.label not in found and FOR_ALL not in found]
    if without:
        raise PlanError(f"--epochs {text}: says nothing of {', '.join(without)}; add a number for all others")
    return found


def trials(grid: Grid) -> list[Trial]:
    """Every run, what others need first; seeds are outermost, so that a study that is stopped early is a whole one.

    Where the methods' epochs differ, the baseline is run with each of the others' too: its controls.

    Raises:
        PlanError: Two runs would be the same.
    """
    found: dict[str, Trial] = {}
    for seed in grid.seeds:
        for student, depth, fraction in _places(grid):
            for trial in _runs(grid, student, depth, fraction, seed):
                if trial.name not in found:
                    found[trial.name] = trial
                elif not trial.step and not trial.control:
                    raise PlanError(f"{trial.name}: is asked for twice; leave one out")
    return list(found.values())


def _places(grid: Grid) -> Iterator[tuple[str, int | None, float]]:
    return ((s, d, f) for f in grid.fractions for s in grid.students for d in grid.depths)


def _runs(grid: Grid, student: str, depth: int | None, fraction: float, seed: int) -> Iterator[Trial]:
    start = _Start(grid, student, depth, fraction, seed)
    own = {way.label: grid.epochs.get(way.label, grid.epochs.get(FOR_ALL, 0)) for way in grid.ways}
    for way in grid.ways:
        for ratio in grid.ratios if way.guide == "auxiliary" else (None,):
            steps = start.auxiliary(ratio) if way.guide == "auxiliary" else []
            yield from steps
            yield start.trial(way, own[way.label], ratio, steps)
    base = next(way for way in grid.ways if way.label == grid.baseline)
    for epochs in dict.fromkeys(own.values()):
        if epochs != own[grid.baseline]:
            whose = ", ".join(label for label, own_epochs in own.items() if own_epochs == epochs)
            steps = start.auxiliary(grid.ratios[0]) if base.guide == "auxiliary" else []
            yield start.trial(base, epochs, grid.ratios[0] if steps else None, steps, control=whose)


@dataclass(frozen=True)
class _Start:
    """Where in the grid the methods are compared with each other."""

    grid: Grid
    student: str
    depth: int | None
    fraction: float
    seed: int

    def trial(self, way: Way, epochs: int, ratio: float | None, steps: Sequence[Trial], *, control: str = "") -> Trial:
        """The run of one method."""
        made = self.grid.auxiliary
        given = made if isinstance(made, str) else self._output(steps[-1]) if steps else ""
        auxiliary = ("--auxiliary", given) if way.guide == "auxiliary" and given else ()
        depth = ("--depth", str(self.depth)) if self.depth is not None else ()
        task = self._task(way)
        words = (*self._distill(self.student), *depth, *way.words, *auxiliary, *self._where(epochs))
        words = (*words, *(("--task", task) if task else ()))
        return Trial(
            self._name(way.label, epochs, ratio),
            (*words, *self.grid.options),
            self.student,
            way.label,
            task,
            self.fraction,
            self.seed,
            epochs,
            self.depth,
            ratio,
            control,
            tuple(step.name for step in steps),
        )

    def auxiliary(self, ratio: float | None) -> list[Trial]:
        """The two runs that make the auxiliary, the second of which leaves it: the labels, then the teacher by PKT."""
        made = self.grid.auxiliary
        if isinstance(made, str):
            return []
        share = 0.5 if ratio is None else ratio
        network = made.network(self.student, self.depth, share)
        rest = (*self._where(made.epochs), "--schedule", "constant", *made.options)
        steps: list[Trial] = []
        for method, task in (("no_teacher", "classification"), ("pkt", "retrieval")):
            start, shape = (self._output(steps[-1]), ()) if steps else (network[0], tuple(network[1:]))
            words = (*self._distill(start), *shape, "--method", method, "--task", task, *rest)
            name = self._name(f"auxiliary-{method}", made.epochs, share)
            before = tuple(step.name for step in steps)
            place = (
                self.student,
                f"auxiliary, {method}",
                task,
                self.fraction,
                self.seed,
                made.epochs,
                self.depth,
                share,
            )
            steps.append(Trial(name, words, *place, needs=before, step=True))
        return steps

    def _task(self, way: Way) -> str:
        """What a method is trained for: one that cannot do without labels learns to classify, also for retrieval."""
        if way.task or not way.by_labels or self.grid.task != RETRIEVAL.name:
            return way.task or self.grid.task
        return CLASSIFICATION.name

    def _output(self, step: Trial) -> str:
        return str(output_of(self.grid.folder, step.name))

    def _distill(self, student: str) -> tuple[str, ...]:
        return ("distill", self.grid.teacher, "--student", student)

    def _where(self, epochs: int) -> tuple[str, ...]:
        fraction = ("--fraction", str(self.fraction)) if self.fraction != 1 else ()
        return ("--data", self.grid.data, *fraction, "--epochs", str(epochs), "--seed", str(self.seed))

    def _name(self, label: str, epochs: int, ratio: float | None) -> str:
        student = Path(self.student).stem if self.student.endswith(SUFFIX) else self.student
        parts = [student, label.replace(":", "+")]
        parts += [f"d{self.depth}"] if self.depth is not None else []
        parts += [f"r{ratio}"] if ratio is not None else []
        parts += [f"f{self.fraction}", f"e{epochs}", f"s{self.seed}"]
        return _UNSAFE.sub("_", "-".join(parts))
