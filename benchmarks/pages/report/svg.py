"""Figures as inline SVG: a frame with axes, and what says in words what is to be seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.pages.report.markup import text

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Axis:
    """From values to places in a figure.

    Attributes:
        low: The least value.
        high: The largest.
        start: The place of the least.
        end: The place of the largest.
        log: Equal ratios are equally far apart, and not equal differences.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value."""
        at, low, high = (math.log(one) if self.log else one for one in (value, self.low, self.high))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values between both ends, at least two and about as many as asked for."""
        for steps in ((1, 2, 5), (1, 3), (1,)) if self.log else ():
            found = [
                step * 10.0**power
                for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                for step in steps
                if self.low <= step * 10.0**power <= self.high
            ]
            if 2 <= len(found) <= most:
                return found
        return _even(self.low, self.high, most)


def padded(values: Sequence[float], start: float, end: float, *, log: bool = False, share: float = 0.08) -> Axis:
    """An axis that holds all values, and some room at both of its ends.

    Args:
        values: At least one; above 0 where the axis is of ratios.
        start: The place of its least value.
        end: The place of its largest.
        log: See `Axis`.
        share: How much room, of the whole.
    """
    low, high = min(values), max(values)
    if log:
        room = max((high / low) ** share, 1.05)
        return Axis(low / room, high * room, start, end, log=True)
    room = max((high - low) * share, abs(high) * 1e-3, 1e-9)
    return Axis(low - room, high + room, start, end)


def figure(title: str, described: str, size: tuple[float, float], inner: str, caption: str = "") -> str:
    """A figure with its caption; `title` and `described` are read to who does not see it.

    Args:
        title: A few words, plain text.
        described: What is to be seen in it, plain text.
        size: Width and height of what is drawn.
        inner: SVG.
        caption: HTML above it, as of a table; the title if there is none.
    """
    width, height = size
    return (
        f"<figure><figcaption>{caption or text(title)}</figcaption>\n"
        f'<svg role="img" viewBox="0 0 {width:g} {height:g}"><title>{text(title)}</title>'
        f"<desc>{text(described)}</desc>{inner}</svg></figure>\n"
    )


def label(x: float, y: float, words: object, kind: str = "", anchor: str = "start") -> str:
    """A text at a place; `kind` is its class."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{text(words)}</text>'


def line(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    """A straight line between two places; `kind` is its class."""
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle by its upper left corner; `kind` is its class."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" class="{kind}"/>'


def cut(name: str, letters: int) -> str:
    """A name, the end of one that has more letters than that cut off."""
    return name if len(name) <= letters else f"{name[: letters - 1]}\u2026"


def tick_text(value: float) -> str:
    """A round value as an axis says it."""
    return f"{value:.6g}"


def _even(low: float, high: float, most: int) -> list[float]:
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most)
    first = math.ceil(low / step)
    return [round(at * step, 12) for at in range(first, math.floor(high / step) + 1)]
