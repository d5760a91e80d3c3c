"""What was claimed of a shipped file and what a benchmark showed of it, as a statement of in-toto.

Not signed: whoever vouches for it does that, for example with cosign.

Reference: https://github.com/in-toto/attestation, spec/v1/statement.md and spec/predicates/test-result.md.
"""

from __future__ import annotations

from typing import Any

from benchmarks.cards.known import Known

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
LISTS = {"met": "passedTests", "not shown": "warnedTests", "broken": "failedTests"}


def statement(known: Known) -> dict[str, Any] | None:
    """The statement as JSON-able data; None where nothing was claimed of the file.

    A claim that was not shown is a warning; one that is broken fails the whole.

    Args:
        known: The file.
    """
    bench = known.bench
    if bench is None or not bench.claims:
        return None
    tests: dict[str, list[str]] = {name: [] for name in LISTS.values()}
    for held, sentence in bench.claims:
        tests[LISTS[held]].append(sentence)
    result = "FAILED" if tests["failedTests"] else "WARNED" if tests["warnedTests"] else "PASSED"
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in known.digests.items()],
        "predicateType": TEST_RESULT,
        "predicate": {"result": result, "configuration": _configuration(known), **tests},
    }


def _configuration(known: Known) -> list[dict[str, Any]]:
    """What the claims were judged on: the benchmark and, where they were kept, its raw samples."""
    bench = known.bench
    assert bench is not None
    samples = bench.document["samples"]
    files = {bench.name: bench.sha256, **({samples["file"]: samples["sha256"]} if samples else {})}
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()]
