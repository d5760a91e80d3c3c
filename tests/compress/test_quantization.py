"""Weights on grids: the steps, the two roundings, training through the rounding, and what of it a file keeps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.card import Card
from compress.checkpoint import Checkpoint, load, save
from compress.data import Dataset
from compress.errors import CheckpointError, CompressError, PlanError
from compress.named import Named
from compress.opening import new_network
from compress.phase import OPTIMIZERS, Fit, Phase, S, Term
from compress.pruning import Cut
from compress.quantization import SCHEMES, Grid, codes_of, plain, plan, quantize
from compress.quantization.grids import Steps, apply, code_range, held
from compress.quantization.rounding import PART, compensated, products
from compress.quantization.steps import best_steps
from compress.smaller import cut, quantized
from compress.stages import Staged
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run

MakeFit = Callable[..., Fit]


def _images(checkpoint: Checkpoint, data: Dataset, count: int = 64) -> Tensor:
    return checkpoint.card.scale(next(data.train.batches(count)).image)


def _error(network: Staged, other: Staged, images: Tensor) -> float:
    with torch.no_grad():
        return float((network.model(images) - other.model(images)).square().mean())


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_and_steps_are_the_weight_that_the_network_computes_with(
    teacher: Checkpoint, digits: Dataset, bits: int
) -> None:
    grids = plan(teacher.network, bits)
    small = quantize(teacher.network, grids)
    low, high = code_range(bits)
    for codes in codes_of(small, grids):
        layer, kind, _ = held(small.model, codes.module)
        assert isinstance(kind, Steps)
        assert codes.values.dtype == torch.int8
        assert int(codes.values.min()) >= low
        assert int(codes.values.max()) <= high
        step = kind.step.detach().view(-1, *[1] * (codes.values.ndim - 1))
        assert torch.equal(layer.weight, codes.values.float() * step)
    images = _images(teacher, digits)
    with torch.no_grad():
        assert torch.equal(plain(small.model)(images), small.model(images))


def test_half_precision_is_that_of_torch(teacher: Checkpoint) -> None:
    small = quantize(teacher.network, [Grid("classifier", 16)])
    layer, _, weight = held(small.model, "classifier")
    assert torch.equal(layer.weight, weight.half().float())
    assert codes_of(small, [Grid("classifier", 16)])[0].values.dtype == torch.float16


def test_more_bits_are_nearer(teacher: Checkpoint, digits: Dataset) -> None:
    images = _images(teacher, digits)
    errors = [
        _error(teacher.network, quantize(teacher.network, plan(teacher.network, b)), images) for b in (2, 4, 8, 16)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 * errors[0]


@pytest.mark.parametrize("bits", [2, 4])
def test_compensated_rounding_beats_the_nearest_on_images_it_has_not_seen(
    teacher: Checkpoint, digits: Dataset, bits: int
) -> None:
    grids, test = plan(teacher.network, bits), teacher.card.scale(next(digits.test.batches(128)).image)
    nearest = quantize(teacher.network, grids)
    better = quantize(teacher.network, grids, rounding="compensated", images=[_images(teacher, digits)])
    assert _error(teacher.network, better, test) < 0.6 * _error(teacher.network, nearest, test)


def test_compensated_rounding_needs_images(teacher: Checkpoint) -> None:
    with pytest.raises(PlanError, match="nearest"):
        quantize(teacher.network, plan(teacher.network, 4), rounding="compensated")


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(12, 5),
        nn.Conv2d(6, 8, 3, padding=1, stride=2, bias=False),
        nn.Conv2d(6, 6, 3, padding="same", groups=6, padding_mode="reflect"),
        nn.Conv2d(6, 4, (1, 3), padding=(0, 1), dilation=(1, 1), groups=2),
    ],
)
def test_products_are_what_makes_the_change_of_an_output(layer: nn.Conv2d | nn.Linear) -> None:
    """The squared change of a layer's output is, filter by filter, the form of its products in the change of weight."""
    chance = torch.Generator().manual_seed(1)
    shape = (7, 12) if isinstance(layer, nn.Linear) else (3, 6, 5, 7)
    inputs = torch.randn(shape, generator=chance, dtype=torch.float64)
    layer = layer.double()
    change = torch.randn(layer.weight.shape, generator=chance, dtype=torch.float64)
    changed = copy.deepcopy(layer)
    with torch.no_grad():
        changed.weight += change
        found = changed(inputs) - layer(inputs)
    (form,) = products(layer, inputs)
    rows = change.reshape(len(form), -1, form.shape[1])
    expected = torch.einsum("gfi,gij,gfj->gf", rows, form, rows).flatten()
    over = [axis for axis in range(found.ndim) if axis != (1 if found.ndim == 4 else found.ndim - 1)]
    assert torch.allclose(found.square().sum(over), expected)


