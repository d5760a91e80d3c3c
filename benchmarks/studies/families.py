"""What structured pruning does to the families of networks: `python -m benchmarks.studies.families --json F --page P`.

Each network, with random weights, is cut by half and put to the promises of `benchmarks.studies.contract`, in a process
of its own. What a run made is kept row by row, so that an interrupted study goes on; a network that fails is a row with
its reason. Networks of timm take part where it is installed. The document of schema "edgepress-families/1":

    ratio     of the channels that are cut
    machine   see compress.evidence.describe, of the run that came last
    rows      network to input (channels, height, width), versions, and what `contract.tried` tells:
              macs and parameters (before, after), again (both after the second cut), layers (cut, of all), stages (name
              to channels, height, width), onnx (parity in words), fit (off: RMS of the logits' differences to those of
              the whole network before and after the fit; why_not: layers were not fitted), still (parameters that a
              step of teaching does not move), and broken (promise to reason)
"""

from __future__ import annotations

import json
import multiprocessing
import re
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import script
from benchmarks.studies.contract import RATIO, Facts, tried
from benchmarks.studies.table import UNKNOWN, read_study, write_section
from benchmarks.studies.untrained import untrained
from compress import code, evidence
from compress.errors import CompressError, DataError, MissingExtraError
from compress.files import write_text
from compress.models import TIMM, known_name
from compress.preprocessing import Size

SCHEMA = "edgepress-families/1"
OWN = "my_model.py:build"  # the example of the page on own networks
OWN_PAGE = Path("docs/own-networks.md")
TORCHVISION = [
    "alexnet",
    "vgg11_bn",
    "torchvision:resnet18",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "squeezenet1_1",
    "densenet121",
    "inception_v3",
    "googlenet",
    "shufflenet_v2_x1_0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet1_0",
    "efficientnet_b0",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "maxvit_t",
]
OF_TIMM = [
    TIMM + name
    for name in [
        "mobilenetv4_conv_small",
        "efficientnet_lite0",
        "ghostnet_100",
        "rexnet_100",
        "repvgg_a0",
        "fasternet_t0",
        "convnextv2_atto",
        "deit_tiny_patch16_224",
        "efficientvit_b0",
        "mobilevit_xxs",
        "edgenext_xx_small",
        "levit_128s",
    ]
]
NETWORKS: Mapping[str, Size] = {
    **dict.fromkeys((*TORCHVISION, "unet-resnet10", OWN, *OF_TIMM), (64, 64)),
    "vgg11_bn": (32, 32),
    "inception_v3": (96, 96),
    "unet-resnet10": (64, 96),
    "maxvit_t": (224, 224),  # its windows are a seventh of it
}
PACKAGES = ("torchvision", "torch_pruning", "onnxruntime", "timm")
HEAD = ("network", "input", "MACs", "parameters", "layers cut", "maps found", "fit", "cut again", ".onnx", "broken")


def row(name: str) -> Facts:
    """The row of a network, made in this process.

    Args:
        name: Of `NETWORKS`.
    """
    size = NETWORKS[name]
    facts: Facts = {"input": [3, *size], "versions": _versions(name)}
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder, code.naming():
        made = Path(folder)
        try:
            whole = untrained(_example(made) if name == OWN else name, size)
        except CompressError as error:
            return {**facts, "broken": {"built": str(error)}}
        return {**facts, **tried(whole, made)}


def _example(folder: Path) -> str:
    """The network of the page on own networks, as a file of the folder."""
    file, factory = code.parts(OWN)
    (folder / file).write_text(_example_code(), encoding="utf-8")
    return f"{folder / file}:{factory}"


def _example_code() -> str:
    """The code of that network; DataError where the page is not, or has none."""
    text = OWN_PAGE.read_text(encoding="utf-8") if OWN_PAGE.is_file() else ""
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    if block is None:
        raise DataError(f"{OWN_PAGE}: has no example in Python; run this where the page is")
    return block[1]


