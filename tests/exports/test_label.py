"""What the label of an exported file says of where it comes from."""

from __future__ import annotations

from exports.label import commands


def test_a_command_of_several_steps_is_told_once() -> None:
    train, quantize = "edgepress train cnn-s", "edgepress quantize s.safetensors --qat w4"
    lineage = [{"command": train}, {"command": quantize, "bits": 4}, {"seed": 0}, {"command": quantize, "seed": 0}]
    assert commands(lineage) == [train, quantize]
    assert commands([{"command": train}, {"command": quantize}, {"command": train}]) == [train, quantize, train]
    assert commands([{"seed": 0}]) == []
