"""What pruning wins and costs: `python -m benchmarks.studies.pruned TEACHER... --data D --json F`.

Each teacher is cut at several ratios and taught back by several ways, all for as many epochs over the same images; what
is left is weighed and timed as an .onnx file, all files in turn. The runs so far lie in `F.runs.jsonl`, so that an
interrupted study goes on. The document of schema "edgepress-pruned/1":

    machine   see compress.evidence.describe
    data      name of the data set
    images    of the training set that were seen
    epochs    of every way but the first two, which have none
    seeds     how many
    teachers  network, weights (digest), score, parameters, macs, size_bytes, latency_ms, and cuts: for each ratio
              ratio, and ours and theirs (as torch-pruning cuts to no more MACs), each with parameters, macs,
              size_bytes, latency_ms, speedup (value, low, high); and scores (way to the score of each seed)
    beside    other networks for the same data: name, parameters, macs, size_bytes, latency_ms, score
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.document import save
from benchmarks.measure.latency import Latency
from benchmarks.measure.shipped import file_of, latencies
from benchmarks.pages.front import draw_front
from benchmarks.studies.scene import CUT, FIT, THEIRS, USUAL, WAYS, Scene, new_scene, recover
from benchmarks.studies.summary import spread_text
from benchmarks.studies.table import write_section
from benchmarks.verdict import ratio as ratio_of
from compress import evidence
from compress.checkpoint import Checkpoint, load
from compress.cost import network_census
from compress.data import DataOptions
from compress.opening import data_for
from compress.tasks import TASKS

SCHEMA = "edgepress-pruned/1"
SESSIONS, ROUNDS = 8, 10
SHOWN = (USUAL, FIT, THEIRS)  # in the picture


@dataclass(frozen=True)
class Terms:
    """What every way has.

    Attributes:
        data: Name of the data set.
        ratios: Shares of the channels to cut.
        fraction: Of the training images.
        epochs: Over them.
        seeds: How many, from 0 on.
        augment: Names of what happens to the images.
    """

    data: str
    ratios: tuple[float, ...]
    fraction: float
    epochs: int
    seeds: int
    augment: tuple[str, ...]

    def options(self, seed: int) -> DataOptions:
        """How the data are read."""
        return DataOptions(fraction=self.fraction, seed=seed, augment=self.augment)


def study(teachers: Mapping[str, Checkpoint], terms: Terms, runs: Path) -> Iterator[dict[str, Any]]:
    """A run at a time, those of `runs` first: teacher, ratio, seed, way, score and CPU seconds."""
    done = [json.loads(line) for line in runs.read_text("utf-8").splitlines()] if runs.exists() else []
    known = {(run["teacher"], run["ratio"], run["seed"], run["way"]): run for run in done}
    for seed in range(terms.seeds):
        for name, whole in teachers.items():
            for ratio in terms.ratios:
                scene: Scene | None = None
                for way in (CUT, FIT, *WAYS):
                    place = (name, ratio, seed, way)
                    if place not in known:
                        scene = scene or new_scene(whole, terms.data, terms.options(seed), ratio)
                        found = recover(scene, way, 0 if way in (CUT, FIT) else terms.epochs, seed)
                        known[place] = dict(zip(("teacher", "ratio", "seed", "way"), place, strict=True)) | found
                        with runs.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(known[place]) + "\n")
                    yield known[place]


def document(
    teachers: Mapping[str, Checkpoint],
    beside: Mapping[str, Checkpoint],
    terms: Terms,
    runs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What was found, see the head of this module; the files are measured by this."""
    networks: dict[tuple[str, ...], Checkpoint] = {(name,): one for name, one in {**teachers, **beside}.items()}
    images = 0
    for name, whole in teachers.items():
        for ratio in terms.ratios:
            scene = new_scene(whole, terms.data, terms.options(0), ratio)
            networks[name, f"{ratio:g}", "ours"], networks[name, f"{ratio:g}", "theirs"] = scene.cut, scene.theirs
            images = len(scene.images.train)
    costs = _costs(networks)
    told = []
    for name, whole in teachers.items():
        cuts = []
        for ratio in terms.ratios:
            own = [run for run in runs if (run["teacher"], run["ratio"]) == (name, ratio)]
            scores = {way: {run["seed"]: run["score"] for run in own if run["way"] == way} for way in (CUT, FIT, *WAYS)}
            sides = {side: costs[name, f"{ratio:g}", side] for side in ("ours", "theirs")}
            cuts.append({"ratio": ratio, **sides, "scores": scores})
        told.append({"network": name, **_about(whole, terms), **costs[name,], "cuts": cuts})
    others = [{"name": name, **_about(one, terms), **costs[name,]} for name, one in beside.items()]
    facts = {"data": terms.data, "images": images, "epochs": terms.epochs, "seeds": terms.seeds}
    return {"schema": SCHEMA, "machine": evidence.describe(), **facts, "teachers": told, "beside": others}


def _about(one: Checkpoint, terms: Terms) -> dict[str, Any]:
    task = TASKS[one.card.task]
    score = task.evaluate(one.network, data_for(one.card, terms.data, terms.options(0)))[task.headline]
    return {"weights": evidence.weights_digest(one.network.model), "score": score}


def _costs(networks: Mapping[tuple[str, ...], Checkpoint]) -> dict[tuple[str, ...], dict[str, Any]]:
    """What each network costs as a file; of a cut also how many times as fast it is as its teacher."""
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        files = {place: file_of(one, Path(folder), "-".join(place)) for place, one in networks.items()}
        sizes = {place: path.stat().st_size for place, path in files.items()}
        taken = latencies({" ".join(place): path for place, path in files.items()}, sessions=SESSIONS, rounds=ROUNDS)
    times = {place: taken[" ".join(place)] for place in networks}
    return {place: _cost(one, sizes[place], times[place], times[place[:1]]) for place, one in networks.items()}


