"""What this machine can export, run and measure: packages that import, formats, extras, kernels, its noise floor.

Nothing heavy is imported before it is looked at: a package that is broken is a row here, and no traceback.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from compress import evidence

if TYPE_CHECKING:
    from benchmarks.noise import Floor

State = Literal["ok", "missing", "broken"]

CORE = (
    *("numpy", "PIL", "torch", "torchvision", "safetensors", "accelerate", "torch_pruning", "huggingface_hub"),
    *("onnx", "onnxscript", "onnxruntime", "ai_edge_litert.interpreter", "flatbuffers"),
)
RUNTIMES = {".onnx": ("onnxruntime",), ".tflite": ("ai_edge_litert.interpreter",)}  # of formats that need no extra
IMPORTED = {"executorch": "executorch.runtime"}  # of an extra's module what loads its native code
DISTRIBUTIONS = {"PIL": "pillow"}
ENOUGH = 0.05  # what a machine that is fit to measure sees

OTHER_EXTRAS: Mapping[str, tuple[str, str]] = {
    "litert": ("litert_torch", "writes .tflite of networks with operators that edgepress does not know"),
    "timm": ("timm", "networks and weights of timm"),
    "plots": ("matplotlib", "pictures of compare and study"),
}
_X86 = ("fma", "avx2", "avx512f")
_VNNI = ("avx_vnni", "avx512_vnni", "amx_int8")
_ARM_DOT = ("asimddp", "i8mm")


@dataclass(frozen=True)
class Package:
    """A package that edgepress uses.

    Attributes:
        module: What is imported.
        version: Of what is installed; None where it does not tell.
        state: "ok": it was imported; "missing": it is not installed; "broken": it is, and cannot be imported.
        reason: Why it is broken; "" otherwise.
    """

    module: str
    version: str | None
    state: State
    reason: str = ""

    def __str__(self) -> str:
        name = f"{self.module.partition('.')[0]} {self.version or ''}".strip()
        return {"ok": name, "missing": f"{name} is not installed"}.get(self.state, f"{name} is broken: {self.reason}")


@dataclass(frozen=True)
class Ability:
    """What this machine can do with a format, or with an extra that is none.

    Attributes:
        name: Suffix of the format, or name of the extra.
        what: What runs the format, or what the extra is for.
        packages: What it needs.
        works: Whether it can be used: of a format, whether files can be written.
        verified: Of a format, whether its files can be run, and so verified, here; None of an extra.
        reason: Why not; "" where it is.
        install: What to type for what is missing; "" where nothing is.
    """

    name: str
    what: str
    packages: tuple[Package, ...]
    works: bool
    verified: bool | None
    reason: str
    install: str


@dataclass(frozen=True)
class Fitness:
    """Whether times that are measured here can be judged, and why."""

    fit: bool
    words: str


@dataclass(frozen=True)
class Examination:
    """What was found of this machine.

    Attributes:
        machine: What `compress.evidence.describe` gave, and `int8` in words.
        packages: What the plain install brings.
        formats: Empty where not all of these packages are ok; so are the next two.
        extras: Of edgepress, that bring no format of their own.
        sets: Known data sets, and where they lie on this machine.
        floor: The noise floor; None where it was not measured.
        fitness: To measure.
        broken: What does not work though it is installed, or must be, a sentence each.
    """

    machine: Mapping[str, Any]
    packages: Sequence[Package]
    formats: Sequence[Ability]
    extras: Sequence[Ability]
    sets: Mapping[str, Path | None]
    floor: Floor | None
    fitness: Fitness
    broken: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data but for the paths; the noise floor is left to its records."""
        return {
            "machine": dict(self.machine),
            "packages": [asdict(one) for one in self.packages],
            "formats": [asdict(one) for one in self.formats],
            "extras": [asdict(one) for one in self.extras],
            "data": dict(self.sets),
            "noise": None if self.floor is None else self.floor.words,
            "verdict": asdict(self.fitness),
            "broken": list(self.broken),
        }


def examine(*, timing: bool = True, say: Callable[[str], None] = lambda _text: None) -> Examination:
    """All that is found of this machine.

    Args:
        timing: Measure the noise floor, which takes about 3 s.
        say: Is told what is being done.
    """
    machine = evidence.describe()  # before anything else makes a load of its own
    say("importing what is installed")
    packages = core()
    whole = all(one.state == "ok" for one in packages)
    able, other = (formats(), extras()) if whole else ([], [])
    say("timing a file against itself")
    floor = _floor() if timing and whole else None
    return Examination(
        machine=machine | {"int8": int8(machine["flags"])},
        packages=packages,
        formats=able,
        extras=other,
        sets=_sets() if whole else {},
        floor=floor,
        fitness=fitness(machine, floor),
        broken=broken(packages, [*able, *other]),
    )


def _floor() -> Floor:
    from benchmarks.measure.floor import noise_floor

    return noise_floor()


