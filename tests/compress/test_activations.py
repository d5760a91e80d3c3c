"""Activations on grids: which values, in what range, rounded and trained through, and what of it a file keeps."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.card import SEAL, Card, seal
from compress.checkpoint import Checkpoint, load, save
from compress.data import Dataset
from compress.errors import CheckpointError, CompressError, GateError, PlanError
from compress.graph import Uncuttable, trace
from compress.jobs import Job, Recovery, retrained
from compress.models import Architecture, build
from compress.phase import OPTIMIZERS, Fit
from compress.quantization import (
    SCHEMES,
    ActivationGrid,
    Place,
    Spot,
    Static,
    parameters_of,
    plan,
    plan_activations,
    plan_values,
    quantize,
    round_with,
    sensitivities,
)
from compress.quantization.activations import apply_activations, rounded, set_scales, step_of
from compress.quantization.biases import round_biases
from compress.quantization.calibration import calibrated
from compress.quantization.equalization import equalized
from compress.quantization.grids import whole_steps
from compress.recipes import read_method
from compress.schedule import Schedule
from compress.smaller import quantized_by
from compress.stages import Stage, Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run
from compress.training.journal import Journal

STATIC = SCHEMES["static"]


def _images(checkpoint: Checkpoint, data: Dataset, count: int = 64) -> Tensor:
    return checkpoint.card.scale(next(data.train.batches(count)).image)


def _values(network: Staged, image: Tensor, bits: int = STATIC.bits) -> tuple[ActivationGrid, ...]:
    return plan_values(network, STATIC, plan(network, bits), image)


def _static(checkpoint: Checkpoint, images: Tensor) -> Checkpoint:
    return quantized_by(checkpoint, STATIC, "edgepress quantize", rounding="nearest", images=[images])


def _seen(network: Staged, images: Tensor) -> dict[str, Tensor]:
    """Every value that is put on a grid, by its first place, as it is before."""
    watched, found = apply_activations(network, grids := _values(network, images[:1])), {}

    def note(value: Tensor, spot: Spot) -> Tensor:
        if spot.first:
            found[str(grids[spot.grid].places[0])] = value
        return value

    round_with(watched.model, note)
    with torch.no_grad():
        watched.model(images)
    return found


# which values


def test_the_values_between_fused_operators_are_on_grids_and_those_moved_share_them(teacher: Checkpoint) -> None:
    image = torch.zeros(1, *teacher.card.preprocessing.shape)
    assert [[str(place) for place in grid.places] for grid in _values(teacher.network, image)] == [
        ["into blocks.0.conv"],
        ["out of blocks.0.relu", "out of blocks.0.pool"],
        ["out of blocks.1.relu", "out of blocks.1.pool"],
        ["out of blocks.2.relu", "out of blocks.2.pool", "out of embedding.0"],
        ["out of embedding.2"],
    ]


def test_a_module_that_runs_twice_has_a_grid_for_each_call() -> None:
    network = build(Architecture("torchvision:resnet18", 4, 3, (32, 32)), seed=0)
    places = [grid.places[0] for grid in _values(network, torch.zeros(1, 3, 32, 32))]
    assert Place("layer1.0.relu", 0) in places
    assert Place("layer1.0.relu", 1) in places
    assert Place("layer1.0.bn2") in places  # what is added to the shortcut
    assert Place("layer1.0.bn1") not in places  # is part of the ReLU behind it
    assert not any(place.module.startswith("fc") and not place.before for place in places)


@pytest.mark.parametrize(
    "name",
    ["torchvision:mobilenet_v3_small", pytest.param("torchvision:densenet121", marks=pytest.mark.slow), "resnet10"],
)
def test_convolutions_take_and_give_values_on_grids(name: str) -> None:
    network = build(Architecture(name, 4, 3, (32, 32)), seed=0)
    image = torch.rand(2, 3, 32, 32)
    layers = {grid.module for grid in plan(network, 7)}
    values = plan_activations(network, layers, image)
    small = quantize(network, plan(network, 7), activations=values, images=[image])
    taken: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _m, args, name=name: taken.update({name: args[0]}))
        for name, module in small.model.named_modules()
        if name in layers
    ]
    with torch.no_grad():
        small.model(image)
    for hook in hooks:
        hook.remove()
    few = [name for name, value in taken.items() if len(value.unique()) <= 256]
    assert len(few) == len(layers)


def test_what_the_network_answers_with_stays_float(teacher: Checkpoint) -> None:
    image = torch.zeros(1, *teacher.card.preprocessing.shape)
    layers = {grid.module for grid in plan(teacher.network, 7)}
    for answer, missing in (("logits", "classifier"), ("embedding", "embedding.2")):
        places = [
            place.module for g in plan_activations(teacher.network, layers, image, answer=answer) for place in g.places
        ]
        assert places
        assert missing not in places


def test_a_layer_that_stays_float_neither_takes_nor_gives_whole_numbers_of_its_own(teacher: Checkpoint) -> None:
    image = torch.zeros(1, *teacher.card.preprocessing.shape)
    values = plan_activations(teacher.network, {"classifier"}, image)
    assert [grid.places for grid in values] == [(Place("embedding.2"),)]


class Branching(nn.Module):
    """Goes by what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.layer(image if image.sum() > 0 else -image)
        return output


