"""What every format has to do that needs an extra; each is skipped where that is not installed."""

from __future__ import annotations

import shutil
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.cost import network_census
from compress.errors import ExportError, GateError, MissingExtraError
from compress.quantization import SCHEMES
from compress.smaller import quantized_by
from exports import CORE, FORMATS, Format, Settings, Shipped, noise, ship
from exports.artefact import Artefact
from exports.claims import verify
from exports.extras import need
from exports.graph.seal import AlteredError

EXTRAS = {suffix: form for suffix, form in FORMATS.items() if form.extra}

TYPED = "edgepress export student.safetensors -o student"
STORES = {".openvino": {16, 8, 7, 4}}  # bits of the weights, beside float32
TAKES_PIXELS = (".openvino",)


def marked(chosen: dict[str, Format]) -> list[object]:
    return [
        pytest.param(suffix, marks=pytest.mark.extra(form.extra, *form.modules), id=suffix)
        for suffix, form in chosen.items()
    ]


ALL = marked(EXTRAS)
RUN_HERE = marked({suffix: form for suffix, form in EXTRAS.items() if not form.unverified})


@pytest.fixture(scope="module", params=ALL)
def made(request: pytest.FixtureRequest, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    path = tmp_path_factory.mktemp("exported") / f"student{request.param}"
    return ship(checkpoint, path, [noise(checkpoint.card)], settings=Settings(command=TYPED))


def form_of(shipped: Shipped) -> Format:
    return FORMATS[shipped.artefact.path.suffix]


def copied(shipped: Shipped, folder: Path) -> Path:
    path, target = shipped.artefact.path, folder / shipped.artefact.path.name
    return Path(shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target))


