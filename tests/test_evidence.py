"""What is committed as evidence still follows from the raw samples in it, and the README says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pages.report.check import page_findings
from benchmarks.pages.report.envelope import carried
from benchmarks.studies.headline import MARK, section
from benchmarks.studies.table import replace_section

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/evidence").glob("*.html"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_number_of_a_committed_report_follows_from_its_samples(page: Path) -> None:
    found = page_findings(page)
    assert [one.sentence for one in found if one.found == "FAILED"] == []
    assert [one.sentence for one in found if one.found == "re-derived"]


def test_the_headline_of_the_readme_is_that_of_its_report() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    document = carried(ROOT / "docs/evidence/fashion-mnist.html")[0].document
    assert replace_section(readme, section(document), mark=MARK) == readme