def test_a_network_that_cannot_be_followed_is_refused_with_a_way_out() -> None:
    network = Staged(Branching(), (Stage("logits", "layer", ("layer",), 2),))
    with pytest.raises(PlanError, match=r"has to follow the values.*take weights only, w8"):
        plan_activations(network, {"layer"}, torch.zeros(1, 4))


# ranges


def test_ranges_hold_what_they_say(teacher: Checkpoint, digits: Dataset) -> None:
    images = _images(teacher, digits)
    grids, seen = _values(teacher.network, images[:1]), _seen(teacher.network, images)
    whole = calibrated(teacher.network, grids, [images[:40], images[40:]], "min-max")
    for (step, zero), value in zip(whole, seen.values(), strict=True):
        low, high = min(float(value.min()), 0.0), float(value.max())
        assert step == pytest.approx((high - low) / 255)
        assert zero == round(-low / step)
    for by in ("mse", "percentile"):
        for (step, _), (widest, _) in zip(calibrated(teacher.network, grids, [images], by), whole, strict=True):
            assert 0 < step <= widest * (1 + 1e-6)


def test_the_range_of_least_error_has_less_of_it_than_the_whole_one(teacher: Checkpoint, digits: Dataset) -> None:
    images = _images(teacher, digits)
    grids, seen = _values(teacher.network, images[:1]), _seen(teacher.network, images)
    errors = {}
    for by in ("mse", "min-max"):
        errors[by] = [
            float(((((value / step).round() + zero).clamp(0, 255) - zero) * step - value).square().mean())
            for (step, zero), value in zip(calibrated(teacher.network, grids, [images], by), seen.values(), strict=True)
        ]
    assert all(found <= whole * (1 + 1e-3) for found, whole in zip(errors["mse"], errors["min-max"], strict=True))
    assert sum(errors["mse"]) < sum(errors["min-max"])


def test_a_range_by_percentile_leaves_an_outlier_out() -> None:
    layer = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        layer[0].weight.fill_(1)
        layer[0].bias.zero_()
    network = Staged(layer, (Stage("logits", "2", ("2",), 1),))
    image = torch.rand(100_000, 1, generator=torch.Generator().manual_seed(0))
    image[0] = 1000.0
    grids = plan_activations(network, {"0", "2"}, image[:1])
    tops = {by: calibrated(network, grids, [image], by)[-1][0] * 255 for by in ("min-max", "percentile", "mse")}
    assert tops["min-max"] == pytest.approx(1000)
    assert tops["percentile"] < 2
    assert tops["mse"] == pytest.approx(1000)  # squared, what it would lose outweighs all the others


