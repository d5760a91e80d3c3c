"""What structured pruning promises, on the families of networks that people take to small devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.studies.contract import PROMISES, tried
from benchmarks.studies.families import NETWORKS, OF_TIMM, OWN, row
from benchmarks.studies.untrained import untrained
from compress.models import TIMM

FAST = (OWN,)
SMALL = ("squeezenet1_1", "torchvision:resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "unet-resnet10")
QUICK = {name: keep for name, keep in PROMISES.items() if name not in ("onnx", "taught")}  # which take seconds each
BY_STATISTICS = {f"{TIMM}efficientvit_b0", f"{TIMM}mobilevit_xxs"}  # torch.fx cannot follow them
BROKEN = {f"{TIMM}fasternet_t0": {"fit"}}  # on few images of noise its fitted layers come no nearer to the whole
REFUSED = {f"{TIMM}levit_128s": "out of 2 layers at once"}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:timm.*", "ignore::FutureWarning:timm.*")


def _marks(name: str) -> list[pytest.MarkDecorator]:
    slow = [] if name in FAST else [pytest.mark.slow]
    return [*slow, pytest.mark.extra("timm")] if name in OF_TIMM else slow


@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in NETWORKS if name not in REFUSED])
def test_a_family_keeps_what_pruning_promises(name: str) -> None:
    made = row(name)
    assert set(made["broken"]) == BROKEN.get(name, set())
    (before, after), (cut, layers) = made["macs"], made["layers"]
    assert after < before
    assert 0 < cut <= layers
    assert made["again"][0] < after
    assert name in BROKEN or (made["fit"]["why_not"] != "") == (name in BY_STATISTICS)


@pytest.mark.parametrize("name", SMALL)
def test_a_family_keeps_what_takes_no_export_on_small_images(name: str, tmp_path: Path) -> None:
    made = tried(untrained(name, (32, 32)), tmp_path, QUICK)
    assert made["broken"] == {}
    assert made["again"][0] < made["macs"][1] < made["macs"][0]
    assert made["fit"]["why_not"] == ""


@pytest.mark.extra("timm")
@pytest.mark.parametrize("name", REFUSED)
def test_a_family_that_is_refused_says_why_and_what_to_do(name: str) -> None:
    (reason,) = row(name)["broken"].values()
    assert REFUSED[name] in reason
    assert "--stage embedding=MODULE" in reason
