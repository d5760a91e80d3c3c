"""What each criterion leaves of a network: `python -m benchmarks.studies.criteria TEACHER --data D --json F`.

A network is cut at several ratios by each criterion and fitted on a few images; nothing is trained. The document of
schema "edgepress-criteria/1":

    machine   see compress.evidence.describe
    teacher   file, weights (digest) and score
    data      name of the data set
    images    that were looked at, by the criteria and by the fit
    rows      criterion, scope, ratio, macs (that are left), and the scores cut and fitted
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.document import save
from benchmarks.studies.scene import CALIBRATION, macs
from benchmarks.studies.table import write_section
from compress import evidence
from compress.checkpoint import Checkpoint, load
from compress.data import DataOptions, Dataset
from compress.opening import data_for
from compress.pruning import CRITERIA, SCOPES, Choice
from compress.smaller import cut, looked_at, mended
from compress.tasks import TASKS

SCHEMA = "edgepress-criteria/1"
COMMAND = "edgepress prune"


def study(whole: Checkpoint, images: Dataset, ratios: Sequence[float]) -> Iterator[dict[str, Any]]:
    """A row for each criterion, scope and ratio."""
    task, seen = TASKS[whole.card.task], looked_at(whole, images.train, CALIBRATION)
    for ratio, criterion, scope in product(ratios, CRITERIA, SCOPES):
        small = cut(whole, ratio, COMMAND, choice=Choice(criterion, scope), calibration=seen)
        fitted, _ = mended(small, whole, seen, COMMAND)
        scores = {
            name: task.evaluate(one.network, images)[task.headline]
            for name, one in (("cut", small), ("fitted", fitted))
        }
        yield {
            "criterion": criterion,
            "scope": scope,
            "ratio": ratio,
            "macs": macs(small.network, whole),
            **scores,
        }


def markdown(found: Mapping[str, Any]) -> str:
    """The section of a page: a table of fitted scores, and one of what they cost."""
    rows = {(row["criterion"], row["scope"], row["ratio"]): row for row in found["rows"]}
    ratios = sorted({row["ratio"] for row in found["rows"]})
    head = " | ".join(f"{ratio:g}: MACs | cut | fitted" for ratio in ratios)
    lines = [f"| criterion | scope | {head} |", f"| --- | --- |{' ---: | ---: | ---: |' * len(ratios)}"]
    for criterion, scope in dict.fromkeys((row["criterion"], row["scope"]) for row in found["rows"]):
        cells = [rows[criterion, scope, ratio] for ratio in ratios]
        told = " | ".join(
            f"{one['macs'] / 1e6:.1f} M | {100 * one['cut']:.2f} | {100 * one['fitted']:.2f}" for one in cells
        )
        lines.append(f"| {criterion} | {scope} | {told} |")
    return "\n".join(
        [
            *lines,
            "",
            f"- {found['data']}: top-1 in % on the whole test split; the whole network: "
            f"{100 * found['teacher']['score']:.2f} %. {found['images']} training images were looked at; nothing was "
            "trained.",
            f"- Machine: {found['machine']['cpu']}, torch {found['machine']['torch']}.",
        ]
    )


def main(
    teacher: Annotated[Path, typer.Argument(help="The network to prune: a checkpoint.")],
    data: Annotated[str, typer.Option(help="Data set by name, or a folder.")],
    output: Annotated[Path, typer.Option("--json", help="Write the document to this file.")],
    ratio: Annotated[list[float], typer.Option(help="Share of the channels to cut; several may be given.")],
    page: Annotated[Path | None, typer.Option(help="Page whose marked section is rewritten; made if missing.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a document that exists.")] = False,
) -> None:
    """Cut a network by every criterion, fit what is left, and score it."""
    whole = load(teacher)
    images = data_for(whole.card, data, DataOptions())
    task, rows = TASKS[whole.card.task], []
    for row in study(whole, images, ratio):
        typer.echo(json.dumps(row), err=True)
        rows.append(row)
    score = task.evaluate(whole.network, images)[task.headline]
    about = {"file": teacher.name, "weights": evidence.weights_digest(whole.network.model), "score": score}
    found = {
        "schema": SCHEMA,
        "machine": evidence.describe(),
        "teacher": about,
        "data": data,
        "images": min(CALIBRATION, len(images.train)),
        "rows": rows,
    }
    save(found, output, force=force)
    section = markdown(found)
    typer.echo(section)
    if page is not None:
        write_section(page, section, title="What each criterion leaves")


if __name__ == "__main__":
    script.run(main)