def test_an_unknown_range_and_values_that_are_no_numbers_are_refused(teacher: Checkpoint, digits: Dataset) -> None:
    images = _images(teacher, digits, 4)
    grids = _values(teacher.network, images[:1])
    with pytest.raises(PlanError, match=r"unknown calibration 'max'.*min-max"):
        calibrated(teacher.network, grids, [images], "max")
    with pytest.raises(GateError, match=r"into blocks\.0\.conv are NaN"):
        calibrated(teacher.network, grids, [images * torch.nan], "mse")
    with pytest.raises(PlanError, match="look at images"):
        quantize(teacher.network, plan(teacher.network, 7), activations=grids)


# rounding


def test_values_are_whole_multiples_and_nothing_else_changes(teacher: Checkpoint, digits: Dataset) -> None:
    images = _images(teacher, digits)
    small = _static(teacher, images)
    seen: list[tuple[Tensor, Spot]] = []

    def note(value: Tensor, spot: Spot) -> Tensor:
        seen.append((rounded(value, spot), spot))
        return seen[-1][0]

    plain = copy.deepcopy(small.network.model)
    round_with(plain, note)
    with torch.no_grad():
        assert torch.equal(plain(images), small.network.model(images))
    assert len(seen) == sum(len(grid.places) for grid in small.card.activations)
    for value, spot in seen:
        codes = value / spot.step + spot.zero
        assert torch.allclose(codes, codes.round(), atol=1e-3)
        assert codes.min() >= 0
        assert codes.max() <= 255.001


def test_the_gradients_are_those_of_learned_steps() -> None:
    """Against Esser et al., equations 1 to 3, with a zero: in range 1 and round(v/s) - v/s; outside 0 and the bound."""
    owner = nn.Module()
    owner.register_parameter("step_out0", nn.Parameter(torch.tensor(0.25)))
    owner.register_buffer("zero_out0", torch.tensor(3, dtype=torch.int32))
    value = torch.tensor([[-2.0, -0.6, 0.1, 0.9, 70.0]], requires_grad=True)
    found = rounded(value, Spot(owner, "out0", 255, 0, first=True))
    assert found.tolist() == [[-0.75, -0.5, 0.0, 1.0, 63.0]]
    found.sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [[0, 1, 1, 1, 0]]
    slopes = -3 + (-2 + 2.4) + (0 - 0.4) + (4 - 3.6) + 252
    assert float(owner.step_out0.grad) == pytest.approx(slopes / (5 * 255) ** 0.5, rel=1e-5)


def test_a_pass_that_ends_early_does_not_shift_the_calls() -> None:
    network = build(Architecture("torchvision:resnet18", 4, 3, (32, 32)), seed=0)
    image = torch.rand(2, 3, 32, 32)
    small = quantize(network, plan(network, 7), activations=_values(network, image[:1]), images=[image])
    with torch.no_grad():
        expected = small.model(image)
        handle = small.model.get_submodule("layer1.0.bn2").register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            small.model(image)
        handle.remove()
        assert torch.equal(small.model(image), expected)


def test_biases_are_multiples_of_both_steps_and_stay_so(teacher: Checkpoint, digits: Dataset) -> None:
    images = _images(teacher, digits)
    network = _static(teacher, images).network
    values, steps = _values(teacher.network, images[:1]), whole_steps(network.model)
    layer, norm = network.model.get_submodule("blocks.1.conv"), network.model.get_submodule("blocks.1.norm")
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    added = (norm.bias + factor * (layer.bias - norm.running_mean)).double()
    codes = added / (step_of(network.model, values[1]) * steps["blocks.1.conv"] * factor).double().abs()
    assert torch.allclose(codes, codes.round(), atol=2e-2)
    assert codes.abs().max() > 2
    head = network.model.get_submodule("classifier").bias / (step_of(network.model, values[4]) * steps["classifier"])
    assert torch.allclose(head, head.round(), atol=1e-2)
    before = copy.deepcopy(network.model.state_dict())
    round_biases(network, steps, values)
    assert all(torch.allclose(value, before[name], atol=1e-6) for name, value in network.model.state_dict().items())


