"""Accuracy, its interval, and retrieval against rankings worked by hand and a naive loop on the digits."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import compress.metrics
from compress.intervals import wilson_interval
from compress.metrics import retrieval_scores

Measure = Callable[[Sequence[float], Sequence[float]], float]

DIGITS = Path(compress.metrics.__file__).parent / "data" / "digits.npz"

# the interval of a fraction


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (0, 10, 0.0, 3.8414588 / 13.8414588),
        (10, 10, 10 / 13.8414588, 1.0),
        (5, 10, 0.2365931, 0.7634069),
        (8, 10, 0.4901625, 0.9433178),
        (9057, 10000, 0.8998153, 0.9112732),
    ],
)
def test_wilson_by_hand(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-6)


def test_wilson_ends_solve_the_score_equation() -> None:
    correct, total = 37, 120
    for end in wilson_interval(correct, total, confidence=0.9):
        assert abs(correct / total - end) == pytest.approx(1.6448536 * math.sqrt(end * (1 - end) / total), rel=1e-6)


@pytest.mark.parametrize(
    ("correct", "total", "confidence"), [(1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0)]
)
def test_wilson_wrong_arguments(correct: int, total: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="wilson_interval"):
        wilson_interval(correct, total, confidence)


# retrieval by hand


def _line(*positions: float) -> Tensor:
    """Points on a line beside the origin, so that the angle grows with the position as the distance does."""
    return torch.tensor([[1.0, position] for position in positions])


def test_retrieval_by_hand() -> None:
    scores = retrieval_scores(_line(0), torch.tensor([7]), _line(1, 2, 3, 4, 5), torch.tensor([7, 0, 7, 7, 0]))
    exact = (1 + 3 * 1 + 3 * 3 / 4 + 4 * 3 / 4) / 11
    paper = (5 * 1 + 4 * 2 / 3 + 2 * 3 / 4) / 11
    maps = {"map_e_exact": exact, "map_c_exact": exact, "map_e_paper": paper, "map_c_paper": paper}
    precisions = {name.replace("map", "precision100"): 3 / 5 for name in maps}
    assert scores == pytest.approx({**maps, **precisions})


def test_paper_variant_interpolates_no_further_than_its_chunk() -> None:
    database, labels = _line(1, 2, 3, 4), torch.tensor([0, 7, 7, 7])
    alone = retrieval_scores(_line(0), torch.tensor([7]), database, labels)["map_e_paper"]
    assert alone == pytest.approx((2 * 0 + 3 * 1 / 2 + 4 * 2 / 3 + 2 * 3 / 4) / 11)
    pair = retrieval_scores(_line(0, 0), torch.tensor([7, 7]), database, labels)["map_e_paper"]
    assert pair == pytest.approx((5 * 1 / 2 + 4 * 2 / 3 + 2 * 3 / 4) / 11)
    three = retrieval_scores(_line(0, 0, 0), torch.tensor([7] * 3), database, labels)["map_e_paper"]
    assert three == pytest.approx((9 * 2 / 3 + 2 * 3 / 4) / 11)
    four = retrieval_scores(_line(0, 0, 0, 0), torch.tensor([7] * 4), database, labels)["map_e_paper"]
    assert four == pytest.approx(3 / 4)


def test_paper_variant_takes_the_rank_of_the_nearest_recall() -> None:
    database, labels = _line(*range(1, 9)), torch.tensor([0, 7, 0, 0, 7, 0, 0, 0])
    scores = retrieval_scores(_line(0), torch.tensor([7]), database, labels)
    assert scores["map_e_exact"] == pytest.approx((6 * 1 / 2 + 5 * 2 / 5) / 11)
    assert scores["map_e_paper"] == pytest.approx((3 * 0 + 5 * 1 / 2 + 3 * 2 / 5) / 11)


def test_paper_precision_takes_the_best_rank_past_the_hundredth() -> None:
    labels = torch.tensor([0] * 100 + [7] * 100)
    queries = _line(*[0.0] * 130)
    scores = retrieval_scores(queries, torch.full((130,), 7), _line(*range(1, 201)), labels)
    assert scores["precision100_e_exact"] == 0.0
    assert scores["precision100_e_paper"] == pytest.approx(128 / 130 * 28 / 128)


def test_equally_far_items_take_the_worst_rank() -> None:
    database, labels = _line(1, 1, 1, 2), torch.tensor([7, 7, 0, 7])
    scores = retrieval_scores(_line(0), torch.tensor([7]), database, labels)
    assert scores["map_e_exact"] == pytest.approx(3 / 4)
    assert scores["map_e_paper"] == pytest.approx((4 * 0 + 5 * 2 / 3 + 2 * 3 / 4) / 11)


@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1e3 / 7])
def test_copies_of_a_query_are_equally_far(scale: float) -> None:
    point = scale * torch.randn(64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1] * 100)
    scores = retrieval_scores(point[None], torch.tensor([1]), point.repeat(200, 1), labels)
    assert scores["map_e_exact"] == scores["map_c_exact"] == 0.5
    assert scores["precision100_e_exact"] == scores["precision100_c_exact"] == 0.0


def test_a_zero_vector_is_similar_to_nothing() -> None:
    database, labels = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1, 1])
    of_zero = retrieval_scores(torch.zeros(1, 2), torch.tensor([0]), database, labels)
    assert of_zero["map_c_exact"] == pytest.approx(1 / 3)
    to_zero = retrieval_scores(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), database, labels)
    assert to_zero["map_c_exact"] == pytest.approx(2 / 3)


# retrieval against a naive twin


def _precisions(distances: list[float], relevant: list[bool]) -> tuple[list[float], list[int]]:
    """P(r) and the number of relevant items found, for r = 1, 2, ..."""
    ordered = sorted(distances)
    ranks = [bisect_right(ordered, own) for own in distances]
    hits = Counter(rank for hit, rank in zip(relevant, ranks, strict=True) if hit)
    found = list(accumulate(hits[r] for r in range(1, len(ranks) + 1)))
    return [count / r for r, count in enumerate(found, start=1)], found


def _naive_query(distances: list[float], relevant: list[bool], chunk: int) -> list[float]:
    precision, found = _precisions(distances, relevant)
    reached = [[10 * count >= tenth * found[-1] for count in found] for tenth in range(11)]
    exact = [max(p for p, there in zip(precision, level, strict=True) if there) for level in reached]
    partly = [max(precision[r:chunk], default=p) for r, p in enumerate(precision)]
    recall = [count / found[-1] for count in found]
    paper = []
    for level in np.arange(0, 1.01, 0.1).tolist():
        away = [abs(value - level) for value in recall]
        paper.append(partly[away.index(min(away))])
    return [sum(exact) / 11, precision[99], sum(paper) / 11, partly[99]]


def _naive(queries: Tensor, query_labels: Tensor, database: Tensor, labels: Tensor) -> dict[str, float]:
    def cosine(a: Sequence[float], b: Sequence[float]) -> float:
        return -sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    full = len(queries) // 128 * 128
    items, means = database.tolist(), {}
    for key, measure in (("e", math.dist), ("c", cosine)):

        @cache
        def scores(query: tuple[float, ...], label: int, chunk: int, measure: Measure = measure) -> list[float]:
            return _naive_query([measure(query, item) for item in items], (labels == label).tolist(), chunk)

        rows = []
        for position, (query, label) in enumerate(zip(queries.tolist(), query_labels.tolist(), strict=True)):
            rows.append(scores(tuple(query), label, 128 if position < full else len(queries) - full))
        names = (f"map_{key}_exact", f"precision100_{key}_exact", f"map_{key}_paper", f"precision100_{key}_paper")
        means |= {name: sum(column) / len(rows) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return means


def _digits(count: int, start: int = 0) -> tuple[Tensor, Tensor]:
    with np.load(DIGITS) as stored:
        images, labels = stored["images"][start : start + count], stored["labels"][start : start + count]
    return torch.from_numpy(images).flatten(1).float(), torch.from_numpy(labels).long()


@pytest.mark.parametrize("count", [30, 128, 131])
def test_retrieval_naive_twin(count: int) -> None:
    queries, query_labels = _digits(count, start=300)
    database, labels = _digits(150)
    query_labels[count - 5 :] = query_labels[0]
    found, expected = (way(queries, query_labels, database, labels) for way in (retrieval_scores, _naive))
    assert found == pytest.approx(expected, abs=1e-9)


def _clouds(count: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Overlapping classes of equal size, in turn."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    return labels[:, None] + 2 * torch.randn(count, 4, generator=random), labels


@pytest.mark.parametrize("relevant", [10, 15, 30, 200, 1_500])
@pytest.mark.parametrize("queries", [20, 128, 129])
def test_retrieval_naive_twin_of_small_and_large_classes(relevant: int, queries: int) -> None:
    classes = max(2, 120 // relevant)
    database, labels = _clouds(classes * relevant, classes, seed=0)
    query, query_labels = (kind.repeat(queries, *(1,) * (kind.ndim - 1))[:queries] for kind in _clouds(7, classes, 1))
    found, expected = (way(query, query_labels, database, labels) for way in (retrieval_scores, _naive))
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("far", [1.0, 1e6, 1e18, 1e30])
def test_retrieval_naive_twin_where_one_item_is_far_from_all_others(far: float) -> None:
    database, labels = _clouds(120, 3, seed=0)
    database, labels = torch.cat([database, far * torch.eye(4)[:3]]), torch.cat([labels, torch.arange(3)])
    queries, query_labels = _clouds(9, 3, seed=1)
    found, expected = (way(queries, query_labels, database, labels) for way in (retrieval_scores, _naive))
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-18, 1e-3, 1e3, 1e18])
def test_retrieval_does_not_depend_on_the_scale(scale: float) -> None:
    (queries, query_labels), (database, labels) = _clouds(9, 3, seed=1), _clouds(120, 3, seed=0)
    scaled = retrieval_scores(scale * queries, query_labels, scale * database, labels)
    assert scaled == pytest.approx(retrieval_scores(queries, query_labels, database, labels), abs=1e-9)


def test_retrieval_does_not_depend_on_the_order_of_the_database() -> None:
    queries, query_labels = _digits(140, start=1000)
    database, labels = _digits(900)
    shuffled = torch.randperm(900, generator=torch.Generator().manual_seed(0))
    straight = retrieval_scores(queries, query_labels, database, labels)
    assert retrieval_scores(queries, query_labels, database[shuffled], labels[shuffled]) == straight
    assert 0.5 < straight["map_e_exact"] < 1
    assert straight["precision100_e_exact"] <= straight["precision100_e_paper"]


# retrieval, wrong arguments


def test_retrieval_names_the_classes_that_are_missing() -> None:
    with pytest.raises(ValueError, match="no item of class 3, 5"):
        retrieval_scores(_line(0, 1, 2), torch.tensor([5, 0, 3]), _line(0, 1), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("queries", "labels", "database", "message"),
    [
        ((2, 3), 2, (4, 5), "3 wide, the database 5"),
        ((2, 3), 3, (4, 3), "expected"),
        ((2, 3, 1), 2, (4, 3), "expected"),
        ((2, 3), 2, (4,), "expected"),
        ((0, 3), 0, (4, 3), "queries is empty"),
    ],
)
def test_retrieval_wrong_shapes(queries: tuple[int, ...], labels: int, database: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_scores(
            torch.zeros(queries),
            torch.zeros(labels, dtype=torch.int64),
            torch.zeros(database),
            torch.zeros(database[0], dtype=torch.int64),
        )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_retrieval_refuses_features_that_are_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="queries holds a feature that is NaN or infinite"):
        retrieval_scores(_line(0, value), torch.tensor([0, 0]), _line(0), torch.tensor([0]))
