"""How well a network finds images of the same class by its features, as fractions in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

PAPER_CHUNK = 128
TOP = 100
TENTHS = tuple(range(11))
BATCH_CELLS = 2**23
BLOCK = 2048  # items whose distances to a batch of queries stay in the processor's cache
ROUNDING = 1e-12
LARGEST = torch.finfo(torch.float32).max
BINS = 2**17

Row = np.ndarray[Any, np.dtype[np.float32]]
Counts = np.ndarray[Any, np.dtype[np.intp]]
Distance = Callable[[Tensor, slice], Tensor]


def retrieval_scores(
    queries: Tensor, query_labels: Tensor, database: Tensor, database_labels: Tensor
) -> dict[str, float]:
    """How well the nearest database items share each query's class: the means over the queries of `query_scores`.

    Raises:
        ValueError: See there.
    """
    found = query_scores(queries, query_labels, database, database_labels)
    return {name: float(values.mean()) for name, values in found.items()}


def query_scores(queries: Tensor, query_labels: Tensor, database: Tensor, database_labels: Tensor) -> dict[str, Tensor]:
    """How well the nearest database items share the class of each query: eight times (Q,) float64, in [0, 1].

    The keys are `map` and `precision100`, each with `_e` (Euclidean distance) or `_c` (cosine), each with `_exact` (as
    it is) or `_paper` (as published tables count it): "map_e_exact" to "precision100_c_paper".

    The rank of an item is the number of database items at most as far from the query as it is: among equally far
    items the worst rank counts. P(r) is the part of relevant items (of the query's class) among those of rank up to r,
    that is their number divided by r. Distances are compared in float32, after being computed in float64.
    The cosine of a zero vector with anything is 0.

    - `exact`: `map`, the mean average precision, is the correct 11-point interpolated one: the mean over the recalls 0,
      0.1, ..., 1 of the largest precision at that recall or a higher one; `precision100` is P(100).
    - `paper`: what the published retrieval tables hold. The queries are taken 128 at a time, the last chunk may be
      shorter; with B the size of the query's chunk, P~(r) is the largest of P(r), ..., P(B) for r up to B, and P(r)
      itself beyond. `map` is the mean over the recalls 0, 0.1, ..., 1 of P~(r) at the rank r whose recall is nearest to
      that level, of equally near ones the first; `precision100` is P~(100). So the order of the queries matters a
      little.

    A database of less than 100 items counts as its own top 100.

    Args:
        queries: Features (Q, D) of the test set, Q at least 1.
        query_labels: (Q,) int64.
        database: Features (N, D) of the training set.
        database_labels: (N,) int64.

    Raises:
        ValueError: Shapes do not fit, a feature is not finite, or the database has no item of a query's class.
    """
    _check_features("queries", queries, query_labels)
    _check_features("database", database, database_labels)
    if queries.shape[1] != database.shape[1]:
        raise ValueError(f"retrieval: queries are {queries.shape[1]} wide, the database {database.shape[1]}")
    missing = sorted(set(query_labels.tolist()) - set(database_labels.tolist()))
    if missing:
        raise ValueError(
            f"retrieval: the database has no item of class {', '.join(map(str, missing))}; every query needs one"
        )
    order = database_labels.cpu().argsort(stable=True)
    labels, query_labels = database_labels.cpu()[order], query_labels.cpu()
    queries, database = queries.detach().cpu().double(), database.detach().cpu().double()[order]
    groups = list(_groups(query_labels, labels))
    return {
        **_scores("e", _euclidean(database), queries, len(database), groups=groups),
        **_scores("c", _cosine_distance(_unit(database)), _unit(queries), len(database), groups=groups),
    }


def _check_features(name: str, features: Tensor, labels: Tensor) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"retrieval: {name} {tuple(features.shape)} with labels {tuple(labels.shape)}; expected (N, D) and (N,)"
        )
    if not len(features):
        raise ValueError(f"retrieval: {name} is empty; at least 1 item is needed")
    if not features.isfinite().all():
        raise ValueError(f"retrieval: {name} holds a feature that is NaN or infinite")


def _groups(query_labels: Tensor, sorted_labels: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Positions of queries of one class, few enough for one batch, and where that class lies in the database."""
    batch = max(1, min(PAPER_CHUNK, BATCH_CELLS // len(sorted_labels)))
    for label in sorted(set(query_labels.tolist())):
        start = int(torch.searchsorted(sorted_labels, label))
        stop = int(torch.searchsorted(sorted_labels, label, right=True))
        for positions in (query_labels == label).nonzero().flatten().split(batch):
            yield positions, slice(start, stop)


def _scores(
    key: str, distance: Distance, queries: Tensor, items: int, *, groups: Iterable[tuple[Tensor, slice]]
) -> dict[str, Tensor]:
    full = len(queries) // PAPER_CHUNK * PAPER_CHUNK
    names = (f"map_{key}_exact", f"precision100_{key}_exact", f"map_{key}_paper", f"precision100_{key}_paper")
    found = torch.empty(len(names), len(queries), dtype=torch.float64)
    for positions, relevant in groups:
        near, ranks = _ranked(_far(distance, queries[positions], items), relevant)
        chunk = torch.where(positions < full, PAPER_CHUNK, len(queries) - full)
        precision = torch.arange(1, near.shape[1] + 1) / ranks.double()
        top = min(TOP, items)
        precision_top = (ranks <= top).sum(dim=1).double() / top
        exact = _interpolated(precision), precision_top
        paper = _paper_map(near, ranks, precision, chunk), _paper_top(ranks, precision, chunk, precision_top)
        found[:, positions] = torch.stack([*exact, *paper])
    return dict(zip(names, found, strict=True))


def _far(distance: Distance, queries: Tensor, items: int) -> Tensor:
    """Distances (Q, N) of all items in float32, computed in float64 a block of items at a time."""
    far = torch.empty(len(queries), items)
    for start in range(0, items, BLOCK):
        block = slice(start, min(start + BLOCK, items))
        far[:, block] = distance(queries, block)
    return far


def _ranked(far: Tensor, relevant: slice) -> tuple[Tensor, Tensor]:
    """The distances (Q, R) of the relevant items, ascending, and their ranks: how many items are at most as far.

    Args:
        far: Distances (Q, N) to all items, float32, finite.
        relevant: Columns of the relevant ones, R at least 1.
    """
    rows = [_ranked_row(row, relevant) for row in far.numpy()]
    near, ranks = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    return near, ranks


def _ranked_row(row: Row, relevant: slice) -> tuple[Row, Counts]:
    """`_ranked` of one query, which sorts the relevant items and those that share one of many bins with one of them.

    The other bins are counted: an item's bin never decreases with its distance.
    """
    near, others = np.sort(row[relevant]), np.concatenate([row[: relevant.start], row[relevant.stop :]])
    narrowest = np.finfo(np.float32).tiny * BINS
    scale = np.float32(BINS) / np.maximum(near[-1] - near[0], narrowest)
    bins, own = (_bins(distances, near[0], scale) for distances in (others, near))
    shared = np.zeros(BINS + 2, dtype=np.bool_)
    shared[own] = True
    counts = np.bincount(bins, minlength=BINS + 2)
    counts[own] = 0
    sharing = others[shared[bins]]
    sharing.sort()
    ends = np.append(np.flatnonzero(near[1:] != near[:-1]) + 1, len(near))  # of runs of equally far ones
    ranks = np.repeat(ends, np.diff(ends, prepend=0)) + counts.cumsum()[own]
    return near, ranks + sharing.searchsorted(near, side="right")


def _bins(distances: Row, first: np.float32, scale: np.float32) -> Counts:
    with np.errstate(over="ignore"):
        places = (distances - first) * scale
    return np.clip(places, 0, BINS + 1, out=places).astype(np.intp)


def _interpolated(precision: Tensor) -> Tensor:
    """The mean of the largest precision from the first relevant item that reaches each recall onwards, in integers."""
    items = precision.shape[1]
    columns = [max(-(-tenth * items // 10) - 1, 0) for tenth in TENTHS]
    return torch.stack([precision[:, column:].amax(dim=1) for column in columns]).mean(dim=0)


def _paper_map(near: Tensor, ranks: Tensor, precision: Tensor, chunk: Tensor) -> Tensor:
    found = _nearest_counts(near, ranks)
    column = (found - 1).clamp_min(0)
    rank = ranks.gather(1, column).where(found > 0, 1)
    head = slice(None, PAPER_CHUNK)
    inside = precision[:, head].where(ranks[:, head] <= chunk[:, None], 0.0)
    best = inside.flip(1).cummax(dim=1).values.flip(1).gather(1, column.clamp_max(inside.shape[1] - 1))
    return torch.where(rank <= chunk[:, None], best, found / rank.double()).mean(dim=1)


def _nearest_counts(near: Tensor, ranks: Tensor) -> Tensor:
    """How many relevant items (Q, 11) have been found at the rank whose recall is nearest to 0, 0.1, ..., 1.

    Recalls and levels are compared in float64, which decides between two that are equally near as the published code
    does. Equally far items are found together, and nothing found is a recall only if the nearest item is not relevant.
    """
    items = near.shape[1]
    pivots = near[:, [min(tenth * items // 10, items - 1) for tenth in TENTHS]]
    below, above = torch.searchsorted(near, pivots), torch.searchsorted(near, pivots, right=True)
    levels = torch.tensor([tenth * 0.1 for tenth in TENTHS], dtype=torch.float64)
    lower, upper = ((count.double() / items - levels).abs() for count in (below, above))
    impossible = (below == 0) & (ranks[:, :1] == 1)
    return torch.where(impossible | (upper < lower), above, below)


def _paper_top(ranks: Tensor, precision: Tensor, chunk: Tensor, precision_top: Tensor) -> Tensor:
    beyond = (ranks > TOP) & (ranks <= chunk[:, None])
    return torch.maximum(precision_top, precision.where(beyond, 0.0).amax(dim=1))


def _euclidean(database: Tensor) -> Distance:
    """Squared distances to blocks of items, which order like the distances; what is below rounding is 0."""
    squares = (database * database).sum(dim=1)

    def distance(queries: Tensor, block: slice) -> Tensor:
        own, others = (queries * queries).sum(dim=1, keepdim=True), squares[block]
        distance2 = torch.addmm(others, queries, database[block].T, alpha=-2).add_(own)
        if distance2.amin() <= ROUNDING * (own.amax() + others.amax()):
            distance2.masked_fill_(distance2 <= ROUNDING * (own + others), 0.0)
        return distance2.clamp_max_(LARGEST)

    return distance


def _unit(features: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return torch.where(norm > 0, features / norm, 0.0)


def _cosine_distance(database: Tensor) -> Distance:
    """1 - cosine of unit or zero vectors and blocks of such items; what is below rounding is 0."""

    def distance(queries: Tensor, block: slice) -> Tensor:
        apart = torch.addmm(queries.new_ones(1), queries, database[block].T, alpha=-1)
        return torch.threshold_(apart, ROUNDING, 0.0)

    return distance
