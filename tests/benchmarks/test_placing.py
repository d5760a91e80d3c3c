"""Numbers beside points that lie close together can all be read, and told whose they are."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from benchmarks.pages.report.placing import DIGIT, HEIGHT, POINT, Place, Scene, led, placed

CORNERS = ((46.0, 14.0), (418.0, 256.0))


def _scene(count: int, spread: float, middle: Place = (120.0, 120.0)) -> Scene:
    chance = random.Random(count)
    points = [tuple(at + chance.uniform(-spread, spread) for at in middle) for _ in range(count)]
    whiskers = [((x, y - 30), (x, y + 30)) for x, y in points]
    return Scene([(x, y) for x, y in points], [str(number) for number in range(1, count + 1)], CORNERS, whiskers)


@pytest.mark.parametrize(
    ("count", "spread", "middle"),
    [(12, 8.0, (120.0, 120.0)), (12, 0.0, (120.0, 120.0)), (20, 25.0, (200.0, 130.0)), (8, 4.0, (50.0, 250.0))],
    ids=["close", "at one place", "twenty", "in a corner"],
)
def test_no_number_covers_another_or_a_point_or_leaves_the_figure(count: int, spread: float, middle: Place) -> None:
    scene = _scene(count, spread, middle)
    found = placed(scene)
    widths = [DIGIT * len(word) for word in scene.words]
    for (one, width), (other, its) in combinations(zip(found, widths, strict=True), 2):
        assert abs(one[0] - other[0]) >= (width + its) / 2 or abs(one[1] - other[1]) >= HEIGHT
    (left, top), (right, bottom) = CORNERS
    for (x, y), width in zip(found, widths, strict=True):
        assert all(abs(x - at) >= width / 2 + POINT or abs(y - its) >= HEIGHT / 2 + POINT for at, its in scene.points)
        assert left <= x - width / 2
        assert x + width / 2 <= right
        assert top <= y
        assert y <= bottom


def test_a_number_stands_at_its_point_unless_others_are_in_the_way() -> None:
    alone = Scene([(100.0, 100.0), (300.0, 200.0)], ["1", "12"], CORNERS, [])
    assert not any(led(*one) for one in zip(alone.points, placed(alone), alone.words, strict=True))
    crowded = _scene(12, 0.0)
    assert any(led(*one) for one in zip(crowded.points, placed(crowded), crowded.words, strict=True))
    assert placed(crowded) == placed(_scene(12, 0.0))
