"""How each file of a benchmark came to be: the commands from its first training to its bytes."""

from __future__ import annotations

from benchmarks.contender import AS_GIVEN
from benchmarks.pages.report.markup import command, section, text
from benchmarks.pages.report.view import Entry, View


def draw(view: View) -> str:
    """The section; "" where no file knows its history. Files of the same history share a list."""
    shared: dict[tuple[str, ...], list[Entry]] = {}
    for one in view.measured:
        if one.file["lineage"]:
            shared.setdefault(_steps(one), []).append(one)
    if not shared:
        return ""
    parts = "".join(_history(steps, entries) for steps, entries in shared.items())
    return section("lineage", "Where each file comes from", f'<div class="grid">{parts}</div>\n')


def _steps(one: Entry) -> tuple[str, ...]:
    """HTML of what led to what was measured; at last of its export, where that was made for the benchmark."""
    typed = (f"<code>{command(step)}</code>" for step in one.file["lineage"])
    made = one.file["made"]
    return (*typed, *([] if made == AS_GIVEN else [text(made)]))


def _history(steps: tuple[str, ...], entries: list[Entry]) -> str:
    names = " ".join(
        f'<span class="whole"><span class="no">{one.number}</span> {text(one.name)}</span>' for one in entries
    )
    items = "".join(f"<li>{one}</li>" for one in steps)
    return f'<div><h3>{names}</h3><ol class="lineage">{items}</ol></div>\n'
