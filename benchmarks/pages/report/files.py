"""The files of a benchmark: what each costs and knows, as a table; and the best of them at a glance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from benchmarks.document import record
from benchmarks.pages.report.markup import Cell, facts, section, signed, table, text
from benchmarks.pages.report.view import Entry, View
from benchmarks.pages.words import amount, milliseconds
from benchmarks.verdict import interval_text, times

DROP = "A drop above 0 is points that were lost, one below 0 points that were won."
NOTHING = Cell('<span class="none">\u2013</span>')
HEADS = ("file", "size", "parameters", "MACs", "{score}, %", "drop, points", "latency, ms", "p95 / p99, ms", "speed")


def draw(view: View) -> str:
    """The section of the files."""
    heads = [text(head.format(score=view.score)) for head in HEADS]
    rows = [_row(one) for one in view.entries]
    said = "In brackets 95 % intervals; latency is the geometric mean of the sessions\u2019 medians."
    base = f" {DROP} Drop and speed are against {text(view.base.name)}." if view.base is not None else ""
    shown = _glance(view) + table(said + base, heads, rows, kind="sortable") + _verdicts(view)
    return section("files", "Files", shown)


def _verdicts(view: View) -> str:
    """In whole sentences why a latency is not called another than the baseline's; the table has the rest."""
    judged = [(one, one.file["verdict"]) for one in view.measured if one.file["verdict"]]
    said = [(one, verdict["words"]) for one, verdict in judged if verdict["kind"] not in ("faster", "slower")]
    pairs = [(one.name, text(words)) for one, words in said]
    return f'<h3 class="above">Latency against {text(view.base.name)}</h3>{facts(pairs)}' if pairs and view.base else ""


def _glance(view: View) -> str:
    """The smallest, the fastest and the best of the files that are held against the baseline, a tile each.

    There is no tile of what no file is: smaller or faster than the baseline.
    """
    held = [one for one in view.measured if not one.base]
    if view.base is None or not held:
        return ""
    smaller = [one for one in held if (one.value("size") or 0.0) < (view.base.value("size") or 0.0)]
    faster = [one for one in held if one.file["verdict"]["kind"] == "faster"]
    tiles = [
        _tile("smallest", _least(smaller, "size"), _smaller(view.base)),
        _tile("fastest", _least(faster, "latency"), _faster),
        _tile("least drop", _least(held, "drop"), _kept),
    ]
    return f'<ul class="tiles">{"".join(tiles)}</ul>\n'


def _least(held: list[Entry], quantity: str) -> Entry | None:
    there = [(value, one.number, one) for one in held if (value := one.value(quantity)) is not None]
    return min(there)[2] if there else None


def _tile(what: str, one: Entry | None, said: Callable[[Entry], tuple[str, str]]) -> str:
    if one is None:
        return ""
    large, small = map(text, said(one))
    return f"<li><small>{what}</small><b>{large}</b><span>{small}</span><em>{text(one.name)}</em></li>"


def _smaller(base: Entry) -> Callable[[Entry], tuple[str, str]]:
    def said(one: Entry) -> tuple[str, str]:
        own, its = one.value("size") or 1.0, base.value("size") or 1.0
        return f"{times(its / own)} smaller", f"{amount(own, 'B')}, was {amount(its, 'B')}"

    return said


def _faster(one: Entry) -> tuple[str, str]:
    found = record(one.file, "speedup")
    assert found is not None
    ends = interval_text(found["low"], found["high"])
    return f"{times(found['value'])} faster", f"{ends}, {milliseconds(one.value('latency'))} ms"


def _kept(one: Entry) -> tuple[str, str]:
    found = record(one.file, "drop")
    assert found is not None
    ends = "" if found["low"] is None else f"[{signed(found['low'])}, {signed(found['high'])}], "
    score = record(one.file, one.metric)
    return f"{signed(found['value'])} points", f"{ends}{100 * score['value']:.2f} %" if score else ends


def _row(one: Entry) -> list[Cell]:
    if one.raw is None:
        return [_name(one), *[NOTHING] * (len(HEADS) - 1)]
    return [
        _name(one),
        _count(one, "size", "B"),
        _count(one, "parameters"),
        _count(one, "macs"),
        _score(one),
        _drop(one),
        _time(one),
        _tail(one),
        _speed(one),
    ]


def _name(one: Entry) -> Cell:
    kind = PurePath(one.file["name"]).suffix.lstrip(".")
    notes = ["baseline"] if one.base else []
    notes += ["exported to ONNX"] if one.raw is not None and one.file["made"] != "as given" else []
    small = f"<small>{', '.join(notes)}</small>" if notes else ""
    if one.raw is None:
        small = f'<small class="bad">not measured: {text(one.file["reason"])}</small>'
    return Cell(f'<span class="no">{one.number}</span> {text(one.name or kind)}{small}', one.number)


def _count(one: Entry, quantity: str, unit: str = "") -> Cell:
    value = one.value(quantity)
    return NOTHING if value is None else Cell(f'<span title="{value:,.0f}">{amount(value, unit)}</span>', value)


def _score(one: Entry) -> Cell:
    found = record(one.file, one.metric)
    if found is None:
        return NOTHING
    ends = "" if found["low"] is None else f"<small>[{100 * found['low']:.2f}, {100 * found['high']:.2f}]</small>"
    return Cell(f"{100 * found['value']:.2f}{ends}", found["value"])


def _drop(one: Entry) -> Cell:
    found = record(one.file, "drop")
    if found is None:
        return NOTHING
    ends = "" if found["low"] is None else f"<small>[{signed(found['low'])}, {signed(found['high'])}]</small>"
    return Cell(f"{signed(found['value'])}{ends}", found["value"])


def _time(one: Entry) -> Cell:
    found = record(one.file, "latency")
    if found is None:
        return NOTHING
    ends = f"[{milliseconds(found['low'])}, {milliseconds(found['high'])}]"
    return Cell(f"{milliseconds(found['value'])}<small>{ends}</small>", found["value"])


def _tail(one: Entry) -> Cell:
    late, last = one.value("latency_p95"), one.value("latency_p99")
    if late is None or last is None:
        return NOTHING
    return Cell(f"{milliseconds(late)}<small>{milliseconds(last)}</small>", late)


def _speed(one: Entry) -> Cell:
    verdict, found = one.file["verdict"], record(one.file, "speedup")
    if verdict is None or found is None:
        return NOTHING
    kind = {"faster": "good", "slower": "bad"}.get(verdict["kind"], "open")
    if kind == "open":
        words = {"unsure": "unsure", "same": "no difference detected", "noisy": "too noisy to judge"}[verdict["kind"]]
        return Cell(f'<span class="open">{words}</span>', found["value"])
    ends = f"<small>{text(interval_text(found['low'], found['high']))}</small>"
    return Cell(f'<span class="{kind}">{times(found["value"])} {verdict["kind"]}</span>{ends}', found["value"])