def heaviest(path: Path) -> Path:
    """The file with the weights."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return max(files, key=lambda file: file.stat().st_size)


def test_the_core_install_brings_onnx_and_litert_alone() -> None:
    assert CORE == (".onnx", ".tflite")
    assert {form.extra for form in EXTRAS.values()} == {form.name.lower() for form in EXTRAS.values()}


@pytest.mark.parametrize("suffix", EXTRAS)
def test_without_its_extra_the_message_says_how_to_install_it(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    form, path = FORMATS[suffix], tmp_path / f"student{suffix}"
    monkeypatch.setitem(sys.modules, form.modules[0], None)  # type: ignore[arg-type]  # `import` fails
    said = rf"^{form.modules[0]} is not installed: pip install 'edgepress\[{form.extra}\]'$"
    with pytest.raises(MissingExtraError, match=said) as found:
        ship(checkpoint, path, [noise(checkpoint.card)])
    assert found.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []
    for use in (form.read, form.census):
        with pytest.raises(MissingExtraError, match=said):
            use(path)


@pytest.mark.parametrize("suffix", RUN_HERE)
def test_it_gives_the_answers_of_the_network(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path, suffix: str
) -> None:
    shipped = ship(checkpoint, tmp_path / f"student{suffix}", [noise(checkpoint.card)])
    artefact = shipped.artefact
    assert shipped.parity is not None
    assert shipped.parity.max_abs_difference < 1e-5
    assert (artefact.dtype, artefact.image_shape, artefact.input) == ("float32", (3, 32, 32), "float32")
    with torch.no_grad():
        expected = checkpoint.network.model(images)
    for size in [artefact.batch] if artefact.batch else (1, 3, 130, 1):
        torch.testing.assert_close(artefact(images[:size]), expected[:size], rtol=1e-4, atol=1e-5)
    with pytest.raises(ExportError, match=r"takes float32 of shape \((any|1), 3, 32, 32\); got float32 of shape"):
        artefact(images[:1, :1])
    call = artefact.bind(images[:1].numpy())
    for _ in range(3):
        call()
    torch.testing.assert_close(artefact(images[:1]), expected[:1], rtol=1e-4, atol=1e-5)
    _check_feed(artefact, images, expected)


def _check_feed(artefact: Artefact, images: Tensor, expected: Tensor) -> None:
    """Images that are put in place of others are those that are answered."""
    call = artefact.bind(images[:1].clone().numpy())
    call.feed(images[1:2].numpy())
    call()
    held: Any = call
    answer = held.request.get_output_tensor(0).data if artefact.path.suffix == ".openvino" else held.answer()
    last = answer[-1] if isinstance(answer, tuple) else answer
    found = (last if isinstance(last, Tensor) else torch.as_tensor(np.array(last))).reshape(1, -1)
    torch.testing.assert_close(found, expected[1:2], rtol=1e-4, atol=1e-5)


def test_what_it_weighs_is_what_the_network_weighs(checkpoint: Checkpoint, made: Shipped) -> None:
    census, cost = form_of(made).census(made.artefact.path), network_census(checkpoint.network, (3, 32, 32))
    assert census.macs == cost.macs == 471_648
    assert 14_938 <= census.parameters <= 14_938 + 20
    assert made.artefact.size_bytes > 14_938 * 4
    assert census.nodes > 2
    assert [side for side in census.input_shape if isinstance(side, int) and side != 1] == [3, 32, 32]
    assert census.output_shape[-1] == 10


def test_it_says_what_it_is_and_no_path_of_the_machine(checkpoint: Checkpoint, made: Shipped) -> None:
    artefact = made.artefact
    assert artefact.card is not None
    assert artefact.card.classes == checkpoint.card.classes
    assert artefact.provenance is not None
    assert len(artefact.provenance.graph_sha256) == 64
    files = [file for file in artefact.path.rglob("*") if file.is_file()] or [artefact.path]
    content = b"".join(file.read_bytes() for file in files)
    assert sum(len(file.read_bytes()) for file in files) == artefact.size_bytes
    for folder in (b"/home", b"/srv", b"/tmp", b"site-packages"):
        assert folder not in content


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint: Checkpoint, made: Shipped, tmp_path: Path) -> None:
    again = tmp_path / made.artefact.path.name
    form_of(made).write(checkpoint, again, Settings(command=TYPED))
    assert form_of(made).differences(made.artefact.path, again) == []
    assert form_of(made).read(again).sha256 == made.artefact.sha256


def test_it_is_verified_as_far_as_it_can_be_run(checkpoint: Checkpoint, made: Shipped) -> None:
    claims = verify(made.artefact.path, checkpoint, [noise(checkpoint.card)])
    assert [claim.verdict for claim in claims[:4]] == ["ok"] * 4
    assert claims[4].verdict == ("not checked" if form_of(made).unverified else "ok")
    assert ("not verified" in made.faithful.lines()[0]) == bool(form_of(made).unverified)


def test_an_altered_weight_is_seen(checkpoint: Checkpoint, made: Shipped, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    weights = heaviest(path)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(AlteredError, match="was altered since it was exported"):
        form_of(made).read(path)
    verdicts = {claim.record.quantity: claim.verdict for claim in verify(path, checkpoint, [noise(checkpoint.card)])}
    assert (verdicts["seal"], verdicts["export again"]) == ("FAILED", "FAILED")


def test_an_altered_label_is_seen(checkpoint: Checkpoint, made: Shipped, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    for file in [file for file in path.rglob("*") if file.is_file()] or [path]:
        file.write_bytes(file.read_bytes().replace(b"T-shirt/top", b"t-shirt/top"))
    with pytest.raises(AlteredError, match="was altered since it was exported"):
        form_of(made).read(path)
    claims = verify(path, checkpoint, [noise(checkpoint.card)])
    assert next(claim for claim in claims if claim.record.quantity == "card").verdict == "FAILED"


def test_half_of_it_is_no_model(made: Shipped, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    weights = heaviest(path)
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ExportError, match=f"^{path}"):
        form_of(made).read(path, sealed=False)
    weights.unlink()
    with pytest.raises(ExportError, match=f"^{path}"):
        form_of(made).read(path)


def test_a_damaged_label_is_an_error(made: Shipped, tmp_path: Path) -> None:
    if not form_of(made).folder:
        pytest.skip("its label is no file of its own")
    path = copied(made, tmp_path)
    for text in ("", "[]", "{}", '{"edgepress": 3}', '{"edgepress": {"card": {}, "provenance": {}}}'):
        (path / "edgepress.json").write_text(text)
        with pytest.raises(ExportError, match="damaged"):
            form_of(made).read(path)
    (path / "edgepress.json").write_text("[" * 100_000)
    with pytest.raises(ExportError, match="damaged"):
        form_of(made).read(path)


def test_bare_it_is_the_network_alone(checkpoint: Checkpoint, made: Shipped, tmp_path: Path) -> None:
    path = tmp_path / made.artefact.path.name
    bare = ship(checkpoint, path, [noise(checkpoint.card)], settings=Settings(label=False)).artefact
    assert (bare.card, bare.provenance) == (None, None)
    assert bare.size_bytes < made.artefact.size_bytes
    with pytest.raises(ExportError, match="was not written by edgepress, so it claims nothing"):
        verify(path, checkpoint, [noise(checkpoint.card)])


def test_the_lineage_stays_out_where_it_is_not_wished(checkpoint: Checkpoint, made: Shipped, tmp_path: Path) -> None:
    path = tmp_path / made.artefact.path.name
    secret = ship(checkpoint, path, [noise(checkpoint.card)], settings=Settings(lineage=False)).artefact
    assert secret.card is not None
    assert secret.card.lineage == ()


def test_the_lineage_ends_with_the_export(made: Shipped) -> None:
    card = made.artefact.card
    assert card is not None
    assert [step.get("command") for step in card.lineage[-2:]] == ["edgepress distill teacher.safetensors", TYPED]


def test_a_network_that_answers_otherwise_is_not_shipped(
    checkpoint: Checkpoint, made: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = form_of(made)
    if form.unverified:
        pytest.skip(form.unverified)
    other = replace(checkpoint, network=replace(checkpoint.network, model=_shifted(checkpoint)))

    def write_other(_: Checkpoint, path: Path, settings: Settings) -> None:
        form.write(other, path, settings)

    path = tmp_path / made.artefact.path.name
    monkeypatch.setitem(FORMATS, path.suffix, replace(form, write=write_other))  # type: ignore[arg-type]
    with pytest.raises(GateError, match="does not give the outputs of its network"):
        ship(checkpoint, path, [noise(checkpoint.card)])
    assert list(tmp_path.iterdir()) == []


def _shifted(checkpoint: Checkpoint) -> torch.nn.Module:
    model = deepcopy(checkpoint.network.model)
    with torch.no_grad():
        next(parameter for parameter in model.parameters() if parameter.ndim == 4).mul_(1.01)
    return model


@pytest.mark.parametrize("scheme", SCHEMES)
def test_codes_stay_codes_or_are_refused(checkpoint: Checkpoint, made: Shipped, tmp_path: Path, scheme: str) -> None:
    wished, path, images = SCHEMES[scheme], tmp_path / made.artefact.path.name, [noise(checkpoint.card)]
    small, bits = quantized_by(checkpoint, wished, "q", rounding="nearest", images=images), wished.bits
    if bits not in STORES.get(path.suffix, ()):
        with pytest.raises(ExportError, match=rf"^{path.name}: .*weights .*export to \.onnx"):
            ship(small, path, images)
        assert list(tmp_path.iterdir()) == []
        return
    artefact = ship(small, path, images).artefact
    assert artefact.card is not None
    assert {grid.bits for grid in artefact.card.grids} == {bits}
    saved = made.artefact.size_bytes - artefact.size_bytes
    assert wished.activations or saved > 0.7 * 14_800 * (32 - bits) / 8  # each grid is words in the .xml


def test_pixels_go_in_or_are_refused(checkpoint: Checkpoint, made: Shipped, tmp_path: Path) -> None:
    path, settings = tmp_path / made.artefact.path.name, Settings(input="uint8")
    pixels = noise(checkpoint.card, takes="uint8")
    if path.suffix not in TAKES_PIXELS:
        with pytest.raises(ExportError, match=r"takes float32 images; leave --input out, or export to \.onnx"):
            ship(checkpoint, path, [pixels], settings=settings)
        assert list(tmp_path.iterdir()) == []
        return
    artefact = ship(checkpoint, path, [pixels], settings=settings).artefact
    assert artefact.input == "uint8"
    with torch.no_grad():
        expected = checkpoint.network.model(checkpoint.card.scale(pixels))
    torch.testing.assert_close(artefact(pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.extra("coreml", "coremltools")
def test_a_mlpackage_does_not_lie_in_the_order_of_one_process(checkpoint: Checkpoint, tmp_path: Path) -> None:
    specification = need("coreml", "coremltools.proto.Model_pb2").Model
    FORMATS[".mlpackage"].write(checkpoint, tmp_path / "student.mlpackage", Settings())
    content = (tmp_path / "student.mlpackage" / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
    assert specification.FromString(content).SerializeToString(deterministic=True) == content