def test_one_weight_after_the_other_by_hand() -> None:
    """Two inputs that are always equal: what the first weight loses, the second takes over."""
    alike = torch.ones(1, 2, 2)
    rounded = compensated(torch.tensor([[0.4, 0.4]]), torch.ones(1), (-8, 7), [alike])
    assert rounded.sum() == 1
    apart = compensated(torch.tensor([[0.4, 0.4]]), torch.ones(1), (-8, 7), [torch.eye(2)[None]])
    assert apart.tolist() == [[0, 0]]


def test_a_long_filter_is_rounded_in_parts_that_make_up_for_themselves() -> None:
    chance = torch.Generator().manual_seed(4)
    layer, inputs = nn.Linear(PART + 40, 3), torch.randn(64, PART + 40, generator=chance)
    forms, steps = products(layer, inputs), best_steps(layer.weight, 4)
    assert [form.shape for form in forms] == [(1, PART, PART), (1, 40, 40)]
    found = compensated(layer.weight, steps, code_range(4), forms)
    nearest = (layer.weight.detach() / steps[:, None]).clamp(-8, 7).round() * steps[:, None]
    errors = [((weight - layer.weight.detach()) @ inputs.T).square().sum() for weight in (found, nearest)]
    assert errors[0] < 0.5 * errors[1]
    tail = compensated(layer.weight[:, PART:], steps, code_range(4), forms[1:])
    assert torch.equal(found[:, PART:], tail)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_best_steps_leave_less_error_than_a_range_without_clipping(bits: int) -> None:
    weight = torch.randn(16, 300, generator=torch.Generator().manual_seed(2))
    weight[3] = 0
    low, high = code_range(bits)

    def error(steps: Tensor) -> Tensor:
        rounded = (weight / steps[:, None]).clamp(low, high).round() * steps[:, None]
        return (rounded - weight).square().sum(1)

    widest = (weight.abs().amax(1) / high).clamp_min(1e-9)
    found = error(best_steps(weight, bits))
    assert (found <= error(widest)).all()
    assert found.sum() < error(widest).sum() * (0.9 if bits < 8 else 1)
    assert found[3] == 0


def test_gradients_of_weight_and_step_are_those_of_the_paper() -> None:
    """LSQ, equations 3 and 5, in a loop of its own in float64."""
    weight = torch.tensor([[0.3, -0.9, 4.0, -7.0], [1.2, 0.1, 0.0, 0.5]], dtype=torch.float64, requires_grad=True)
    kind = Steps(2, 4).double()
    with torch.no_grad():
        kind.step.copy_(torch.tensor([0.5, -0.25]))
    upstream = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.7, 1.0, -1.0, 2.0]], dtype=torch.float64)
    (kind(weight) * upstream).sum().backward()
    assert weight.grad is not None
    assert kind.step.grad is not None
    for row in range(2):
        step, slope = kind.step[row].item(), 0.0
        for column in range(4):
            ratio, given = weight[row, column].item() / step, upstream[row, column].item()
            inside = -8 <= ratio <= 7
            assert weight.grad[row, column].item() == pytest.approx(given if inside else 0)
            slope += given * (round(ratio) - ratio if inside else (-8 if ratio < -8 else 7))
        assert kind.step.grad[row].item() == pytest.approx(slope / (4 * 7) ** 0.5)


def test_a_plan_covers_what_is_not_kept(digits: Dataset) -> None:
    network = new_network(Named("cnn-s", options={"width": 4}), digits, seed=0).network
    whole = [grid.module for grid in plan(network, 8)]
    assert whole == ["blocks.0.conv", "blocks.1.conv", "blocks.2.conv", "embedding.1", "classifier"]
    assert [g.module for g in plan(network, 8, keep_float=["map1", "logits"])] == whole[1:-1]
    assert [g.module for g in plan(network, 8, keep_float=["blocks"])] == whole[3:]
    assert [g.module for g in plan(network, 8, keep_float=["blocks.*.conv"])] == whole[3:]


def test_a_plan_may_give_layers_other_bits(digits: Dataset) -> None:
    network = new_network(Named("cnn-s", options={"width": 4}), digits, seed=0).network
    mixed = {"blocks": 4, "map1": 8, "logits": 16}
    assert [grid.bits for grid in plan(network, 2, mixed=mixed)] == [8, 4, 4, 2, 16]
    assert [grid.bits for grid in plan(network, 2, mixed=mixed, keep_float=["map1"])] == [4, 4, 2, 16]
    with pytest.raises(PlanError, match="'nowhere': no layer"):
        plan(network, 2, mixed={"nowhere": 8})


