"""edgepress compare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import options
from cli.study import AS_DISTILL_HAS_IT, Passed


def compare(
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER", help="The trained network: a checkpoint.")],
    data: options.Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            parser=options.folder_name,
            help="Of the study.",
            rich_help_panel=options.OUTPUT,
        ),
    ],
    methods: Annotated[
        str,
        options.words(
            "--methods",
            "LIST",
            help="Such as no_teacher,pkt,indistill:last=okd (knobs after a colon).",
            group=options.METHOD,
        ),
    ],
    student: Annotated[
        str,
        options.words("--student", "LIST", help="Networks by name, or checkpoints.", group=options.NETWORK),
    ] = "cnn-s",
    baseline: Annotated[
        str | None,
        options.words(
            "--baseline",
            "METHOD",
            help="What the others are held against. [default: no_teacher, or else the first]",
            group=options.METHOD,
        ),
    ] = None,
    auxiliary: Annotated[
        Path | None,
        options.words(
            "--auxiliary",
            "PATH",
            help="A finished one for all. [default: made once for all that need the same]",
            group=options.METHOD,
        ),
    ] = None,
    auxiliary_epochs: Annotated[
        int,
        options.whole(
            "--auxiliary-epochs", 1, help="Of an auxiliary: on the labels, then on the teacher.", group=options.METHOD
        ),
    ] = 50,
    ratio: Annotated[
        str | None,
        options.words(
            "--ratio", "LIST", help="Shares of the auxiliary's filters to drop. [default: 0.5]", group=options.METHOD
        ),
    ] = None,
    depth: Annotated[
        str | None,
        options.words("--depth", "LIST", help="Depths, in blocks (cnn-s, cnn-a).", group=options.NETWORK),
    ] = None,
    fractions: Annotated[
        str,
        options.words("--fractions", "LIST", help="Shares of the training images, per class.", group=options.DATA),
    ] = "1",
    seeds: Annotated[int, options.whole("--seeds", 1, help="How many, from 0 on.", group=options.TRAINING)] = 1,
    epochs: Annotated[
        str,
        options.words(
            "--epochs",
            "LIST",
            help="70 for all, or by method: 10,stagewise=60; the baseline is then run with 60, too.",
            group=options.TRAINING,
        ),
    ] = "70",
    task: Annotated[
        str | None,
        options.choice("--task", options.TASKS, help="What for. [default: as of distill]", group=options.TRAINING),
    ] = None,
    score: Annotated[
        str | None,
        options.words(
            "--score",
            "LIST",
            help="Further tasks that every run is scored for, such as retrieval.",
            group=options.TRAINING,
        ),
    ] = None,
    note: Annotated[
        str,
        options.words("--note", "TEXT", help="What a reader of the tables should know.", group=options.OUTPUT),
    ] = "",
    paper: Annotated[
        Path | None,
        typer.Option(
            "--paper",
            metavar="FILE",
            help='Published values to show beside ours, as JSON: [{"method": "pkt", "scores": {"top1": 0.9}}].',
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    jobs: Annotated[int, options.whole("--jobs", 1, help="Runs at a time.")] = 1,
    threads: Annotated[int, options.whole("--threads", 1, help="CPU threads of each run.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs, and write nothing.")] = False,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw pictures.", rich_help_panel=options.OUTPUT)
    ] = True,
    force: options.Force = False,
    passed: Passed = AS_DISTILL_HAS_IT,
) -> None:
    """Compare methods on one teacher and data set.

    A study is a grid of runs, each an `edgepress distill` of its own. What is interrupted goes on when the command is
    repeated; one that asks for more adds it. Where methods have epochs of their own, the baseline is run with as many,
    too: the table then says how each method does at equal epochs.

    Examples:
        edgepress compare teacher.safetensors --methods no_teacher,pkt --seeds 3 --data digits -o study
        edgepress compare t.safetensors --methods pkt,indistill:last=okd --fractions 0.1,0.2 --data digits -o study
        edgepress compare t.safetensors --methods no_teacher,okd --epochs 10,okd=20 --data digits -o s --dry-run
    """
    from benchmarks.studies.folder import Told, open_folder, plan
    from benchmarks.studies.grid import Grid, read_epochs
    from benchmarks.studies.published import read_published
    from cli import study
    from cli.parse import command_line
    from cli.typed import refuse
    from compress.checkpoint import load
    from compress.files import exclusive

    ways, base = study.read_ways(methods, baseline)
    if auxiliary is not None:
        refuse(("--auxiliary-epochs", "--ratio"), "the auxiliary is finished already; leave it out")
        load(auxiliary)
    guide = load(teacher)
    grid = Grid(
        output,
        str(teacher),
        data,
        students=tuple(student.split(",")),
        ways=ways,
        fractions=study.read_numbers("--fractions", fractions, float),
        seeds=tuple(range(seeds)),
        epochs=read_epochs(epochs, ways),
        baseline=base,
        task=task or "",
        options=study.words_of(passed),
        depths=(None,) if depth is None else study.read_numbers("--depth", depth, int),
        ratios=(None,) if ratio is None else study.read_numbers("--ratio", ratio, float),
        auxiliary=str(auxiliary) if auxiliary else study.how_auxiliaries_are_made(guide, auxiliary_epochs, passed),
    )
    scoring = study.scoring_of(score, task, data, passed)
    published = read_published(paper) if paper else []
    todo = plan(grid, guide, Told(command_line(), note, study.training_of(passed, threads), published))
    if dry_run:
        study.list_trials(todo, grid, guide, passed, jobs=jobs)
        return
    study.check_trials(todo, grid, guide, passed)
    with exclusive(output):
        open_folder(output, todo, force=force)
        study.run_study(output, todo, scoring, study.program(threads), jobs=jobs, pictures=figures)
