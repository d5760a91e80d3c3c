"""Where the numbers of points stand in a figure: each near its own point, on no other one and on no other number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Place = tuple[float, float]
Line = tuple[Place, Place]

POINT = 6.0  # half of a mark's side
HEIGHT, DIGIT = 12.0, 7.6  # of a number, and of one of its digits in width
RINGS = (13.0, 20.0, 28.0, 37.0, 47.0, 58.0, 72.0, 90.0)
QUARTER = ((1.0, 0.0), (0.92, 0.38), (0.71, 0.71), (0.38, 0.92))
ROUND = tuple((a * x + b * y, a * y - b * x) for a, b in ((1, 0), (0, 1), (-1, 0), (0, -1)) for x, y in QUARTER)
ON_NUMBER, ON_POINT, CROSSED, MISTAKEN, ON_LINE = 400.0, 200.0, 60.0, 12.0, 5.0  # what they cost, beside the distance
SWEEPS = 6


@dataclass(frozen=True)
class Scene:
    """A figure.

    Attributes:
        points: Its marks.
        words: The number of each.
        corners: The upper left and the lower right one of what all numbers have to stay within.
        lines: What is better not written across.
    """

    points: Sequence[Place]
    words: Sequence[str]
    corners: Line
    lines: Sequence[Line]

    def half(self, at: int) -> float:
        """Of the width of a number."""
        return DIGIT * len(self.words[at]) / 2


def placed(scene: Scene) -> list[Place]:
    """The middle of each number; of the same figure always the same, on any machine.

    In turn each takes the place that costs the least beside those of all others, until none moves any more.
    """
    found: dict[int, Place] = {}
    for _ in range(SWEEPS):
        before = dict(found)
        for at in range(len(scene.points)):
            found[at] = _best(scene, at, {other: place for other, place in found.items() if other != at})
        if found == before:
            break
    return [found[at] for at in range(len(scene.points))]


def led(point: Place, number: Place, word: str) -> bool:
    """Whether a number is so far from its point that a line has to lead to it."""
    return max(abs(point[0] - number[0]) - DIGIT * (len(word) - 1) / 2, abs(point[1] - number[1])) > RINGS[0] + 1


def _best(scene: Scene, at: int, others: dict[int, Place]) -> Place:
    least, best = float("inf"), scene.points[at]
    for price, place in _tried(scene, at):
        if price >= least:
            break  # the prices rise
        cost = price + _cost(scene, at, place, others)
        if cost < least:
            least, best = cost, place
    return best


def _tried(scene: Scene, at: int) -> Iterator[tuple[float, Place]]:
    """Places around a point, the nearest first, each with the price of its distance."""
    (left, top), (right, bottom) = scene.corners
    (x, y), half = scene.points[at], scene.half(at)
    for ring in RINGS:
        for turn, (dx, dy) in enumerate(ROUND):
            place = (x + dx * (ring + half - DIGIT / 2), y + dy * ring)
            if left <= place[0] - half and place[0] + half <= right and top <= place[1] - 6 <= bottom - HEIGHT:
                yield ring + turn / len(ROUND), place


def _cost(scene: Scene, at: int, place: Place, others: dict[int, Place]) -> float:
    """Of what a number, and the line that leads to it, would cover."""
    point, size = scene.points[at], (scene.half(at), HEIGHT / 2)
    cost = ON_LINE * sum(_through(line, place, size) for line in scene.lines)
    cost += ON_POINT * sum(_near(place, other, size, (POINT, POINT)) for other in scene.points)
    for other, its in others.items():
        room = (scene.half(other) + 3, HEIGHT / 2)
        cost += ON_NUMBER * _near(place, its, size, room)
        cost += CROSSED * (_through((point, place), its, room) + _through((scene.points[other], its), place, size))
        cost += CROSSED * _cross((point, place), (scene.points[other], its))
    for mark in scene.points:
        if not _near(point, mark, (2, 2)):
            cost += CROSSED * _through((point, place), mark, (POINT, POINT))
            cost += MISTAKEN * (_far(place, mark) < _far(place, point))
    return cost


def _near(one: Place, other: Place, size: Place, room: Place = (0.0, 0.0)) -> bool:
    return abs(one[0] - other[0]) < size[0] + room[0] and abs(one[1] - other[1]) < size[1] + room[1]


def _far(one: Place, other: Place) -> float:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2


def _through(line: Line, middle: Place, half: Place) -> bool:
    """Whether a line comes into a box."""
    (x, y), (to_x, to_y) = line
    first, last = 0.0, 1.0
    for start, way, centre, reach in ((x, to_x - x, middle[0], half[0]), (y, to_y - y, middle[1], half[1])):
        if not way:
            if abs(start - centre) >= reach:
                return False
            continue
        ends = sorted(((centre - reach - start) / way, (centre + reach - start) / way))
        first, last = max(first, ends[0]), min(last, ends[1])
    return first < last


def _cross(one: Line, other: Line) -> bool:
    """Whether two lines cross, but where they only begin at one point."""
    return _side(one, other[0]) * _side(one, other[1]) < 0 and _side(other, one[0]) * _side(other, one[1]) < 0


def _side(line: Line, point: Place) -> float:
    (x, y), (to_x, to_y) = line
    return (to_x - x) * (point[1] - y) - (to_y - y) * (point[0] - x)
