"""What the doctor says of packages that are missing or broken, of kernels, and of a machine that is busy."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.doctor import CORE, OTHER_EXTRAS, broken, core, extras, fitness, formats, int8, look
from benchmarks.measure.floor import noise_floor
from benchmarks.noise import Floor
from benchmarks.verdict import Ratio
from compress.evidence import Record
from exports import FORMATS

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_SHELLS = {"typer", "rich", "protobuf"}  # without which no command starts; what onnx itself imports
GROUPS = {"formats", "test", "dev"}  # of extras, and for who works on edgepress

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a package of these lines that is found first, in place of one that is there."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, lines: str) -> None:
        for module in [one for one in sys.modules if one.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(lines, encoding="utf-8")

    yield make
    for name in (path.name for path in tmp_path.iterdir()):
        sys.modules.pop(name, None)


def test_a_package_is_ok_missing_or_broken_and_no_traceback(install: Install) -> None:
    assert (look("numpy").state, str(look("numpy")).startswith("numpy ")) == ("ok", True)
    assert str(look("no_such_package")) == "no_such_package is not installed"
    install("halved", "raise OSError('libhalf.so: cannot open\\nshared object')")
    assert str(look("halved")) == "halved is broken: OSError: libhalf.so: cannot open"
    install("lacking", "import no_such_package")
    assert look("lacking").reason == "ModuleNotFoundError: No module named 'no_such_package'"


def test_all_that_the_plain_install_brings_is_looked_at() -> None:
    named = {re.split(r"[><=]", one)[0].replace("-", "_") for one in PROJECT["dependencies"]} - OF_SHELLS
    assert {module.partition(".")[0].replace("PIL", "pillow") for module in CORE} == named
    assert [one for one in core() if one.state != "ok"] == []


def test_every_extra_is_looked_at() -> None:
    known = {form.extra for form in FORMATS.values() if form.extra} | OTHER_EXTRAS.keys()
    assert known == PROJECT["optional-dependencies"].keys() - GROUPS
    for extra, (module, _what) in OTHER_EXTRAS.items():
        assert PROJECT["optional-dependencies"][extra][0].partition(">")[0].replace("-", "_") == module


def test_formats_of_the_plain_install_work_and_others_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in FORMATS.values():
        for module in form.modules:
            monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]  # `import` fails
    found = {one.name: one for one in formats()}
    assert list(found) == list(FORMATS)
    for suffix, one in found.items():
        form = FORMATS[suffix]
        assert (one.works, one.verified) == (not form.extra, not form.extra)
        assert one.install == (f"pip install 'edgepress[{form.extra}]'" if form.extra else "")
        assert one.reason == "; ".join(f"{module} is not installed" for module in form.modules)
    assert broken([], list(found.values())) == []


def test_an_extra_that_is_installed_and_fails_is_broken(install: Install) -> None:
    install("ncnn", "raise RuntimeError('built for another Python')")
    install("pnnx", "")
    install("timm", "")
    found = next(one for one in formats() if one.name == ".ncnn")
    assert (found.works, found.verified) == (False, False)
    assert [one.state for one in found.packages] == ["broken", "ok"]
    said = "ncnn is broken: RuntimeError: built for another Python"
    assert found.reason == said
    assert broken([], [found]) == [f"{said}: pip install 'edgepress[ncnn]'"]
    timm = next(one for one in extras() if one.name == "timm")
    assert (timm.works, timm.install) == (True, "")
    assert broken([look("no_such_package")], []) == ["no_such_package is not installed: pip install edgepress"]


def test_core_ml_is_converted_and_not_verified(install: Install) -> None:
    install("coremltools", "")
    found = next(one for one in formats() if one.name == ".mlpackage")
    assert (found.works, found.verified, found.install) == (True, False, "")
    assert found.reason == "Core ML runs on macOS only"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["fma", "avx2", "avx512f", "avx512_vnni"], "avx512_vnni: sums of 8-bit products are exact"),
        (["fma", "avx2"], "no VNNI: "),
        (["asimd", "asimddp", "i8mm"], "asimddp, i8mm: sums"),
        (["asimd"], "no dot products"),
        ([], "does not tell"),
    ],
)
def test_instruction_sets_are_told_by_what_they_mean_for_int8(flags: list[str], said: str) -> None:
    assert said in int8(flags)


def machine(load: float | None) -> dict[str, Any]:
    return {"load_average": None if load is None else [load, 0.0, 0.0], "cores_usable": 2}


def floor(low: float, high: float, least: float) -> Floor:
    return Floor(Ratio(1.0, low, high, least), 6, 0.1)


@pytest.mark.parametrize(
    ("load", "measured", "fit", "words"),
    [
        (0.3, floor(0.99, 1.01, 0.02), True, "fit to measure: load 0.3 on 2 cores"),
        (0.3, None, True, "fit to measure: load 0.3 on 2 cores, timing left out"),
        (None, floor(0.99, 1.01, 0.02), True, "fit to measure: the system does not tell its load"),
        (5.2, floor(0.99, 1.01, 0.02), False, "too noisy to judge: load 5.2 on 2 cores"),
        (0.3, floor(0.9, 1.01, 0.02), False, "too noisy to judge: less than 11 % would not be seen"),
        (0.3, floor(0.99, 1.01, 0.07), False, "too noisy to judge: less than 7 % would not be seen"),
        (5.2, floor(0.9, 1.2, 0.2), False, "too noisy to judge: load 5.2 on 2 cores; less than 20 % would not be seen"),
    ],
)
def test_the_verdict_is_plain(load: float | None, measured: Floor | None, fit: bool, words: str) -> None:
    found = fitness(machine(load), measured)
    assert (found.fit, found.words) == (fit, words)


def test_one_file_is_timed_against_itself() -> None:
    found = noise_floor(sessions=3, rounds=3)
    assert found.ratio.low < found.ratio.value < found.ratio.high
    assert 0.5 < found.ratio.value < 2
    assert 0.005 < found.median_ms < 50
    assert found.most == pytest.approx(max(found.ratio.high, 1 / found.ratio.low) - 1)
    assert "was timed as if it were two, in 3 sessions each" in found.words
    own, least = (Record.from_dict(one.to_dict()) for one in found.records())
    assert (own.value, own.low, own.high, own.n) == (found.ratio.value, found.ratio.low, found.ratio.high, 3)
    assert least.value == 1 + found.ratio.least
    assert floor(0.98, 1.01, 0.035).words.endswith(
        "seemed up to 2 % slower than itself; so of two files a difference of less than 3.5 % may be noise"
    )
    assert floor(0.94, 1.01, 0.058).words.endswith(
        "seemed up to 6.4 % slower than itself; so of two files a difference of less than 6.4 % may be noise"
    )
