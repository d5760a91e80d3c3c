"""How a pruned network is best taught back: `python -m benchmarks.studies.recovery TEACHER --data D --json F`.

A network is cut to a share of its multiply-accumulates and recovered by several ways from the same cut, over the same
images, each in the CPU time that cross-entropy takes for so many epochs: who asks a teacher has fewer of them. The runs
so far lie in `F.runs.jsonl`, so that an interrupted study goes on. The document of schema "edgepress-recovery/1":

    machine   see compress.evidence.describe
    teacher   file, digest of its weights, and its score
    data      name of the data set
    macs      of the whole network
    settings  share (of the MACs left), ratio, images, epochs (of cross-entropy), cut (the score before any recovery),
              fitted (after the fit alone) and its CPU seconds, rows: way, epochs, scores (seed to score), cpu_s (mean),
              and difference (the usual way's score less this one's, paired by seed)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.budget import Budget, fit_budgets
from benchmarks.document import save
from benchmarks.studies.scene import CUT, FIT, FITTED, PLAIN, USUAL, WAYS, Scene, macs, new_scene, recover
from benchmarks.studies.summary import paired, spread_text
from benchmarks.studies.table import write_section
from compress import evidence
from compress.checkpoint import Checkpoint, load
from compress.data import DataOptions
from compress.smaller import cut

SCHEMA = "edgepress-recovery/1"


@dataclass(frozen=True)
class Setting:
    """What a row of a table is made under.

    Attributes:
        share: Of the multiply-accumulates that are left, in (0, 1).
        fraction: Of the training images.
        epochs: Of cross-entropy, whose CPU time every other way has.
    """

    share: float
    fraction: float
    epochs: int


def study(
    whole: Checkpoint, data: str, settings: Sequence[Setting], seeds: int, runs: Path
) -> Iterator[dict[str, Any]]:
    """A run at a time, those of `runs` first: setting, seed, way, epochs, score and CPU seconds."""
    done = [json.loads(line) for line in runs.read_text("utf-8").splitlines()] if runs.exists() else []
    for number, setting in enumerate(settings):
        limit = setting.share * macs(whole.network, whole)
        ratio = fit_budgets(lambda share: cut(whole, share, "edgepress prune"), whole, [Budget("macs", limit)])
        for seed in range(seeds):
            known = {run["way"]: run for run in done if (run["setting"], run["seed"]) == (number, seed)}
            scene = None if len(known) == len(WAYS) + 2 else new_scene(whole, data, _options(setting, seed), ratio)
            for way in (CUT, FIT, *WAYS):
                if way not in known:
                    assert scene is not None
                    first = known["no_teacher"]["cpu_s"] if way not in (CUT, FIT, PLAIN[0]) else None
                    facts = {"ratio": ratio, "images": len(scene.images.train), "fit_s": scene.fit_s}
                    known[way] = {"setting": number, "seed": seed, **facts, **_run(scene, setting, way, first, seed)}
                    with runs.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(known[way]) + "\n")
                yield known[way]


def _run(scene: Scene, setting: Setting, way: str, budget: float | None, seed: int) -> dict[str, Any]:
    """One way, in as many epochs as come nearest to the CPU seconds that it has."""
    if way in (CUT, FIT):
        return {"way": way, "epochs": 0, **recover(scene, way, 0, seed)}
    epochs = setting.epochs
    if budget is not None:
        left = budget - (scene.fit_s if way.startswith(FITTED) else 0.0)
        epochs = max(1, round(left / recover(scene, way, 1, seed)["cpu_s"]))
    return {"way": way, "epochs": epochs, **recover(scene, way, epochs, seed)}


def _options(setting: Setting, seed: int) -> DataOptions:
    return DataOptions(fraction=setting.fraction, seed=seed, augment=("flip", "resized-crop"))


def document(
    whole: Checkpoint, file: Path, data: str, settings: Sequence[Setting], runs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What was found, see the head of this module."""
    told = [_summary(setting, [run for run in runs if run["setting"] == at]) for at, setting in enumerate(settings)]
    last = whole.card.lineage[-1]
    teacher = {
        "file": file.name,
        "weights": evidence.weights_digest(whole.network.model),
        "metrics": last.get("metrics"),
    }
    total, where = macs(whole.network, whole), evidence.describe()
    return {"schema": SCHEMA, "machine": where, "teacher": teacher, "data": data, "macs": total, "settings": told}