def test_steps_of_activations_are_no_parameters_of_the_network(teacher: Checkpoint, digits: Dataset) -> None:
    small = _static(teacher, _images(teacher, digits))
    assert parameters_of(small.network.model) == sum(value.numel() for value in teacher.network.model.parameters())


def test_a_network_on_grids_loses_little_and_each_layer_alone_less(teacher: Checkpoint, digits: Dataset) -> None:
    images = _images(teacher, digits)
    small = _static(teacher, images)
    with torch.no_grad():
        expected, found = teacher.network.model(images), small.network.model(images)
    error = float((found - expected).square().mean() / expected.var(0).mean())
    assert 0 < error < 0.01
    rows = sensitivities(teacher.network, STATIC, plan(teacher.network, 7), [images], "nearest")
    alone = sensitivities(teacher.network, SCHEMES["w8"], plan(teacher.network, 7), [images], "nearest")
    assert sum(row.error for row in rows) > sum(row.error for row in alone) > 0


def _shifts(whole: Staged, small: Staged, images: Tensor) -> Tensor:
    """How far the mean of each channel of the layers moved, in their standard deviations."""
    seen: dict[str, list[Tensor]] = {}
    for network in (whole, small):
        hooks = [
            network.model.get_submodule(grid.module).register_forward_hook(
                lambda _m, _a, out, name=grid.module: seen.setdefault(name, []).append(out.transpose(0, 1).flatten(1))
            )
            for grid in plan(whole, 7)
        ]
        with torch.no_grad():
            network.model(images)
        for hook in hooks:
            hook.remove()
    return torch.cat([(after.mean(1) - before.mean(1)).abs() / before.std(1) for before, after in seen.values()])


def test_corrected_biases_leave_the_means_where_they_were(teacher: Checkpoint, digits: Dataset) -> None:
    images = _images(teacher, digits)
    grids, values = plan(teacher.network, 4), _values(teacher.network, images[:1])
    plainly, corrected = (
        quantize(teacher.network, grids, activations=values, images=[images[:30], images[30:]], static=static)
        for static in (Static(), Static(correct_bias=True))
    )
    before, after = (_shifts(teacher.network, network, images) for network in (plainly, corrected))
    assert after.mean() < 0.1 * before.mean()


@pytest.mark.parametrize("name", ["resnet10", "torchvision:mobilenet_v2", "cnn-s"])
def test_an_equalized_network_answers_the_same_and_its_channels_are_alike(name: str) -> None:
    network = build(Architecture(name, 4, 3, (32, 32)), seed=0)
    image = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for module in network.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.1, 3, generator=torch.Generator().manual_seed(1))
        network.model.eval()
        alike = equalized(network, {grid.module for grid in plan(network, 7)}, [image[:5], image[5:]])
        torch.testing.assert_close(alike.model(image), network.model(image), rtol=1e-3, atol=1e-4)
    changed = [n for n, v in alike.model.state_dict().items() if not torch.equal(v, network.model.state_dict()[n])]
    assert bool(changed) == (
        name != "torchvision:mobilenet_v2"
    )  # ReLU6 stops what it is given at 6, whatever its scale
    if name == "cnn-s":
        ranges = [_seen(one, image)["out of blocks.0.relu"].amax((0, 2, 3)) for one in (network, alike)]
        spread = [float(channels[channels > 0].log().std()) for channels in ranges]
        assert spread[1] < spread[0]