def _sets() -> dict[str, Path | None]:
    from compress.data import status

    return {one.name: one.path for one in status()}


def look(module: str) -> Package:
    """What there is of a package, once it was imported."""
    package = module.partition(".")[0]
    try:
        found = find_spec(package) is not None
    except ValueError:  # it was kept from being imported
        found = False
    if not found:
        return Package(module, None, "missing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(module)
    except Exception as error:  # a broken package raises almost anything
        return Package(module, _version(package), "broken", _short(error))
    return Package(module, _version(package), "ok")


def core() -> list[Package]:
    """What the plain install brings; without all of it edgepress does not work."""
    return [look(module) for module in CORE]


def formats() -> list[Ability]:
    """Every format of `exports.FORMATS`; to be asked only where all of `core` is ok, for that is what it imports."""
    from exports import FORMATS

    found = []
    for suffix, form in FORMATS.items():
        packages = _of_extra(form.extra, form.modules) if form.extra else [look(one) for one in RUNTIMES[suffix]]
        working = all(one.state == "ok" for one in packages)
        reason = form.unverified if working else _reasons(packages)
        install = _install(form.extra, packages)
        found.append(Ability(suffix, form.runtime, tuple(packages), working, working and not reason, reason, install))
    return found


def extras() -> list[Ability]:
    """Every extra that brings no format of its own; to be asked only where all of `core` is ok."""
    found = []
    for extra, (module, what) in OTHER_EXTRAS.items():
        packages = _of_extra(extra, (module,))
        reason, install = _reasons(packages), _install(extra, packages)
        found.append(Ability(extra, what, tuple(packages), not reason, None, reason, install))
    return found


def broken(packages: Sequence[Package], abilities: Sequence[Ability]) -> list[str]:
    """What does not work though it is installed, or must be, a sentence each."""
    lacking = [f"{one}: pip install edgepress" for one in packages if one.state != "ok"]
    parts = [(ability, one) for ability in abilities for one in ability.packages if one.state == "broken"]
    return lacking + [f"{one}: {ability.install}" for ability, one in parts]


def int8(flags: Sequence[str]) -> str:
    """What the instruction sets mean for whole numbers, in words.

    Args:
        flags: Of `compress.evidence.describe`.
    """
    present = [flag for flag in flags if flag in (*_VNNI, *_ARM_DOT)]
    if present:
        return f"{', '.join(present)}: sums of 8-bit products are exact, and take one instruction"
    if any(flag in flags for flag in _X86):
        return (
            "no VNNI: a sum of two 8-bit products saturates at 16 bits, unless weights have 7 as `quantize --scheme "
            "static` gives them without --full-range; int8 is slower here than on a CPU with VNNI"
        )
    if any(flag in flags for flag in ("neon", "asimd")):
        return "no dot products (asimddp): int8 is slower here than on a CPU that has them"
    return "the system does not tell which instructions the CPU has"


def fitness(machine: Mapping[str, Any], floor: Floor | None) -> Fitness:
    """Whether times that are measured now can be judged.

    Args:
        machine: What `compress.evidence.describe` gave before anything was imported.
        floor: The noise floor; None where it was not measured.
    """
    load, cores = machine["load_average"], machine["cores_usable"]
    doubts = []
    if load is not None and load[0] > cores:
        doubts.append(f"load {load[0]:.1f} on {cores} cores")
    if floor is not None and max(floor.most, floor.ratio.least) > ENOUGH:
        doubts.append(f"less than {100 * max(floor.most, floor.ratio.least):.2g} % would not be seen")
    if doubts:
        return Fitness(False, f"too noisy to judge: {'; '.join(doubts)}")
    told = "the system does not tell its load" if load is None else f"load {load[0]:.1f} on {cores} cores"
    return Fitness(True, f"fit to measure: {told}{', timing left out' if floor is None else ''}")


def _of_extra(extra: str, modules: tuple[str, ...]) -> list[Package]:
    """The packages of an extra, imported in silence."""
    from compress.errors import MissingExtraError
    from exports.extras import check_extra, need

    found = []
    for module in modules:
        try:
            check_extra(extra, (module,))
        except MissingExtraError:
            found.append(Package(module, None, "missing"))
            continue
        try:
            need(extra, IMPORTED.get(module, module))
            found.append(Package(module, _version(module), "ok"))
        except Exception as error:  # a broken package raises almost anything
            found.append(Package(module, _version(module), "broken", _short(error.__cause__ or error)))
    return found


def _reasons(packages: Sequence[Package]) -> str:
    return "; ".join(str(one) for one in packages if one.state != "ok")


def _install(extra: str, packages: Sequence[Package]) -> str:
    if all(one.state == "ok" for one in packages):
        return ""
    return f"pip install 'edgepress[{extra}]'" if extra else "pip install edgepress"


def _version(package: str) -> str | None:
    try:
        return version(DISTRIBUTIONS.get(package, package))
    except PackageNotFoundError:
        return None


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]:.200}" if lines else type(error).__name__