def _summary(setting: Setting, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scores = {way: {run["seed"]: run["score"] for run in runs if run["way"] == way} for way in (CUT, FIT, *WAYS)}
    rows = []
    for way in WAYS:
        own = [run for run in runs if run["way"] == way]
        spent = sum(run["cpu_s"] + (run["fit_s"] if way.startswith(FITTED) else 0.0) for run in own) / len(own)
        rows.append(
            {
                "way": way,
                "epochs": sorted({run["epochs"] for run in own}),
                "scores": scores[way],
                "cpu_s": spent,
                "difference": paired(scores[USUAL], scores[way]) if way != USUAL else None,
            }
        )
    facts = {key: runs[0][key] for key in ("ratio", "images")}
    fit_s = sum(run["fit_s"] for run in runs) / len(runs)
    return {
        "share": setting.share,
        **facts,
        "epochs": setting.epochs,
        "cut": scores["cut"],
        "fitted": scores[FIT],
        "fit_s": fit_s,
        "rows": rows,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The tables of a page, one a setting."""
    parts = []
    for one in found["settings"]:
        parts += [
            f"{100 * one['share']:.0f} % of the MACs (ratio {one['ratio']:.3g}), {one['images']:,} training images, "
            f"the CPU time of {one['epochs']} epochs of cross-entropy. Cut: {spread_text(one['cut'])} %; fitted, "
            f"without a label or an epoch: {spread_text(one['fitted'])} % in {one['fit_s']:.1f} CPU-s.",
            "",
            f"| way | epochs | top-1 % | {USUAL} less this | CPU-s |",
            "| --- | ---: | ---: | ---: | ---: |",
            *(_line(row) for row in one["rows"]),
            "",
        ]
    machine = found["machine"]
    score = next(iter(found["teacher"]["metrics"].values()))
    parts += [
        f"- {found['data']}; the whole network: {100 * score:.2f} %, {found['macs']:,} MACs. Mean ± standard deviation "
        f"over {len(found['settings'][0]['cut'])} seeds; differences paired by seed, with their 95 % interval.",
        f"- Machine: {machine['cpu']}, torch {machine['torch']}.",
    ]
    return "\n".join(parts)


def _line(row: Mapping[str, Any]) -> str:
    epochs = "-".join(map(str, row["epochs"]))
    gap = row["difference"]
    told = "–"
    if gap:
        ends = "" if gap["low"] is None else f" [{100 * gap['low']:+.2f}, {100 * gap['high']:+.2f}]"
        told = f"{100 * gap['mean']:+.2f}{ends}"
    return f"| {row['way']} | {epochs} | {spread_text(row['scores'])} | {told} | {row['cpu_s']:.0f} |"


def main(
    teacher: Annotated[Path, typer.Argument(help="The network to prune: a checkpoint.")],
    data: Annotated[str, typer.Option(help="Data set by name, or a folder.")],
    output: Annotated[Path, typer.Option("--json", help="Write the document to this file.")],
    setting: Annotated[list[str], typer.Option(help="share,fraction,epochs: 0.5,0.1,3.")],
    page: Annotated[Path | None, typer.Option(help="Page whose marked section is rewritten; made if missing.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0 on.")] = 3,
    force: Annotated[bool, typer.Option("--force", help="Replace a document that exists.")] = False,
) -> None:
    """Recover a pruned network by several ways in equal CPU time."""
    settings = [
        Setting(float(share), float(part), int(epochs)) for share, part, epochs in (s.split(",") for s in setting)
    ]
    whole, runs = load(teacher), []
    for one in study(whole, data, settings, seeds, output.with_suffix(".runs.jsonl")):
        typer.echo(json.dumps(one), err=True)
        runs.append(one)
    found = document(whole, teacher, data, settings, runs)
    save(found, output, force=force)
    section = markdown(found)
    typer.echo(section)
    if page is not None:
        write_section(page, section, title="Recovery after pruning")


if __name__ == "__main__":
    script.run(main)