def _cost(one: Checkpoint, size: int, own: Latency, whole: Latency) -> dict[str, Any]:
    census = network_census(one.network, one.card.preprocessing.shape)
    counts = {"parameters": census.parameters, "macs": census.macs, "size_bytes": size, "latency_ms": own.median_ms}
    if own is whole:
        return counts
    return counts | {"speedup": asdict(ratio_of(whole.wall_medians_ms, own.wall_medians_ms))}


def markdown(found: Mapping[str, Any]) -> str:
    """The section of a page: a table of costs and one of scores for each teacher, and what they were made under."""
    parts = []
    for teacher in found["teachers"]:
        parts += [
            f"**{teacher['network']}**: {100 * teacher['score']:.2f} %, {teacher['macs']:,} MACs, "
            f"{teacher['size_bytes']:,} bytes, {teacher['latency_ms']:.3g} ms.",
            "",
            "| ratio | cut by | MACs | bytes | ms | times the speed |",
            "| ---: | --- | ---: | ---: | ---: | ---: |",
            *(_cost_line(cut, side) for cut in teacher["cuts"] for side in ("ours", "theirs")),
            "",
            " | ".join(["| way", *(f"ratio {cut['ratio']:g}" for cut in teacher["cuts"])]) + " |",
            f"| --- |{' ---: |' * len(teacher['cuts'])}",
            *(
                f"| {way} | {' | '.join(spread_text(cut['scores'][way]) for cut in teacher['cuts'])} |"
                for way in (CUT, FIT, *WAYS)
            ),
            "",
        ]
    machine = found["machine"]
    seeds = "one seed" if found["seeds"] == 1 else f"mean ± standard deviation over {found['seeds']} seeds"
    parts += [
        f"- {found['data']}: top-1 in % on the whole test split, {seeds}; {found['images']:,} training images, "
        f"{found['epochs']} epochs over them for every way but `{CUT}` and `{FIT}`, which train nothing.",
        "- Bytes and milliseconds of the .onnx file in ONNX Runtime, one image, one thread; all files took turns. "
        "`torch-pruning` is its MagnitudePruner at the least ratio with no more MACs than ours.",
        *(
            f"- {one['name']}: {100 * one['score']:.2f} %, {one['macs']:,} MACs, {one['size_bytes']:,} bytes, "
            f"{one['latency_ms']:.3g} ms."
            for one in found["beside"]
        ),
        f"- Machine: {machine['cpu']}, torch {machine['torch']}.",
    ]
    return "\n".join(parts)


def _cost_line(cut: Mapping[str, Any], side: str) -> str:
    one = cut[side]
    gain = one["speedup"]
    told = f"{gain['value']:.2f} [{gain['low']:.2f}, {gain['high']:.2f}]"
    return (
        f"| {cut['ratio']:g} | {'edgepress' if side == 'ours' else 'torch-pruning'} | {one['macs']:,} | "
        f"{one['size_bytes']:,} | {one['latency_ms']:.3g} | {told} |"
    )


def draw(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """The picture of accuracy against latency: each teacher and what pruning makes of it, and what stands beside."""
    families = {
        teacher["network"]: {way: [_point(teacher), *_points(teacher, way)] for way in SHOWN}
        for teacher in found["teachers"]
    }
    return draw_front(families, {one["name"]: _point(one) for one in found["beside"]}, folder, "accuracy-latency")


def _point(one: Mapping[str, Any]) -> tuple[float, float]:
    return one["latency_ms"], 100 * one["score"]


def _points(teacher: Mapping[str, Any], way: str) -> Iterator[tuple[float, float]]:
    side = "theirs" if way == THEIRS else "ours"
    for cut in teacher["cuts"]:
        scores = cut["scores"][way].values()
        yield cut[side]["latency_ms"], 100 * sum(scores) / len(scores)


def main(
    teachers: Annotated[list[Path], typer.Argument(help="The networks to prune: checkpoints.")],
    data: Annotated[str, typer.Option(help="Data set by name, or a folder.")],
    output: Annotated[Path, typer.Option("--json", help="Write the document to this file.")],
    ratio: Annotated[list[float], typer.Option(help="Share of the channels to cut; several may be given.")],
    fraction: Annotated[float, typer.Option(help="Of the training images.")] = 0.1,
    epochs: Annotated[int, typer.Option(min=1, help="Of every recovery.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0 on.")] = 1,
    augment: Annotated[str, typer.Option(help="As for `edgepress train`, by commas.")] = "none",
    beside: Annotated[list[Path] | None, typer.Option(help="Another network to show: a checkpoint.")] = None,
    page: Annotated[Path | None, typer.Option(help="Page whose marked section is rewritten; made if missing.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Folder for the picture.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a document that exists.")] = False,
) -> None:
    """Prune networks at several ratios, teach them back by several ways, and weigh and time what is left."""
    names = () if augment == "none" else tuple(augment.split(","))
    terms = Terms(data, tuple(ratio), fraction, epochs, seeds, names)
    opened = {(one := load(path)).card.architecture.name.rpartition(":")[2]: one for path in teachers}
    others = {path.stem: load(path) for path in beside or ()}
    runs = []
    for made in study(opened, terms, output.with_suffix(".runs.jsonl")):
        typer.echo(json.dumps(made), err=True)
        runs.append(made)
    found = document(opened, others, terms, runs)
    save(found, output, force=force)
    section = markdown(found)
    typer.echo(section)
    if page is not None:
        write_section(page, section, title="What pruning wins and costs")
    if figure is not None:
        draw(found, figure)


if __name__ == "__main__":
    script.run(main)
