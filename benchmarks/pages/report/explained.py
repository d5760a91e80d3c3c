"""Where the time of each file goes, layer by layer, and what keeps it from being faster; see `benchmarks.explain`."""

from __future__ import annotations

from benchmarks.pages.report.markup import Cell, facts, section, table, text
from benchmarks.pages.report.view import Entry, View


def draw(view: View) -> str:
    """The section; "" where it was not asked for."""
    found = [one for one in view.measured if one.file.get("explained")]
    if not found:
        return ""
    profiled = [one for one in found if one.file["explained"]["records"]]
    said = [(one.name, _said(one)) for one in found]
    pairs = [(name, words) for name, words in said if words]
    return section("explained", "Where the time goes", (_table(profiled) if profiled else "") + facts(pairs))


def _said(one: Entry) -> str:
    told = one.file["explained"]
    return "<br>".join(map(text, [told["reason"]] if told["reason"] else told["advice"]))


def _table(profiled: list[Entry]) -> str:
    times = [{each["quantity"]: each["value"] for each in one.file["explained"]["records"]} for one in profiled]
    names = dict.fromkeys(name for taken in times for name in taken)
    heads = ["layer or operator", *(f'<span class="no">{one.number}</span> {text(one.name)}' for one in profiled)]
    rows = [[Cell(text(name.partition(" ")[2])), *(_cell(taken, name) for taken in times)] for name in names]
    return table("Milliseconds of one call, by the runtime\u2019s own profile, and their share.", heads, rows)


def _cell(taken: dict[str, float], name: str) -> Cell:
    if name not in taken:
        return Cell('<span class="none">\u2013</span>')
    share = 100 * taken[name] / (sum(taken.values()) or 1.0)
    return Cell(f"{taken[name]:.4f}<small>{share:.0f} %</small>", taken[name])
