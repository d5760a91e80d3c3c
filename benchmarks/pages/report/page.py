"""A benchmark as one page of HTML: it needs nothing from elsewhere, and carries what `edgepress verify` needs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.document import Document
from benchmarks.pages.report import (
    claims,
    classes,
    conditions,
    confidence,
    envelope,
    evidence,
    explained,
    files,
    flips,
    hurt,
    latencies,
    lineage,
    scatter,
)
from benchmarks.pages.report.markup import section, text
from benchmarks.pages.report.view import Entry, View, view
from benchmarks.samples import read_samples

HERE = Path(__file__).parent
STYLE, SCRIPT = "page.css", "page.js"
WORDING = ("claims.py", "document.py", "scored.py", "verdict.py")
OPEN_FILES = 6
ADDRESS = re.compile(r'\b(id|aria-labelledby)="([a-z]+)(-title)?"')
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath fill='%230a66c2' d='M1 1h14v4H1zM3 7h10v3H3zM5 12h6v3H5z'/%3E%3C/svg%3E"
)


def draw(document: Document, samples: bytes, more: Sequence[envelope.Carried] = ()) -> bytes:
    """The whole page; of the same documents and samples it is always the same.

    Args:
        document: A benchmark.
        samples: The content of its raw samples.
        more: Further ones, which follow below it.

    Raises:
        DataError: The samples are damaged.
    """
    parts = [(document, samples), *((one.document, one.samples) for one in more)]
    shown = [view(*part[:1], read_samples(part[1], "the raw samples")) for part in parts]
    title = text(" \u00b7 ".join(map(_title, shown)))
    head = (
        f'">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<meta name="edgepress-drawing" content="{drawing()}">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<title>{title}</title>\n'
        f'<link rel="icon" href="{ICON}">\n<style>\n{_part(STYLE)}</style>\n</head>\n'
    )
    script = f"<script>\n{_part(SCRIPT)}</script>\n"
    body = _contents(shown) + "".join(_benchmark(one, number) for number, one in enumerate(shown, start=1))
    kept = "".join(envelope.blocks(*part, number) for number, part in enumerate(parts, start=1))
    return envelope.sealed(f"{head}<body>\n{body}{_foot()}{kept}{script}</body>\n</html>\n")


def _contents(shown: Sequence[View]) -> str:
    """Of several benchmarks what the page has, with a link to each."""
    if len(shown) == 1:
        return ""
    links = [
        f'<li><a href="#top{f"-{number}" if number > 1 else ""}">{text(_title(one))}</a>'
        f"<br><small>{text(_lede(one))}</small></li>"
        for number, one in enumerate(shown, start=1)
    ]
    words = f"<p><b>{len(shown)} benchmarks are on this page.</b></p>"
    return f'<nav aria-label="Benchmarks">{words}<ol class="contents">{"".join(links)}</ol></nav>\n'


def _benchmark(shown: View, number: int) -> str:
    """What is shown of one benchmark, its addresses told from those of the others by its number."""
    part = f"{_top(shown)}<main>\n{_main(shown)}</main>\n"
    if number == 1:
        return part
    part = part.replace("<main>", "<div>").replace("</main>", "</div>")  # a page has one
    return ADDRESS.sub(lambda found: f'{found[1]}="{found[2]}-{number}{found[3] or ""}"', part)


def drawing() -> str:
    """A digest of the code that draws pages, and words what they say: one of the same is the same to the last byte."""
    digest = hashlib.sha256()
    pages = HERE.parent
    for path in sorted([*pages.rglob("*"), *(pages.parent / name for name in WORDING)]):
        if path.suffix in (".py", ".css", ".js"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _part(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _title(shown: View) -> str:
    others = [one for one in shown.entries if not one.base]
    if shown.base is None or not others:
        return shown.entries[0].name
    if len(others) == 1:
        return f"{others[0].name} beside {shown.base.name}"
    return f"{len(others)} files beside {shown.base.name}"


def _lede(shown: View) -> str:
    document = shown.document
    data = document["data"]
    on = f"{data['name']}, {data['samples']:,} test images \u00b7 " if data else ""
    return f"{on}{document['machine']['cpu']} \u00b7 {document['created'][:16].replace('T', ' ')}"


def _top(shown: View) -> str:
    shared = f" \u00b7 files: {shown.shared}" if shown.shared else ""
    return (
        f'<header id="top"><p class="eyebrow">edgepress <span>report</span></p>\n<h1>{text(_title(shown))}</h1>\n'
        f'<p class="lede">{text(_lede(shown) + shared)}</p>\n'
        f"{claims.tally(shown)}</header>\n"
    )


def _main(shown: View) -> str:
    figures = [*(scatter.draw(shown, cost) for cost in scatter.COSTS), latencies.draw(shown), flips.draw(shown)]
    return "".join(
        [
            claims.draw(shown),
            evidence.warnings(shown),
            files.draw(shown),
            section(
                "figures", "What it costs, what it knows", f'{_key(shown)}<div class="grid">{"".join(figures)}</div>\n'
            ),
            conditions.draw(shown),
            explained.draw(shown),
            _each(shown),
            lineage.draw(shown),
            evidence.draw(shown),
        ]
    )


def _key(shown: View) -> str:
    """Which number is which file, beside the figures that have no room for names."""
    names = (f'<span class="whole">{_called(one)}</span>' for one in shown.measured)
    return f'<p class="key">{" ".join(names)}</p>\n'


def _each(shown: View) -> str:
    parts = [_one(one, shown) for one in shown.measured]
    return section("each", "Each file, class by class", "".join(parts)) if any(parts) else ""


def _one(one: Entry, shown: View) -> str:
    bars, said = classes.bars(one, shown), hurt.draw(one)
    if not bars and not said:
        return ""
    changed = flips.flips(one, shown.base)
    listed = "" if changed is None else flips.listing(changed, shown.classes)
    unfolded = " open" if len(shown.measured) <= OPEN_FILES else ""
    return (
        f'<details class="file"{unfolded}><summary><h3>{_called(one)}</h3></summary>\n{said}'
        f'<div class="grid">{bars}{classes.matrix(one, shown)}{confidence.draw(one)}{listed}</div></details>\n'
    )


def _called(one: Entry) -> str:
    return f'<span class="no">{one.number}</span> {text(one.name)}'


def _foot() -> str:
    return "<footer><p>Drawn by edgepress. Nothing on this page comes from elsewhere.</p></footer>\n"
