"""Checkpoints: one file that rebuilds itself, and refuses to be anything else."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from compress.card import SEAL, seal
from compress.checkpoint import KEY, Checkpoint, load, load_plain, save
from compress.errors import CheckpointError, OutputError
from compress.evidence import tensors_digest, weights_digest
from compress.smaller import cut


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "network.safetensors"


def _tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {
        key: value.clone(memory_format=torch.contiguous_format)
        for key, value in checkpoint.network.model.state_dict().items()
    }


def _logits(checkpoint: Checkpoint) -> Tensor:
    image = torch.randn(3, *checkpoint.card.preprocessing.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return checkpoint.network.model.eval()(image)


def _same(first: Checkpoint, second: Checkpoint) -> bool:
    one, two = _tensors(first), _tensors(second)
    return list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)


def _write(path: Path, tensors: dict[str, Tensor], card: str | None) -> None:
    safetensors.torch.save_file(tensors, path, metadata=None if card is None else {KEY: card})


def _pruned(checkpoint: Checkpoint, ratio: float = 0.5) -> Checkpoint:
    return cut(checkpoint, ratio, "edgepress prune")


# there and back


def test_a_checkpoint_comes_back_whole(teacher: Checkpoint, path: Path) -> None:
    assert save(teacher, path) == path
    again = load(path)
    assert _same(again, teacher)
    assert replace(again.card, stages=(), weights="") == teacher.card
    assert (again.card.stages, again.card.weights) == (teacher.network.stages, weights_digest(teacher.network.model))
    assert again.card.lineage[-1]["command"] == "edgepress train cnn-a --data digits"
    assert again.network.stages == teacher.network.stages
    assert not again.network.model.training
    assert torch.allclose(_logits(again), _logits(teacher), atol=1e-5)


def test_saving_is_deterministic_and_leaves_one_file(teacher: Checkpoint, tmp_path: Path) -> None:
    first, second = (save(teacher, tmp_path / name).read_bytes() for name in ("a.safetensors", "b.safetensors"))
    assert first == second
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "b.safetensors"}


def test_every_length_of_a_card_can_be_read(student: Checkpoint, path: Path) -> None:
    """The length of the header is the first thing in the file; whatever it is, the file is not taken for a pickle."""
    for length in range(0, 256, 8):
        save(student.with_step({"command": "x" * length}), path, force=True)
        assert load(path).card.lineage[-1] == {"command": "x" * length}


def test_any_text_is_kept_in_a_card(student: Checkpoint, path: Path) -> None:
    names = ("T-shirt/top", "Straße", "数字", '"quoted"', "back\\slash", "new\nline", "\udcff", "7", "8", "9")
    card = replace(student.card, classes=names, lineage=({"command": "é", "metrics": {"top1": 0.1 + 0.2}, "n": None},))
    save(replace(student, card=card), path)
    assert replace(load(path).card, stages=(), weights="") == card


def test_nothing_is_replaced_without_force(teacher: Checkpoint, student: Checkpoint, path: Path) -> None:
    save(teacher, path)
    with pytest.raises(OutputError, match="already exists; pass --force"):
        save(student, path)
    assert _same(load(path), teacher)
    save(student, path, force=True)
    assert _same(load(path), student)


def test_a_full_disk_leaves_what_was_there(
    teacher: Checkpoint, student: Checkpoint, path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    save(student, path)
    with full_disk(8192), pytest.raises(OutputError, match="not written: File too large"):
        save(teacher, path, force=True)
    assert _same(load(path), student)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/network.safetensors", "."])
def test_a_place_that_cannot_be_written_is_an_error(teacher: Checkpoint, tmp_path: Path, place: str) -> None:
    with pytest.raises(OutputError, match=r"does not exist; make it first|is a folder"):
        save(teacher, tmp_path / place)


def test_memory_layout_does_not_matter(student: Checkpoint, path: Path) -> None:
    student.network.model.to(memory_format=torch.channels_last)
    save(student, path)
    assert _same(load(path), student)


# cuts


def test_a_pruned_network_comes_back_as_it_was(teacher: Checkpoint, path: Path) -> None:
    small = _pruned(teacher)
    save(small, path)
    again = load(path)
    assert _same(again, small)
    assert again.card.edits == small.card.edits != ()
    assert again.network.stages == small.network.stages
    assert sum(map(Tensor.numel, _tensors(again).values())) < 0.5 * sum(map(Tensor.numel, _tensors(teacher).values()))
    assert torch.allclose(_logits(again), _logits(small), atol=1e-5)


def test_a_network_pruned_twice_comes_back(teacher: Checkpoint, path: Path) -> None:
    small = _pruned(_pruned(teacher, 0.25), 0.5)
    save(small, path)
    assert [stage.width for stage in load(path).network.stages][:3] == [4, 8, 16]
    assert _same(load(path), small)


@pytest.mark.parametrize(
    "edits",
    [
        [["blocks.9.conv", True, [0]]],
        [["blocks.0.conv", True, [8]]],
        [["blocks.0.conv", True, list(range(8))]],
        [["blocks.0.relu", True, [0]]],
        [["blocks.0.conv", True, [1, 0]]],
        [["blocks.0.conv", True, []]],
        [["blocks.0.conv", 1, [0]]],
        [["blocks.0.conv", True, ["0"]]],
        [["", True, [0]]],
        [["blocks.0.conv", True]],
        ["cut"],
        "cut",
        7,
        [["blocks.0.conv", True, [0]]],
    ],
)
def test_a_cut_that_does_not_fit_is_refused(teacher: Checkpoint, path: Path, edits: object) -> None:
    card = json.loads(teacher.card.to_json()) | {"edits": edits}
    del card[SEAL]
    _write(path, _tensors(teacher), json.dumps({**card, SEAL: seal(card)}))
    with pytest.raises(CheckpointError, match=r"^.*network\.safetensors: "):
        load(path)


# damage


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(teacher_path: Path, path: Path, share: float) -> None:
    content = teacher_path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"network\.safetensors: is damaged or not a \.safetensors file"):
        load(path)


def test_a_file_short_of_or_over_one_byte_is_refused(teacher_path: Path, path: Path) -> None:
    content = teacher_path.read_bytes()
    for damaged in (content[:-1], content + b"\0", content[:7], content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is damaged"):
            load(path)


@pytest.mark.parametrize(
    "start",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 99_000_000),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xff\xff\xff",
        struct.pack("<Q", 8) + b'{"a": 1}',
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4000000]}}'.ljust(60),
        struct.pack("<Q", 68) + b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}'.ljust(68),
        b"PK",
        b"\x80\x02",
        b"not a checkpoint at all",
    ],
)
def test_a_hostile_header_is_refused(path: Path, start: bytes) -> None:
    path.write_bytes(start + b"\0" * 8)
    with pytest.raises(CheckpointError, match=r"network\.safetensors: is "):
        load(path)


def test_weights_without_a_card_name_the_way_out(student: Checkpoint, path: Path) -> None:
    _write(path, _tensors(student), None)
    with pytest.raises(CheckpointError, match="holds weights but no card of edgepress; commands with --arch read it"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("classifier.bias"), r"1 missing \(classifier.bias\), 0 unknown"),
        (lambda t: t.update(more=torch.zeros(1)), r"0 missing \(\), 1 unknown \(more\)"),
        (lambda t: t.clear(), r"\d+ missing"),
        (lambda t: t.update({"classifier.bias": torch.zeros(9)}), r"has shape \(9,\); the network needs \(10,\)"),
        (lambda t: t.update({"classifier.bias": torch.zeros(10, 1)}), r"has shape \(10, 1\)"),
        (lambda t: t["classifier.bias"].fill_(float("nan")), "classifier.bias holds NaN or infinite"),
        (lambda t: t["blocks.0.norm.running_var"][0].fill_(float("inf")), "running_var holds NaN or infinite"),
        (lambda t: t["blocks.0.norm.running_var"][0].fill_(-5.0), "running_var holds -5"),
        (
            lambda t: t.update({"classifier.bias": torch.full((10,), 1e300, dtype=torch.float64)}),
            "classifier.bias holds NaN or infinite",
        ),
        (
            lambda t: t.update({"classifier.bias": torch.full((10,), float("nan")).to(torch.float8_e4m3fn)}),
            "classifier.bias holds NaN or infinite",
        ),
        (lambda t: t.update({"classifier.bias": torch.zeros(10, dtype=torch.int64)}), "is of type torch.int64"),
        (lambda t: t.update({"blocks.0.norm.num_batches_tracked": torch.tensor(0.5)}), "is of type torch.float32"),
    ],
)
def test_weights_that_do_not_fit_the_card_are_refused(
    student: Checkpoint, path: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    tensors = _tensors(student)
    change(tensors)
    _write(path, tensors, student.card.to_json())
    with pytest.raises(CheckpointError, match=rf"network\.safetensors: .*{message}"):
        load(path)


def test_half_precision_weights_are_widened(student: Checkpoint, path: Path) -> None:
    tensors = {key: value.half() if value.is_floating_point() else value for key, value in _tensors(student).items()}
    _write(path, tensors, student.card.to_json())
    again = _tensors(load(path))
    assert again["classifier.weight"].dtype == torch.float32
    assert torch.equal(again["classifier.weight"], tensors["classifier.weight"].float())


def test_what_is_no_file_is_an_error(student: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "missing.safetensors")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_plain(tmp_path, "cnn-s", student.card.preprocessing)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_plain(tmp_path / "missing.pt", "cnn-s", student.card.preprocessing)


# paths and digests


def test_a_path_may_be_a_text(student: Checkpoint, path: Path) -> None:
    assert save(student, str(path)) == path
    assert _same(load(str(path)), student)


def test_the_digest_sees_names_types_shapes_and_values() -> None:
    def digest(**changes: Tensor) -> str:
        return tensors_digest({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3), **changes})

    others = [
        digest(a=torch.tensor([1.0, 2.5])),
        digest(a=torch.tensor([[1.0, 2.0]])),
        digest(a=torch.tensor([1.0, 2.0], dtype=torch.bfloat16)),
        digest(a=torch.tensor([1.0, 2.0]).view(torch.int32)),
        digest(c=torch.zeros(0)),
    ]
    assert len({digest(), *others}) == 6
    assert digest() == tensors_digest({"b": torch.tensor(3), "a": torch.tensor([[1.0], [2.0]]).flatten()})


def test_a_digest_is_that_of_the_network_in_the_file(student: Checkpoint, path: Path) -> None:
    save(student, path)
    again = load(path)
    assert again.card.weights == weights_digest(again.network.model) == weights_digest(student.network.model)
