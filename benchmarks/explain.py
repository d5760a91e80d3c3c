"""Where the time of .onnx files goes, and what could be done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.blame import ALIGNED
from benchmarks.contender import Contender
from benchmarks.measure.operators import Operation, Spent, Subject, spent, subject_in
from compress.evidence import Record

ONNX = ".onnx"
NOTED = 0.05  # of the time: what takes less is not worth a word
CONVERTS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast")
WHOLE = ("QLinear", "Integer", "QGemm")  # in the names of what computes in whole numbers
DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8", "i8mm", "asimddp"}
IN_FLOAT = ("HardSwish", "HardSigmoid", "Sigmoid", "QuickGelu", "Gelu", "Erf", "Softmax", "LayerNormalization")
MUCH, FAR = 0.2, 4.0  # a layer's share of the time, and how many times as long it takes for its MACs as the others
UNPROFILED = "its runtime gives no profile; .onnx files are explained"


def explain(contenders: Mapping[int, Contender], flags: Sequence[str]) -> dict[int, dict[str, Any]]:
    """What a document says of where the time of each file goes.

    Keys: `records` (milliseconds by layer, `layer_ms NAME`, and by operator that is no layer's, `operator_ms NAME`, in
    the order in which they run), `advice` (sentences), and `reason`, why there is neither, or "".

    Args:
        contenders: By place.
        flags: Instructions of this machine, see `compress.evidence.describe`.

    Raises:
        ExportError: A file cannot be profiled.
    """
    profiled = {at: one for at, one in contenders.items() if one.exported.path.suffix == ONNX}
    found = spent({str(at): _subject(one) for at, one in profiled.items()}) if profiled else {}
    told: dict[int, dict[str, Any]] = {}
    for at, one in contenders.items():
        if at not in profiled:
            told[at] = {"records": [], "advice": [], "reason": UNPROFILED}
            continue
        taken, grids = found[str(at)], one.exported.card is not None and bool(one.exported.card.grids)
        records = [record.to_dict() | {"sha256": one.exported.sha256} for record in _records(taken)]
        told[at] = {"records": records, "advice": advice(taken, flags, quantized=grids), "reason": ""}
    return told


def _subject(contender: Contender) -> Subject:
    if contender.exported.card is not None:
        return subject_in(contender.exported)
    return Subject(Path(contender.exported.path), contender.images(contender.exported.batch or 1))


def _records(taken: Spent) -> list[Record]:
    layers = {one.layer for one in taken.operations if one.layer}
    kinds = ((name, "layer_ms" if name in layers else "operator_ms") for name in taken.by_name)
    return [Record(f"{kind} {name}", taken.by_name[name], unit="ms") for name, kind in kinds]


def advice(taken: Spent, flags: Sequence[str], *, quantized: bool) -> list[str]:
    """What keeps a file from being faster, as far as its profile shows, and what to do.

    Args:
        taken: Where its time goes.
        flags: Instructions of the machine.
        quantized: Its weights are on grids.
    """
    whole = [one for one in taken.operations if _in_whole_numbers(one)]
    return [
        *_of_weights(whole, quantized=quantized),
        *_of_slow_layers(taken, whole),
        *_of_conversions(taken, whole),
        *_of_layouts(taken),
        *_of_widths(taken),
        *_of_instructions(whole, flags),
    ]


def _in_whole_numbers(one: Operation) -> bool:
    return any(part in one.operator for part in WHOLE)


def _share(taken: Spent, operations: Sequence[Operation]) -> float:
    return sum(one.time_ms for one in operations) / taken.sum_ms if taken.sum_ms else 0.0


def _of_weights(whole: Sequence[Operation], *, quantized: bool) -> list[str]:
    if not quantized or whole:
        return []
    return [
        "its weights are widened to float32 when it is opened, and all is computed in float: it is smaller, not "
        "faster; for whole numbers throughout: edgepress quantize --scheme static"
    ]


def _of_conversions(taken: Spent, whole: Sequence[Operation]) -> list[str]:
    found = [one for one in taken.operations if one.operator in CONVERTS]
    share = _share(taken, found)
    if not whole or len(found) < 2 or share < NOTED:
        return []
    between = dict.fromkeys(one.operator for one in taken.operations if one.operator in IN_FLOAT)
    named = f"; in float between them: {', '.join(between)}" if between else ""
    return [f"{len(found)} changes between float and whole numbers take {100 * share:.0f} % of the time{named}"]


def _of_slow_layers(taken: Spent, whole: Sequence[Operation]) -> list[str]:
    """Layers that whole numbers slow down, by what all others take for their multiply-accumulates."""
    macs: dict[str, int] = {}
    for product in taken.products:
        macs[product.layer] = macs.get(product.layer, 0) + product.macs
    spent_ms = {one.layer: taken.by_name[one.layer] for one in whole if macs.get(one.layer)}
    found = []
    for name, time_ms in spent_ms.items():
        others = [other for other in spent_ms if other != name]
        usual_ms = sum(spent_ms[other] for other in others) / max(sum(macs[other] for other in others), 1) * macs[name]
        if others and time_ms >= MUCH * taken.sum_ms and time_ms >= FAR * usual_ms:
            found.append(
                f"{name} takes {100 * time_ms / taken.sum_ms:.0f} % of the time, for its MACs {time_ms / usual_ms:.0f} "
                f"times as long as the others: try it in float, --scheme static --keep-float {name}"
            )
    return found


def _of_layouts(taken: Spent) -> list[str]:
    found = [one for one in taken.operations if one.operator.startswith(("Reorder", "Transpose"))]
    share = _share(taken, found)
    if len(found) < 2 or share < NOTED:
        return []
    named = ", ".join(dict.fromkeys(one.operator for one in found))
    return [f"{len(found)} changes of layout ({named}) take {100 * share:.0f} % of the time"]


def _of_widths(taken: Spent) -> list[str]:
    """Layers outside of ONNX Runtime's layout of blocks of channels, where others are inside."""
    if not any(one.blocked_width for one in taken.operations):
        return []
    widths = {one.layer: (one.weight[0], one.weight[1] * one.groups) for one in taken.products}
    inside = {one.layer for one in taken.operations if one.blocked_width}
    odd = [
        f"{layer} ({outputs} from {inputs} channels)"
        for layer, (outputs, inputs) in widths.items()
        if layer not in inside and (outputs % ALIGNED or inputs % ALIGNED) and _is_spatial(taken, layer)
    ]
    if not odd:
        return []
    return [
        f"not computed on blocks that fill the vector unit, for want of widths that are multiples of {ALIGNED}: "
        f"{', '.join(odd)}"
    ]


def _is_spatial(taken: Spent, layer: str) -> bool:
    return any(one.layer == layer and "Conv" in one.operator for one in taken.operations)


def _of_instructions(whole: Sequence[Operation], flags: Sequence[str]) -> list[str]:
    if not whole or DOT_PRODUCTS & set(flags):
        return []
    return ["this CPU has no dot products of bytes (VNNI, or dotprod on Arm): whole numbers gain little on it"]