@pytest.mark.parametrize(("kept", "said"), [(["nonsense"], "the stages are map1"), (["*"], "no layer is left")])
def test_a_plan_refuses_names_that_match_nothing_and_to_do_nothing(digits: Dataset, kept: list[str], said: str) -> None:
    network = new_network(Named("cnn-s", options={"width": 4}), digits, seed=0).network
    with pytest.raises(PlanError, match=said):
        plan(network, 8, keep_float=kept)


@pytest.mark.parametrize(("module", "said"), [("nowhere", "no such layer"), ("blocks.0", "can be quantized")])
def test_a_grid_of_another_thing_than_a_layer_is_refused(digits: Dataset, module: str, said: str) -> None:
    network = new_network(Named("cnn-s", options={"width": 4}), digits, seed=0).network
    with pytest.raises(CompressError, match=said):
        apply(network, [Grid(module, 8)])
    with pytest.raises(CompressError, match="quantized already"):
        apply(apply(network, [Grid("classifier", 8)]), [Grid("classifier", 4)])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_quantized_network_is_saved_and_loaded_with_its_card(
    teacher: Checkpoint, digits: Dataset, tmp_path: Path, scheme: str
) -> None:
    small = quantized(teacher, plan(teacher.network, SCHEMES[scheme].bits), "edgepress quantize", rounding="nearest")
    again = load(save(small, tmp_path / "small.safetensors"))
    assert again.card.grids == small.card.grids
    assert again.card.lineage[-1]["rounding"] == "nearest"
    images = _images(teacher, digits)
    with torch.no_grad():
        assert torch.equal(again.network.model(images), small.network.model(images))
    assert [stage.tap for stage in again.network.stages] == [stage.tap for stage in teacher.network.stages]


def test_a_network_is_cut_before_it_is_quantized_and_not_after(teacher: Checkpoint, tmp_path: Path) -> None:
    half = cut(teacher, 0.5, "edgepress prune")
    small = quantized(half, plan(half.network, 8), "edgepress quantize", rounding="nearest")
    assert load(save(small, tmp_path / "small.safetensors")).card.edits == (*half.card.cuts, *small.card.grids)
    with pytest.raises(PlanError, match="prune the network as it was before"):
        cut(small, 0.5, "edgepress prune")
    with pytest.raises(ValueError, match="cut first"):
        replace(small.card, edits=(*small.card.grids, *half.card.cuts))


@pytest.mark.parametrize("edit", [{"module": "classifier", "bits": 3}, {"module": "", "bits": 8}, {"bits": 8}, 7])
def test_a_card_with_an_edit_that_is_none_is_refused(teacher: Checkpoint, edit: object) -> None:
    import json

    from compress.card import SEAL, seal

    data = {key: value for key, value in json.loads(teacher.card.to_json()).items() if key != SEAL}
    data["edits"] = [edit]
    with pytest.raises(CheckpointError, match="damaged"):
        Card.from_json(json.dumps({**data, SEAL: seal(data)}))


def test_an_edit_that_both_kinds_share_reads_back(teacher: Checkpoint) -> None:
    card = replace(teacher.card, edits=(Cut("blocks.0.conv", True, (0,)), Grid("classifier", 4)))
    assert Card.from_json(card.to_json()).edits == card.edits


def _nothing(logits: Tensor) -> Tensor:
    return 0 * logits.sum()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_learned_steps_do_not_decay(digits: Dataset, make_fit: MakeFit, name: str) -> None:
    """With a gradient of nothing, weights shrink and steps stay."""
    made = new_network(Named("cnn-s", options={"width": 4}), digits, seed=3)
    small = quantize(made.network, plan(made.network, 4))
    fit = replace(make_fit(1), optimizer=OPTIMIZERS[name](0.1))
    still = Term(_nothing, (S("logits"),), 1.0, "nothing")
    before = copy.deepcopy(small.model.state_dict())
    for _ in run([Phase("still", (still,), fit)], small, digits, Run(CLASSIFICATION)):
        pass
    after = small.model.state_dict()
    steps = [key for key in after if key.endswith(".step")]
    assert steps
    assert all(torch.equal(after[key], before[key]) for key in steps)
    assert (
        after["classifier.parametrizations.weight.original"].norm()
        < before["classifier.parametrizations.weight.original"].norm()
    )
