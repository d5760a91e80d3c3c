"""edgepress inspect"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from compress.text import counted

if TYPE_CHECKING:
    from rich.table import Table

    from compress.checkpoint import Card, Checkpoint
_VERSIONS = ("opset", "ir_version", "schema", "specification")


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A checkpoint, any exported file, or with --arch a plain state dict.")
    ],
    data: options.NamingData = None,
    plain: options.Plain = options.NO_CARD,
    seen: options.Seen = options.AS_THE_DATA_SAY,
    by_bytes: Annotated[
        bool, typer.Option("--bytes", help="Show where its bytes go instead, and in which types it computes.")
    ] = False,
) -> None:
    """Show what is in a file.

    Of a checkpoint, an .onnx or a .tflite: network, input, classes, parameters, MACs, bytes, lineage.

    Examples:
        edgepress inspect student.safetensors
        edgepress inspect student.onnx --bytes
        edgepress inspect weights.pt --arch torchvision:resnet18 --data cifar10
    """
    from cli import file_bytes, parse, say
    from cli.typed import refuse
    from exports import FORMATS

    if by_bytes:
        file_bytes.show(file)
        return
    exported = file.suffix in FORMATS
    parse.refuse_idle(file, plain, exported=exported)
    if exported:
        facts = _exported_facts(file)
    elif not plain.arch and (card := _unbuilt(file)):
        refuse(("--stage",), f"{file} is of a network whose code was not named; add --code")
        facts = _card_alone(file, card)
    else:
        facts = _checkpoint_facts(file, _opened(file, data, plain, seen))
        facts |= {"format": "plain state dict"} if plain.arch else {}
    say.result(facts, _summary(facts), *([_stages(facts)] if "stages" in facts else []))


def _opened(path: Path, data: str | None, plain: options.Plain, seen: options.Seen) -> Checkpoint:
    from cli import parse
    from compress.data import DataOptions
    from compress.opening import open_network

    return open_network(parse.read_file(path, plain), data, parse.read_seen(DataOptions(), seen))


def _checkpoint_facts(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    from compress.checkpoint import blank_image
    from compress.cost import network_census
    from compress.stages import feature_shapes, owned

    network, image = checkpoint.network, blank_image(checkpoint.card)
    census = network_census(network, (image.shape[1], image.shape[2], image.shape[3]))
    shapes = feature_shapes(network, image)
    return {
        "file": str(path),
        "format": "edgepress checkpoint",
        "size_bytes": path.stat().st_size,
        "input_shape": list(image.shape[1:]),
        "parameters": census.parameters,
        "macs": census.macs,
        "weight_bytes": census.weight_bytes,
        **_card_facts(checkpoint.card),
        "stages": [
            {
                "name": s.name,
                "tap": s.tap,
                "before": s.before,
                "channels": s.width,
                "shape": list(shapes[s.name]),
                "parameters": owned(network, s),
            }
            for s in network.stages
        ],
    }


def _unbuilt(path: Path) -> Card | None:
    """The card of a checkpoint whose network comes from a file of code, while no file of code was named."""
    from compress.code import named_files
    from compress.header import read_card

    card = read_card(path)[0]
    return card if card.architecture.sha256 and not named_files() else None


def _card_alone(path: Path, card: Card) -> dict[str, Any]:
    """What a checkpoint tells without its network."""
    from math import prod

    from compress.header import read_card

    return {
        "file": str(path),
        "format": "edgepress checkpoint",
        "size_bytes": path.stat().st_size,
        "input_shape": list(card.preprocessing.shape),
        "parameters": None,
        "values": sum(prod(shape) for shape in read_card(path)[1].values()),
        "macs": None,
        **_card_facts(card),
        "stages": [
            {
                "name": s.name,
                "tap": s.tap,
                "before": s.before,
                "channels": s.width,
                "shape": None,
                "parameters": None,
            }
            for s in card.stages
        ],
    }


def _exported_facts(path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from exports import format_of
    from exports.label import how_to_read, needs, steps

    form = format_of(path)
    exported = form.read(path)
    census, card, layout = form.census(path), exported.card, exported.layout
    told: dict[str, Any] = {}
    if card is not None:
        rule = steps(card.preprocessing, exported.input, layout, exported.batch)
        told = {"steps": rule, "output": how_to_read(card, layout, exported.batch), "needs": needs(card)}
    return {
        "file": str(path),
        "format": form.name,
        "size_bytes": exported.size_bytes,
        "layout": layout,
        "input_shape": list(census.input_shape[1:]),
        "input_type": exported.dtype,
        "output_shape": list(census.output_shape[1:]),
        "parameters": exported.provenance.parameters if exported.provenance else None,
        "values": census.parameters,
        "macs": census.macs,
        **census.versions,
        "operators": dict(census.operators),
        **({**_card_facts(card), **told} if card else {}),
        **({"provenance": asdict(exported.provenance)} if exported.provenance else {}),
    }


def _card_facts(card: Card) -> dict[str, Any]:
    return {
        "network": card.architecture.name,
        "options": dict(card.architecture.options),
        **(
            {"code": {"file": _code_file(card), "sha256": card.architecture.sha256}} if card.architecture.sha256 else {}
        ),
        "task": card.task,
        "mean": list(card.preprocessing.mean),
        "std": list(card.preprocessing.std),
        "classes": list(card.classes),
        "surgery": _surgery(card),
        "quantized": {grid.module: grid.bits for grid in card.grids},
        "activations": [
            {"places": [str(place) for place in grid.places], "bits": grid.bits} for grid in card.activations
        ],
        "lineage": [dict(step) for step in card.lineage],
    }


def _code_file(card: Card) -> str:
    from compress.code import parts

    return parts(card.architecture.name)[0]


def _surgery(card: Card) -> dict[str, Any]:
    from compress.edits import Cut, Drop

    cuts = [cut for cut in card.cuts if isinstance(cut, Cut)]
    drops = [cut.module for cut in card.cuts if isinstance(cut, Drop)]
    removed: dict[str, Any] = {"cuts": len(cuts), "channels": sum(len(cut.channels) for cut in cuts)}
    return removed | ({"blocks": drops} if drops else {})


def _removed(surgery: Mapping[str, Any]) -> str:
    told = (
        [f"{counted(surgery['channels'], 'channel')} in {counted(surgery['cuts'], 'cut')}"] if surgery["cuts"] else []
    )
    return "; ".join([*told, *(f"block {name}" for name in surgery.get("blocks", ()))]) or "none"


def _summary(facts: Mapping[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from compress.text import printable

    table = Table(title=Text(printable(facts["file"])), show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(facts):
        table.add_row(name, Text(printable(value)))
    return table


def _lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = [("format", facts["format"])]
    if "network" in facts:
        options = "".join(f", {name} {value}" for name, value in facts["options"].items())
        lines += [("network", facts["network"] + options)]
        lines += [("code", f"{facts['code']['file']}, sha256 {facts['code']['sha256']}")] if "code" in facts else []
        lines += [("task", facts["task"])]
    layout = f" ({facts['layout'][1:]})" if "layout" in facts else ""
    lines.append(("input", " x ".join(map(str, facts["input_shape"])) + layout))
    if "mean" in facts:
        inside = "in the file, which takes uint8: " if facts.get("input_type") == "uint8" else ""
        rule = f"{inside}(pixel - mean) / std of [0, 1]; mean {facts['mean']}, std {facts['std']}"
        lines.append(("normalisation", rule))
        lines.append(("classes", f"{len(facts['classes'])}: {_few(facts['classes'])}"))
    unbuilt = "code" in facts and "layout" not in facts
    unknown = f" without --code {facts['code']['file']}" if unbuilt else ": the file leaves a shape open"
    macs = f"unknown{unknown}" if facts["macs"] is None else f"{facts['macs']:,}"
    lines += [("parameters", _parameters(facts)), ("MACs", macs), ("bytes", f"{facts['size_bytes']:,}")]
    if "operators" in facts:
        operators = ", ".join(f"{kind} {count}" for kind, count in facts["operators"].items())
        versions = ", ".join(f"{name} {facts[name]}" for name in _VERSIONS if name in facts)
        lines += [("versions", versions)] if versions else []
        lines += [("operators", operators)]
    if "surgery" in facts:
        surgery = facts["surgery"]
        lines.append(("surgery", _removed(surgery)))
        lines += [("quantized", _bits(facts["quantized"]))] if facts["quantized"] else []
        lines += [("activations", _values(facts["activations"]))] if facts["activations"] else []
        lines += [(f"step {number}", _step_line(step)) for number, step in enumerate(facts["lineage"], 1)]
    if "provenance" in facts:
        lines.append(("preprocessing", " ".join(facts["steps"])))
        lines += [(name, facts[name]) for name in ("output", "needs") if facts[name]]
        lines += _provenance_lines(facts["provenance"])
    return lines


def _provenance_lines(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    rest = ", ".join(f"{name} {value}" for name, value in provenance.items() if name != "graph_sha256")
    seal = f"unbroken, sha256 {provenance['graph_sha256']}" if provenance["graph_sha256"] else "not recorded"
    return [("provenance", rest), ("seal", seal)]


def _parameters(facts: Mapping[str, Any]) -> str:
    if "values" not in facts:
        return f"{facts['parameters']:,}"
    stored = f"{counted(facts['values'], 'value')} in the file"
    return stored if facts["parameters"] is None else f"{facts['parameters']:,} before export; {stored}"


def _bits(quantized: Mapping[str, int]) -> str:
    return ", ".join(f"{layer} {bits} bits" for layer, bits in quantized.items())


def _values(activations: list[Mapping[str, Any]]) -> str:
    shown = _few([grid["places"][0] for grid in activations])
    return f"{counted(len(activations), 'value')} of {activations[0]['bits']} bits: {shown}"


def _few(names: list[str], shown: int = 12) -> str:
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def _step_line(step: Mapping[str, Any]) -> str:
    """Command, what was done, data, seed and metrics of one step of lineage; whatever else it holds is in the JSON."""
    parts = [str(step.get("command", "a step without a command")), *_done(step)]
    if isinstance(step.get("data"), Mapping):
        parts.append(f"data {step['data'].get('name')}")
    if "seed" in step:
        parts.append(f"seed {step['seed']}")
    if isinstance(step.get("metrics"), Mapping):
        parts += [f"{name} {value}" for name, value in step["metrics"].items()]
    return "; ".join(parts)


def _done(step: Mapping[str, Any]) -> list[str]:
    """What a step of pruning did: one command leaves several, which its words alone do not tell apart."""
    done = []
    if "ratio" in step:
        number, of = step.get("step", (1, 1))
        turn = f"cut {number} of {of}" if of > 1 else "cut"
        chosen = [str(step[what]) for what in ("criterion", "scope") if what in step]
        done.append(", ".join([f"{turn} by {step['ratio']:g}", *chosen]))
    if "refitted_layers" in step:
        done.append(f"{counted(step['refitted_layers'], 'layer')} fitted")
    if "new_statistics" in step:
        done.append(f"new statistics of {step['new_statistics']} batch-norms")
    return done


def _stages(facts: Mapping[str, Any]) -> Table:
    from cli import say

    rows = [
        (
            stage["name"],
            f"into {stage['tap']}" if stage["before"] else stage["tap"] or "the answer",
            " x ".join(map(str, stage["shape"])) if stage["shape"] else counted(stage["channels"], "channel"),
            "unknown" if stage["parameters"] is None else f"{stage['parameters']:,}",
        )
        for stage in facts["stages"]
    ]
    unknown = any(stage["shape"] is None for stage in facts["stages"])
    why = f"; their shapes and parameters are unknown without --code {facts['code']['file']}" if unknown else ""
    return say.table(("stage", "tap", "shape", "parameters"), rows, title=f"stages{why}")
