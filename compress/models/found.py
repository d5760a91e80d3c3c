"""Stages found by following one image: the last map at each resolution, the embedding, the logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor, nn

from compress.errors import PlanError
from compress.models.passed import Call, Pass, Value, follow
from compress.preprocessing import Size
from compress.stages import Stage, Staged
from compress.text import with_article

LAYERS = ("convolution", "addmm", "mm", "bmm", "baddbmm", "matmul", "linear", "_unsafe_mm")  # a head is one of these
GLOBAL = ("mean", "adaptive")  # what ends the maps of a network that gives one answer an image
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
EMBEDDING, LOGITS = "embedding", "logits"
OVERRULE = "name the module behind which the embedding shows: --stage embedding=MODULE"


@dataclass(frozen=True)
class _Place:
    """Where a stage is read, and the value that is read there."""

    tap: str
    before: bool
    value: Value


def find_stages(
    model: nn.Module, image: Tensor, given: Mapping[str, str] | None = None
) -> tuple[Staged, tuple[int, ...]]:
    """The network with its stages, in the order in which they fire, and the shape of its answer.

    A body stage "map1", "map2", ... is the last map at one resolution that every way through the network goes through,
    and not one within the block that leads to the next resolution. The embedding is what goes into the head: the layer
    whose output, after operators without weights, is the answer. A network that answers with maps has no embedding.

    Args:
        model: (B, C, H, W) scaled images to (B, classes) logits, or (B, classes, H, W); left as it is.
        image: (2, C, H, W) scaled images on its device.
        given: Stage to the module whose output is its feature, in place of what would be found; where one of them is a
            stage of the body, they are the whole body.

    Raises:
        PlanError: The network has no such module, or its head cannot be told; says which modules and what to do.
    """
    given = given or {}
    passed = follow(model, image)
    answer = answer_of(passed)
    if len(answer.shape) not in (2, 4) or answer.shape[0] != len(image):
        raise PlanError(
            f"it answers {len(image)} images with a tensor of shape {answer.shape}; it has to be ({len(image)}, "
            f"classes), or ({len(image)}, classes, height, width) for masks"
        )
    head = _head(passed, answer, needed=EMBEDDING not in given)
    places = {name: _named_place(passed, name, path) for name, path in given.items()}
    if EMBEDDING not in places and head is not None and len(answer.shape) == 2:
        places[EMBEDDING] = _embedding(passed, head)
    if not _names_body(given):
        end = places[EMBEDDING].value if EMBEDDING in places else head.sources[0] if head else answer
        places |= _body(passed, answer, end)
    places.setdefault(LOGITS, _Place("", False, answer))
    layer = "" if head is None else _layer(passed, head).path
    return Staged(model, _stages(passed, places, layer)), answer.shape


def _names_body(given: Mapping[str, str]) -> bool:
    """Whether a stage of the body is among them."""
    return any(name not in (EMBEDDING, LOGITS) for name in given)


def overruled(network: Staged, image: Tensor, given: Mapping[str, str]) -> Staged:
    """The network with the stages of these names where it was told; those of the body are then the whole body.

    Args:
        network: With the stages that it was built or loaded with; left as it is.
        image: (B, C, H, W) scaled images.
        given: Stage to the dotted name of the module whose output is its feature.

    Raises:
        PlanError: There is no such module, or it cannot be read.
    """
    passed = follow(network.model, image)
    told = {name: _named_place(passed, name, path) for name, path in given.items()}
    kept = (EMBEDDING, LOGITS) if _names_body(given) else tuple(stage.name for stage in network.stages)
    built = {stage.name: _built_place(passed, stage) for stage in network.stages if stage.name in kept}
    logits = network.stage(LOGITS)
    return replace(network, stages=_stages(passed, built | told, logits.owns[0] if logits.owns else ""))


def check_answer(shape: tuple[int, ...], classes: int, size: Size) -> None:
    """Nothing, once an answer is one of a network that tells so many classes apart.

    Args:
        shape: Of the answer, one or a map for each image.
        classes: How many outputs there have to be.
        size: Height and width of the images, which an answer for each pixel has too.

    Raises:
        PlanError: It is of another shape; says what to do.
    """
    if shape[1] != classes:
        raise PlanError(
            f"it has {shape[1]} outputs, where there are {classes} classes; let its function take the argument classes "
            "and make as many outputs, or set its own argument for them with --arg NAME=VALUE"
        )
    if shape[2:] not in ((), size):
        raise PlanError(
            f"it gives masks of {shape[2]}x{shape[3]} for images of {size[0]}x{size[1]}; let it resize them to the "
            "images"
        )


def answer_of(passed: Pass) -> Value:
    """What the network gave.

    Raises:
        PlanError: It is no tensor, or was not made of the image.
    """
    kind = type(passed.model).__name__
    if isinstance(passed.answer, Mapping):
        keys = ", ".join(repr(key) for key in passed.answer)
        raise PlanError(f"{kind} gives a mapping with the keys {keys}; give back its logits alone, such as answer[KEY]")
    if isinstance(passed.answer, list | tuple):
        raise PlanError(
            f"{kind} gives {len(passed.answer)} outputs; give back its logits alone: wrap it in a module that does"
        )
    if not isinstance(passed.answer, Tensor):
        raise PlanError(f"{kind} gives {with_article(type(passed.answer).__name__)}; it has to give a tensor of logits")
    left = passed.calls[-1].left
    if left is None:
        raise PlanError(f"what {kind} gives does not depend on the image")
    return left


def _head(passed: Pass, answer: Value, *, needed: bool) -> Value | None:
    """The value that the head makes, its weights beside what goes in; None where there is no one head, nor needed."""
    found, open_, seen = [], [answer], set[Value]()
    while open_:
        value = open_.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.weights and value.operator in LAYERS:
            found.append(value)
        else:
            open_ += value.sources
    layers = sorted({_layer(passed, value).path or "the network itself" for value in found})
    if len(layers) != 1 and not needed:
        return None
    if not found:
        raise PlanError(f"no layer with weights makes the answer of {type(passed.model).__name__}; {OVERRULE}")
    if len(layers) > 1:
        shown = f"{', '.join(layers[:3])}{', ...' if len(layers) > 3 else ''}"
        raise PlanError(
            f"the answer of {type(passed.model).__name__} comes out of {len(layers)} layers at once ({shown}), so that "
            f"no one of them is its head; {OVERRULE}"
        )
    return max(found, key=lambda value: value.number)


def _layer(passed: Pass, value: Value) -> Call:
    """The innermost call of a module inside which a value was made."""
    inside = [call for call in passed.calls if call.begun <= value.number < call.ended]
    return min(inside, key=lambda call: (call.ended - call.begun, -call.path.count("."), -len(call.path)))


def _embedding(passed: Pass, head: Value) -> _Place:
    """What goes into the head."""
    call = _layer(passed, head)
    own = call.path and all(name.startswith(f"{call.path}.") for name in head.weights)
    value = call.entered if own and call.entered else head.sources[0]
    if own and call.entered and len(passed.calls_of(call.path)) > 1:
        raise PlanError(f"its head {call.path!r} is called twice in one forward pass; {OVERRULE}")
    if own and call.entered:
        return _Place(call.path, True, value)
    place = _place(passed, value)
    if place is None:
        raise PlanError(
            f"what goes into the head of {type(passed.model).__name__} ({', '.join(sorted(head.weights))}) comes out "
            f"of no module, nor goes into one, that is called once; {OVERRULE}"
        )
    return place


def _named_place(passed: Pass, name: str, path: str) -> _Place:
    """Where a stage is that was named with its module."""
    if path not in {known for known, _ in passed.model.named_modules()} or not path:
        close = [known for known, _ in passed.model.named_modules() if known.endswith(path.rpartition(".")[2])][:3]
        hint = f"; there are {', '.join(close)}" if close and path else ""
        raise PlanError(f"--stage {name}={path}: {type(passed.model).__name__} has no module {path!r}{hint}")
    calls = passed.calls_of(path)
    if len(calls) != 1:
        times = f"called {len(calls)} times in one forward pass" if calls else "never called"
        raise PlanError(f"--stage {name}={path}: that module is {times}; name one that is called once")
    if calls[0].left is None:
        raise PlanError(f"--stage {name}={path}: that module gives no single tensor; name one that does")
    return _Place(path, False, calls[0].left)


def _body(passed: Pass, answer: Value, end: Value) -> dict[str, _Place]:
    """The places of the maps, up to a value."""
    trunk = [value for value in passed.trunk(answer) if value.number <= end.number or value is answer]
    runs = _runs(trunk, end, ends_in_one=len(answer.shape) == 2)
    found: list[_Place] = []
    for number, run in enumerate(runs):
        following = runs[number + 1][0] if number + 1 < len(runs) else _behind(trunk, run[-1])
        last = _entry(passed, run, following, [other for other in runs if other is not run])
        usable = [value for value in run if value.number <= last.number]
        place = next((one for value in reversed(usable) if (one := _place(passed, value))), None)
        since = found[-1].value.number if found else 0
        if place is not None and any(value.weights for value in passed.values[since + 1 : place.value.number + 1]):
            found.append(place)
    return {f"map{number}": place for number, place in enumerate(found, 1)}


def _runs(trunk: Sequence[Value], end: Value, *, ends_in_one: bool) -> list[list[Value]]:
    """The maps of the trunk that weights went into, those of one resolution behind each other together."""
    runs: list[list[Value]] = []
    size: Size | None = None
    for value in trunk:
        if ends_in_one and value.map and any(kind in value.operator for kind in GLOBAL) and value.learned:
            break
        if value.number > end.number:
            break
        if value.map and value.learned:
            if size is None or _differ(value.map, size):
                runs.append([])
            runs[-1].append(value)
            size = value.map
    return runs


def _differ(size: Size, other: Size) -> bool:
    """Whether two maps are of two resolutions; a border that a convolution takes away makes none."""
    return any(4 * min(sides) < 3 * max(sides) for sides in zip(size, other, strict=True))


def _behind(trunk: Sequence[Value], value: Value) -> Value:
    return next((one for one in trunk if one.number > value.number), value)


def _entry(passed: Pass, run: Sequence[Value], following: Value, others: Sequence[Sequence[Value]]) -> Value:
    """The last map of a run that is not inside the module which leads away from its resolution.

    That module is the largest that takes a map of the run and gives what lies behind it, of one other resolution.
    """
    last = run[-1]
    for call in passed.calls:
        entered = call.entered
        if entered is None or entered not in run or entered.number >= last.number:
            continue
        crossed = [other for other in others if any(call.begun <= one.number < call.ended for one in other)]
        leads_away = call.begun <= following.number < call.ended and call.left is not None and call.left not in run
        if leads_away and len(crossed) <= 1:
            last = entered
    return last


def _place(passed: Pass, value: Value) -> _Place | None:
    """Where a value can be read: behind the module that makes it, or else before one that takes it."""
    for before in (False, True):
        calls = [call for call in passed.calls if (call.entered if before else call.left) is value and call.path]
        once = [call.path for call in calls if len(passed.calls_of(call.path)) == 1]
        if once:
            return _Place(min(once, key=lambda path: path.count(".")), before, value)
    return None


def _built_place(passed: Pass, stage: Stage) -> _Place:
    """Where a stage is that the network has already."""
    call = passed.calls_of(stage.tap)[0]
    value = call.entered if stage.before else call.left
    assert value is not None  # it was read when the network was opened
    return _Place(stage.tap, stage.before, value)


def _stages(passed: Pass, places: Mapping[str, _Place], layer: str) -> tuple[Stage, ...]:
    """The stages at these places, each with what is used between the one before and itself; the logits are last.

    Args:
        passed: The pass in which they were found.
        places: By name, in any order.
        layer: The head, which stays a name of its own in what the logits own.
    """
    order = {EMBEDDING: 1, LOGITS: 2}
    ranked = sorted(places.items(), key=lambda one: (order.get(one[0], 0), one[1].value.number))
    places = dict(ranked)
    for (name, place), (after, following) in pairwise(ranked):
        if place.value.number > following.value.number:
            raise PlanError(f"--stage: {name!r} ({place.tap}) fires behind {after!r} ({following.tap or 'the answer'})")
    ends = [place.value.number for place in places.values()][:-1]
    owned = _owned(passed, ends, layer)
    stages = []
    for number, (name, place) in enumerate(places.items()):
        shape, last = place.value.shape, place.value.channels_last and place.value.map is not None
        width = shape[-1] if last else shape[1]
        own = sorted(owned[number], key=lambda path: path != layer)
        stages.append(Stage(name, place.tap, tuple(own), width, place.before, last))
    return tuple(stages)


def _owned(passed: Pass, ends: Sequence[int], head: str) -> list[list[str]]:
    """The fewest names of modules and lone parameters for each stretch of the pass; the head stays a name of its own.

    What is used in several stretches belongs to the first; what is used in none, to that of the weights before it.
    """
    model = passed.model
    stretch: dict[str, int] = {}
    for value in passed.values:
        number = sum(value.number > end for end in ends)
        for name in value.weights:
            stretch.setdefault(name, number)
    owner: dict[str, int] = {}
    latest = 0
    for path, module in model.named_modules():
        start = f"{path}." if path else ""
        own = [start + name for name, _ in module.named_parameters(recurse=False)]
        buffers = [start + name for name, _ in module.named_buffers(recurse=False)]
        used = [stretch[name] for name in (*own, *buffers) if name in stretch]
        for name in own:
            latest = owner[name] = stretch.get(name, min(used, default=latest))
        if not own and any(name.rpartition(".")[2] in STATISTICS for name in buffers):
            owner[path] = min(used, default=latest)
    names = list(_gathered(model, owner, head))
    return [[name for name, number in names if number == each] for each in range(len(ends) + 1)]


def _gathered(model: nn.Module, owner: Mapping[str, int], head: str) -> Iterator[tuple[str, int]]:
    """Name and stretch of the largest modules all of whose parts have one stretch, and of the parameters beside."""

    def walk(path: str, module: nn.Module) -> Iterator[tuple[str, int]]:
        start = f"{path}." if path else ""
        inside = {name: number for name, number in owner.items() if name == path or name.startswith(start)}
        apart = not path or (head.startswith(start) and head != path)
        if inside and len(set(inside.values())) == 1 and not apart:
            yield path, next(iter(inside.values()))
            return
        yield from (
            (start + name, owner[start + name])
            for name, _ in module.named_parameters(recurse=False)
            if start + name in owner
        )
        for name, child in module.named_children():
            yield from walk(start + name, child)

    return walk("", model)
