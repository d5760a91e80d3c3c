"""Numbers as they are shown to people."""

from __future__ import annotations


def amount(value: float | None, unit: str = "") -> str:
    """`value` in three digits with a decimal prefix: "61.6 k", "11.2 M"; "?" if unknown."""
    if value is None:
        return "?"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def milliseconds(value: float | None) -> str:
    """A time without its unit, in three digits or more: "0.0492", "0.492", "12.3"; "?" if unknown."""
    if value is None:
        return "?"
    if value < 0.1:
        return f"{value:#.3g}"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"