class Turned(nn.Module):
    """A ReLU whose channels and columns change places before the next layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.second = nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.second(self.relu(self.first(image)).transpose(1, 3))
        return output


def test_channels_that_change_places_are_not_equalized() -> None:
    network = Staged(Turned(), (Stage("logits", "second", ("second",), 2),))
    image = torch.rand(2, 1, 4, 4)
    alike = equalized(network, {"first", "second"}, [image])
    with torch.no_grad():
        assert torch.equal(alike.model(image), network.model(image))


# training and files


def test_grids_are_trained_with_the_weights_and_the_run_resumes(
    teacher: Checkpoint, digits: Dataset, tmp_path: Path
) -> None:
    small = _static(teacher, _images(teacher, digits))
    fit = Fit(2, OPTIMIZERS["adam"](1e-3), Schedule("constant", 2), "last", 32)
    recovery = Recovery(read_method("okd", {}), fit)
    made = []
    for name in ("one", "two"):
        journal = Journal(tmp_path / f"{name}.safetensors", False, False, ())
        job = Job("edgepress quantize", Run(CLASSIFICATION, seed=0), journal)
        for _ in retrained(copy.deepcopy(small), teacher, recovery, digits, job):
            pass
        made.append(load(journal.output))
    first, second = (checkpoint.network.model.state_dict() for checkpoint in made)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    steps = [step_of(network.network.model, small.card.activations[1]) for network in (small, made[0])]
    assert steps[0] != steps[1]
    assert made[0].card.activations == small.card.activations


def test_a_network_on_grids_is_saved_and_loaded_with_its_card(
    teacher: Checkpoint, digits: Dataset, tmp_path: Path
) -> None:
    images = _images(teacher, digits)
    small = _static(teacher, images)
    again = load(save(small, tmp_path / "small.safetensors"))
    assert again.card.edits == small.card.edits
    assert again.card.lineage[-1]["activation_grids"] == 5
    with torch.no_grad():
        assert torch.equal(again.network.model(images), small.network.model(images))
    assert [stage.tap for stage in again.network.stages] == [stage.tap for stage in teacher.network.stages]
    with pytest.raises(Uncuttable, match="hooks"):
        trace(again.network)


@pytest.mark.parametrize(
    "edit",
    [
        {"places": [], "bits": 8},
        {"places": [["blocks.0.relu", 0, False]], "bits": 4},
        {"places": [["blocks.0.relu", -1, False]], "bits": 8},
        {"places": [["blocks.0.relu", True, False]], "bits": 8},
        {"places": [["blocks.0.relu", 0]], "bits": 8},
        {"places": [["blocks.0.relu", 0, False]] * 2, "bits": 8},
        {"places": "blocks.0.relu", "bits": 8},
    ],
)
def test_a_card_with_a_grid_that_is_none_is_refused(teacher: Checkpoint, edit: object) -> None:
    data = {key: value for key, value in json.loads(teacher.card.to_json()).items() if key != SEAL}
    data["edits"] = [edit]
    with pytest.raises(CheckpointError, match="damaged"):
        Card.from_json(json.dumps({**data, SEAL: seal(data)}))


def test_grids_of_no_module_or_of_one_value_twice_are_refused(teacher: Checkpoint) -> None:
    grid = ActivationGrid((Place("blocks.0.relu"),))
    with pytest.raises(CompressError, match=r"out of blocks\.9: the network has no such module"):
        apply_activations(teacher.network, [ActivationGrid((Place("blocks.9"),))])
    with pytest.raises(CompressError, match=r"two grids of the values out of blocks\.0\.relu"):
        apply_activations(teacher.network, [grid, ActivationGrid((Place("blocks.0.pool"), Place("blocks.0.relu")))])
    with pytest.raises(ValueError, match="cut first"):
        replace(teacher.card, edits=(grid, *_cut(teacher)))


def _cut(checkpoint: Checkpoint) -> tuple[object, ...]:
    from compress.smaller import cut

    return cut(checkpoint, 0.5, "edgepress prune").card.cuts


def test_scales_are_set_where_they_belong(teacher: Checkpoint) -> None:
    grids = (ActivationGrid((Place("blocks.0.relu"), Place("blocks.0.pool"))), ActivationGrid((Place("embedding.2"),)))
    network = apply_activations(teacher.network, grids)
    set_scales(network, grids, [(0.5, 3), (0.25, 0)])
    state = network.model.state_dict()
    assert (float(state["blocks.0.relu.step_out0"]), int(state["blocks.0.relu.zero_out0"])) == (0.5, 3)
    assert float(step_of(network.model, grids[1])) == 0.25
    assert "blocks.0.pool.step_out0" not in state
