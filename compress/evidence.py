"""A number that can be checked, and what it rests on: the digest of the weights, the machine, the versions."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

FLAGS = ("fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "neon", "asimd", "asimddp", "i8mm", "sve")
PACKAGES = ("torch", "onnxruntime", "onnx", "numpy", "edgepress")
CPUINFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


@dataclass(frozen=True)
class Record:
    """A number one can check, or why there is none.

    Attributes:
        quantity: What was measured or checked, e.g. "size" or "parity".
        value: The number; a text where it is none; None where it could not be had.
        low: The least it may be, or is likely to be; None where nothing bounds it.
        high: The most, likewise.
        n: How many samples it rests on; None where it is not an estimate.
        unit: Of the value.
        sha256: Digest of the file that it is about.
        command: What gave it.
        seed: Of what was random in it; None where nothing was.
        environment: The machine and the versions, as far as they bear on it.
        reason: Why it failed; "" if it did not.
    """

    quantity: str
    value: float | str | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    sha256: str = ""
    command: str = ""
    seed: int | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-able data; `from_dict` reads it back."""
        return {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record that `to_dict` wrote.

        Raises:
            ValueError: A part is missing, unknown or of another type.
        """
        if data.keys() != _PARTS.keys():
            raise ValueError(f"a record has {', '.join(_PARTS)}; got {', '.join(map(str, data))}")
        for name, kinds in _PARTS.items():
            if not isinstance(data[name], kinds) or isinstance(data[name], bool):
                raise ValueError(f"{name} of a record is {data[name]!r:.80}")
        return cls(**data)


_NUMBER = (int, float, type(None))
_WHOLE = (int, type(None))
_PARTS: Mapping[str, tuple[type, ...]] = {
    "quantity": (str,),
    "value": (*_NUMBER, str),
    "low": _NUMBER,
    "high": _NUMBER,
    "n": _WHOLE,
    "unit": (str,),
    "sha256": (str,),
    "command": (str,),
    "seed": _WHOLE,
    "environment": (Mapping,),
    "reason": (str,),
}


def metric_records(metrics: Mapping[str, float], count: int | None) -> Iterator[Record]:
    """A record for every metric of a task, with its interval where there is one.

    Args:
        metrics: By name, as shares; the ends of an interval are named after it ("_low", "_high").
        count: How many samples they were counted on; None where that is not known.
    """
    for name, value in metrics.items():
        if not name.endswith(("_low", "_high")):
            low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
            yield Record(name, value, low, high, n=count, unit="share")


def file_digest(path: Path) -> str:
    """The hexadecimal SHA-256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(model: nn.Module) -> str:
    """The hexadecimal SHA-256 of every parameter and buffer: name, type, shape and bytes, in the order of the names."""
    return tensors_digest(model.state_dict())


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """The `weights_digest` of a network whose state these tensors are."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def versions() -> dict[str, str | None]:
    """The versions that a trained network depends on."""
    return {"edgepress": version_of("edgepress"), "torch": version_of("torch"), "python": platform.python_version()}


def describe() -> dict[str, Any]:
    """The machine as JSON-able data; what the system does not tell is None.

    Keys: `cpu` (model), `flags` (of those that decide which kernels run), `cores_physical`, `cores_logical`,
    `cores_usable` (of this process), `load_average` (1, 5 and 15 minutes), `governor`, `os`, `python` and one version
    each for torch, onnxruntime, onnx, numpy and edgepress (None: not installed as a package).
    """
    processors = _processors(CPUINFO.read_text()) if CPUINFO.is_file() else []
    first = processors[0] if processors else {}
    present = set((first.get("flags") or first.get("Features") or "").split())
    return {
        "cpu": first.get("model name") or platform.processor() or platform.machine() or None,
        "flags": [flag for flag in FLAGS if flag in present],
        "cores_physical": _physical(processors),
        "cores_logical": os.cpu_count(),
        "cores_usable": usable_cores(),
        "load_average": load_average(),
        "governor": GOVERNOR.read_text().strip() if GOVERNOR.is_file() else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        **{package: version_of(package) for package in PACKAGES},
    }


def usable_cores() -> int:
    """The number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_average() -> list[float] | None:
    """The load average over 1, 5 and 15 minutes, or None where the system keeps none."""
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except OSError:
        return None


def load_warning(description: dict[str, Any]) -> str | None:
    """A sentence if more work was waiting than there are cores, else None.

    Args:
        description: What `describe` gave before the measurement began.
    """
    load, cores = description["load_average"], description["cores_usable"]
    if load is None or load[0] <= cores:
        return None
    return (
        f"the load average was {load[0]:.1f} on {cores} cores: other work ran meanwhile; it holds up a large network "
        "more than a small one, so measure at rest"
    )


def _processors(cpuinfo: str) -> list[dict[str, str]]:
    blocks = (block for block in cpuinfo.split("\n\n") if block.strip())
    return [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        for block in blocks
    ]


def _physical(processors: list[dict[str, str]]) -> int | None:
    cores = {(one["physical id"], one["core id"]) for one in processors if "physical id" in one and "core id" in one}
    return len(cores) or None


def version_of(package: str) -> str | None:
    """Of an installed package; None where there is none of that name."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
