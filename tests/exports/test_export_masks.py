"""A network for masks as a file: shapes, label, parity by pixels, claims, and what verify makes of a corrupted one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from boxes import CLASSES, SEE, boxes, boxes_checkpoint
from onnx import numpy_helper

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.tasks import SEGMENTATION
from exports import Shipped, check_parity, ship
from exports.answers import as_network
from exports.claims import verify
from exports.source import samples


@pytest.fixture(scope="module")
def data() -> Dataset:
    return boxes()


@pytest.fixture(scope="module")
def masker() -> Checkpoint:
    return boxes_checkpoint(4)


@pytest.fixture(scope="module")
def shipped(masker: Checkpoint, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    target = tmp_path_factory.mktemp("masks") / "masks.onnx"
    return ship(masker, target, samples(masker.card, data.test))


def test_the_file_gives_a_map_of_logits_for_any_batch(shipped: Shipped, masker: Checkpoint) -> None:
    artefact = shipped.artefact
    assert (artefact.batch, artefact.image_shape) == (None, SEE.shape)
    image = torch.randn(5, *SEE.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = masker.network.model.eval()(image)
    assert artefact(image).shape == (5, len(CLASSES), *SEE.size)
    torch.testing.assert_close(artefact(image), expected, atol=1e-4, rtol=0)
    (output,) = onnx.load(artefact.path).graph.output
    assert [side.dim_value for side in output.type.tensor_type.shape.dim][1:] == [len(CLASSES), *SEE.size]


def test_parity_counts_pixels_over_the_whole_test_split(shipped: Shipped, data: Dataset) -> None:
    parity = shipped.parity
    assert (parity.samples, parity.agreement) == (len(data.test), 1.0)
    assert 0 < parity.max_abs_difference <= parity.allowed_difference
    assert str(parity).endswith(", pixel agreement 100.00%, 31 samples")


def test_pixels_that_are_decided_otherwise_count(shipped: Shipped, masker: Checkpoint, data: Dataset) -> None:
    artefact = shipped.artefact

    def network(image: torch.Tensor) -> torch.Tensor:
        logits = artefact(image)
        logits[0, :, 0, 0] = -logits[0, :, 0, 0]
        return logits

    parity = check_parity(network, artefact, samples(masker.card, data.test), tolerance=1e9)
    assert parity.agreement == 1 - 2 / (31 * 12 * 20)
    assert "pixel agreement 99.97%" in str(parity)


def test_the_label_tells_how_to_feed_the_file_and_to_read_its_masks(shipped: Shipped) -> None:
    card = shipped.artefact.card
    assert card is not None
    assert (card.task, card.classes, card.preprocessing) == ("segmentation", CLASSES, SEE)
    label = json.loads(onnx.load(shipped.artefact.path).metadata_props[0].value)
    assert label["preprocessing"]["size"] == [12, 20]
    assert "shape (batch, 3, 12, 20), a class for every pixel" in label["output"]


def test_the_file_is_evaluated_like_its_network(shipped: Shipped, masker: Checkpoint, data: Dataset) -> None:
    own = SEGMENTATION.evaluate(masker.network, data)
    assert own["miou"] > 0.7
    assert SEGMENTATION.evaluate(as_network(shipped.artefact, data.scale), data) == pytest.approx(own)


def test_verify_finds_that_every_claim_holds(shipped: Shipped, masker: Checkpoint, data: Dataset) -> None:
    claims = verify(str(shipped.artefact.path), masker, samples(masker.card, data.test))
    assert [claim.verdict for claim in claims] == ["ok"] * 5
    (agreement,) = claims[-1].beside
    assert (agreement.quantity, agreement.value, agreement.n) == ("pixel_agreement", 1.0, 31)


@pytest.mark.parametrize("factor", [1 + 2**-22, 1.05, -1])
def test_verify_finds_one_altered_weight(
    shipped: Shipped, masker: Checkpoint, data: Dataset, tmp_path: Path, factor: float
) -> None:
    model = onnx.load(shipped.artefact.path)
    tensor = next(one for one in model.graph.initializer if list(one.dims) == [3, 8, 1, 1])
    values = numpy_helper.to_array(tensor).copy()
    values[1, 3] *= np.float32(factor)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "altered.onnx")
    found = verify(tmp_path / "altered.onnx", masker, samples(masker.card, data.test))
    failed = {claim.record.quantity for claim in found if claim.verdict == "FAILED"}
    assert failed == {"seal", "export again"} | ({"parity"} if factor != 1 + 2**-22 else set())
    parity = next(claim for claim in found if claim.record.quantity == "parity")
    assert "pixel agreement" in parity.sentence


def test_large_maps_are_compared_a_few_at_a_time(
    shipped: Shipped, masker: Checkpoint, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exports.source.BATCH_PIXELS", 4 * 12 * 20)
    sizes: list[int] = []

    def network(image: torch.Tensor) -> torch.Tensor:
        sizes.append(len(image))
        with torch.no_grad():
            return masker.network.model.eval()(image)

    whole = torch.cat(list(samples(masker.card, data.test)))
    assert [len(batch) for batch in samples(masker.card, data.test)] == [4] * 7 + [3]
    assert check_parity(network, shipped.artefact, [whole]).samples == 31
    assert sizes == [1, *[4] * 7, 2]