def _apart(name: str) -> Facts:
    """The row of a network, made in a process of its own, whose end is a reason, too."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(row, name).result()
        except BrokenProcessPool:
            reason = "the process that tried it was ended, as by a lack of memory"
            return {"input": [3, *NETWORKS[name]], "versions": _versions(name), "broken": {"built": reason}}


def _versions(name: str) -> dict[str, str | None]:
    """Of what a row depends on, for another one makes it anew."""
    needed = PACKAGES if name.startswith(TIMM) else PACKAGES[:-1]
    return {**evidence.versions(), **{package: evidence.version_of(package) for package in needed}}


def markdown(rows: Mapping[str, Facts]) -> str:
    """The rows as a table, and under it every reason once."""
    notes: dict[str, int] = {}
    ordered = [name for name in NETWORKS if name in rows]
    body = [f"| {' | '.join(_cells(name, rows[name], notes))} |" for name in ordered]
    made = {f"{key} {value}": None for name in ordered for key, value in rows[name]["versions"].items()}
    return "\n".join(
        [
            f"| {' | '.join(HEAD)} |",
            "|---|---|---:|---:|---:|---|---|---:|---|---|",
            *body,
            "",
            *(f"{number}. {reason}" for reason, number in notes.items()),
            "",
            ", ".join(made),
        ]
    )


def _cells(name: str, facts: Facts, notes: dict[str, int]) -> list[str]:
    def noted(word: str, reason: str) -> str:
        return f"{word} ({notes.setdefault(reason, len(notes) + 1)})"

    broken = [noted(promise, reason) for promise, reason in facts["broken"].items()]
    fit = facts.get("fit")
    told = UNKNOWN if fit is None else noted("statistics", fit["why_not"]) if fit["why_not"] else "layers"
    sides = ["x".join(map(str, shape[1:])) for shape in facts.get("stages", {}).values()]
    again = facts.get("again")
    return [
        name,
        "x".join(map(str, facts["input"])),
        _change(facts.get("macs")),
        _change(facts.get("parameters")),
        f"{facts['layers'][0]} of {facts['layers'][1]}" if "layers" in facts else UNKNOWN,
        ", ".join(sides) or UNKNOWN,
        told,
        UNKNOWN if again is None else f"{again[0] / facts['macs'][0]:.0%}",
        facts["onnx"].split(",")[0].removeprefix("max |difference| ") if "onnx" in facts else UNKNOWN,
        ", ".join(broken) or "nothing",
    ]


def _change(pair: tuple[int, int] | None) -> str:
    return UNKNOWN if pair is None else f"{pair[0]:,} → {pair[1]:,} ({pair[1] / pair[0]:.0%})"


def main(
    record: Annotated[Path, typer.Option("--json", help="Where the rows are kept; those that are there are not made.")],
    page: Annotated[Path, typer.Option(help="Page whose marked section is rewritten; made if missing.")],
    only: Annotated[list[str] | None, typer.Option(help="These networks alone, anew; the others are kept.")] = None,
) -> None:
    """Cut each network by half, and write what came of what pruning promises."""
    asked = script.chosen("only", only, NETWORKS)
    if OWN in asked:
        _example_code()
    rows: dict[str, Facts] = read_study(record)["rows"] if record.exists() else {}
    for name in asked:
        if only is None and rows.get(name, {}).get("versions") == _versions(name):
            continue
        try:
            known_name(name)
        except MissingExtraError as error:
            if only is not None:
                raise
            typer.echo(f"{name}: left out: {error}")
            continue
        rows[name] = _apart(name)
        told = "; ".join(f"{promise}: {reason}" for promise, reason in rows[name]["broken"].items())
        typer.echo(f"{name}: {told or 'holds'}")
        _write(record, {known: rows[known] for known in NETWORKS if known in rows})
        write_section(page, markdown(rows), title="Which families of networks can be pruned")


def _write(record: Path, rows: Mapping[str, Facts]) -> None:
    document: dict[str, Any] = {"schema": SCHEMA, "ratio": RATIO, "machine": evidence.describe(), "rows": rows}
    write_text(record, json.dumps(document, indent=2) + "\n", force=True)


if __name__ == "__main__":
    script.run(main)
