"""How each file of a benchmark came to be: the commands from its first training to its bytes."""

from __future__ import annotations

from benchmarks.pages.report.markup import command, section, text
from benchmarks.pages.report.view import Entry, View


def draw(view: View) -> str:
    """The section; "" where no file knows its history. Files of the same history share a list."""
    shared: dict[tuple[str, ...], list[Entry]] = {}
    for one in view.measured:
        if one.file["lineage"]:
            shared.setdefault(tuple(one.file["lineage"]), []).append(one)
    if not shared:
        return ""
    parts = "".join(_history(commands, entries) for commands, entries in shared.items())
    return section("lineage", "Where each file comes from", f'<div class="grid">{parts}</div>\n')


def _history(commands: tuple[str, ...], entries: list[Entry]) -> str:
    names = " ".join(
        f'<span class="whole"><span class="no">{one.number}</span> {text(one.name)}</span>' for one in entries
    )
    items = "".join(f"<li><code>{command(one)}</code></li>" for one in commands)
    return f'<div><h3>{names}</h3><ol class="lineage">{items}</ol></div>\n'
