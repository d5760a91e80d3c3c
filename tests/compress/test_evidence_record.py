from __future__ import annotations

import json

import pytest

from compress.evidence import Record


def test_a_record_goes_through_json_and_back() -> None:
    record = Record("top1", 0.9, 0.88, 0.92, 450, "share", "ab" * 32, "edgepress evaluate x", 3, {"torch": "2"}, "")
    assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    failed = Record("latency", None, reason="the runtime cannot run it")
    assert Record.from_dict(json.loads(json.dumps(failed.to_dict()))) == failed


@pytest.mark.parametrize(
    "changed",
    [{"value": []}, {"value": True}, {"n": 1.5}, {"seed": "0"}, {"quantity": None}, {"environment": []}, {"extra": 1}],
)
def test_a_record_of_another_form_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="record"):
        Record.from_dict({**Record("size", 1).to_dict(), **changed})
