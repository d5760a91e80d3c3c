"""A page held against what it carries: no byte altered, every number derived anew, and drawn again."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pages.report import envelope, page
from benchmarks.verify import Finding, verify
from compress.errors import DataError

DRAWING = 'name="edgepress-drawing" content="'


def page_findings(path: Path) -> list[Finding]:
    """What was found of a page: see `benchmarks.verify.verify`, and, if all of that holds, whether it shows it.

    Raises:
        DataError: There is no such file, or it carries a document of another version.
        GateError: It was altered, or is no page of `edgepress report`.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file; give a page that `edgepress report` wrote")
    content = path.read_bytes()
    carried = envelope.opened(content, str(path))
    found = [finding for one in carried.all for finding in verify(one.document, one.samples)]
    whole = [Finding("re-derived", "digest of the page: no byte was altered"), *found]
    failed = any(one.found == "FAILED" for one in found)
    return whole if failed else [*whole, _drawn(content, carried)]


def _drawn(content: bytes, carried: envelope.Carried) -> Finding:
    by = content.decode().partition(DRAWING)[2].partition('"')[0]
    if by != page.drawing():
        return Finding("not covered", f"what the page shows: drawn by other code ({by:.16}) than this; draw it anew")
    if page.draw(carried.document, carried.samples, carried.more) != content:
        return Finding("FAILED", "what the page shows is not what its document and samples give")
    return Finding("re-derived", "what the page shows: drawn anew, the same to the last byte")
