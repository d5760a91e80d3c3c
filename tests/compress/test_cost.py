from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compress.cost import MacCounter
from compress.models import Architecture, build

ROOT = Path(__file__).parents[2]


def test_a_convolution_and_a_product_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, groups=1, bias=False), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    with torch.no_grad(), MacCounter() as counter:
        model(torch.zeros(2, 3, 8, 8))
    assert counter.macs == 2 * (6 * 6 * 4 * 3 * 3 * 3) + 2 * (4 * 6 * 6 * 5)


@pytest.mark.parametrize(
    "name", ["cnn-s", "resnet10", "unet-resnet10", "mobilenet_v3_small", "vit_b_16", "swin_t", "squeezenet1_1"]
)
def test_it_counts_what_torch_counts(name: str) -> None:
    model = build(Architecture(name, 10, 3, (32, 32))).model.eval()
    image = torch.zeros(1, 3, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as reference:
        model(image)
    with torch.no_grad(), MacCounter() as counter:
        model(image)
    assert counter.macs == reference.get_total_flops() // 2 > 0


def test_the_compiler_stays_away() -> None:
    code = (
        "import sys, torch; from compress.cost import MacCounter\n"
        "with torch.no_grad(), MacCounter(): torch.nn.Linear(2, 2)(torch.zeros(1, 2))\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
