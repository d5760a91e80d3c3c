"""What `edgepress prune` says of the layers that are why fewer multiply-accumulates did not make a network faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from benchmarks.blame import Blamed

TITLE = "layers to blame, by ONNX Runtime's profile: slower than their MACs"


def facts(blamed: Sequence[Blamed]) -> list[dict[str, Any]]:
    """The layers for --json."""
    return [asdict(one) for one in blamed]


def drawn(blamed: Sequence[Blamed]) -> list[Table]:
    """The layers as a table, if there are any."""
    from cli import say

    rows = [
        (
            one.name,
            f"{one.macs[0]:,} -> {one.macs[1]:,}" if one.macs[0] else "",
            f"{one.time_ms[0]:.3f} -> {one.time_ms[1]:.3f}",
            one.reason,
        )
        for one in blamed
    ]
    return [say.table(("layer", "MACs", "ms", "why"), rows, title=TITLE)] if rows else []
