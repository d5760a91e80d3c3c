"""The floor plan and the house rules that can be read off the source."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import compress
from compress.card import Card
from compress.checkpoint import Checkpoint, load, save
from compress.data import load as load_data
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing

ROOT = Path(__file__).parents[1]
FLOORS = ("compress", "exports", "benchmarks", "cli")
LEAVES = {
    "compress.errors": (),
    "compress.edits": (),
    "compress.evidence": (),
    "compress.losses": (),
    "compress.intervals": (),
    "compress.metrics": (),
    "compress.preprocessing": (),
    "compress.soundness": ("compress.errors",),
    "compress.stage": (),
    "compress.stages": ("compress.errors", "compress.preprocessing", "compress.stage"),
    "compress.task_names": (),
}
HEAVY = ("torch", "rich", "numpy")
FOR_OTHER_NETWORKS = ("torchvision", "torch._dynamo", "torch_pruning", "accelerate", "onnx")
UNPICKLERS = ("pickle.load", "pickle.loads", "pickle.Unpickler")
MOST_LINES_A_FILE = 400
MOST_LINES_A_FUNCTION = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef
Imports = dict[str, set[str]]


def _sources(root: Path) -> Iterator[Path]:
    for floor in FLOORS:
        yield from sorted((root / floor).rglob("*.py"))


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imported(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that is imported; `from a import b` gives a and a.b, a relative one starts with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _own_imports(root: Path) -> Imports:
    """Module to the own modules that it imports."""
    trees = {_module(path, root): _tree(path) for path in _sources(root)}
    return {module: {name for name in _imported(tree) if name in trees} for module, tree in trees.items()}


def _arrows_back(imports: Imports) -> list[str]:
    floor = {module: FLOORS.index(module.split(".")[0]) for module in imports}
    return [f"{a} -> {b}" for a, names in imports.items() for b in sorted(names) if floor[b] > floor[a]]


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _stray_leaves(imports: Imports) -> list[str]:
    return [
        f"{module} -> {name}"
        for leaf, allowed in LEAVES.items()
        for module, names in imports.items()
        if _within(module, (leaf,))
        for name in sorted(names)
        if not _within(name, (leaf, *allowed))
    ]


def _reached(module: str, imports: Imports) -> set[str]:
    seen: set[str] = set()
    ahead = [module]
    while ahead:
        new = imports[ahead.pop()] - seen
        seen |= new
        ahead += new
    return seen


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    return ((ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def _is_safe(load: ast.Call) -> bool:
    return any(key.arg == "weights_only" and ast.unparse(key.value) == "True" for key in load.keywords)


def _long_functions(tree: ast.Module, most: int) -> list[str]:
    """Functions whose body is long; the options of a command do not count."""
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    return [
        f"{node.name}:{node.lineno}" for node in functions if (node.end_lineno or 0) - node.body[0].lineno + 1 >= most
    ]


def _broken_rules(tree: ast.Module) -> list[str]:
    calls = list(_calls(tree))
    broken = [f"print:{node.lineno}" for name, node in calls if name == "print"]
    broken += [f"torch.load:{node.lineno}" for name, node in calls if name == "torch.load" and not _is_safe(node)]
    attributes = (ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    broken += [f"{name} is used" for name in (*_imported(tree), *attributes) if name in UNPICKLERS]
    broken += [f"relative import {name}" for name in _imported(tree) if name.startswith(".")]
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return broken + [f"bare except:{node.lineno}" for node in handlers if node.type is None]


@pytest.fixture(scope="module")
def imports() -> Imports:
    return _own_imports(ROOT)


def test_imports_run_down_the_floors(imports: Imports) -> None:
    assert len(imports) > 50
    assert any(name.startswith("compress") for name in imports["cli.distill"])
    assert _arrows_back(imports) == []


def test_leaves_import_nothing_else(imports: Imports) -> None:
    assert all(any(_within(module, (leaf,)) for module in imports) for leaf in LEAVES)
    assert _stray_leaves(imports) == []


def test_recipes_and_engine_do_not_know_each_other(imports: Imports) -> None:
    assert "compress.phase" in _reached("compress.recipes", imports) & _reached("compress.training.engine", imports)
    assert "compress.training.engine" not in _reached("compress.recipes", imports)
    assert "compress.recipes" not in _reached("compress.training.engine", imports)


def test_whole_jobs_are_the_command_lines_alone(imports: Imports) -> None:
    users = {module for module, names in imports.items() if "compress.jobs" in names and module != "compress"}
    assert users
    assert all(_within(module, ("cli", "benchmarks.studies")) for module in users)


def test_nothing_imports_the_tests() -> None:
    roots = {name.split(".")[0] for path in _sources(ROOT) for name in _imported(_tree(path))}
    assert "torch" in roots
    assert not roots & {"tests", "conftest", "pytest"}


def test_an_arrow_that_runs_back_is_seen(tmp_path: Path) -> None:
    for floor in FLOORS:
        (tmp_path / floor).mkdir()
    (tmp_path / "cli/main.py").write_text("import compress.losses\n")
    (tmp_path / "compress/losses.py").write_text(
        "def f():\n    from exports import to_onnx\n    import compress.phase\n"
    )
    (tmp_path / "compress/phase.py").write_text("")
    (tmp_path / "exports/to_onnx.py").write_text("")
    imports = _own_imports(tmp_path)
    assert _arrows_back(imports) == ["compress.losses -> exports.to_onnx"]
    assert _stray_leaves(imports) == ["compress.losses -> compress.phase", "compress.losses -> exports.to_onnx"]
    assert _reached("cli.main", imports) == {"compress.losses", "compress.phase", "exports.to_onnx"}


@pytest.mark.parametrize("floor", FLOORS)
def test_house_rules_hold(floor: str) -> None:
    broken = {str(path): found for path in (ROOT / floor).rglob("*.py") if (found := _broken_rules(_tree(path)))}
    assert broken == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("print('x')", ["print:1"]),
        ("torch.load(f)", ["torch.load:1"]),
        ("torch.load(f, weights_only=False)", ["torch.load:1"]),
        ("torch.load(f, weights_only=True)", []),
        ("try:\n    f()\nexcept:\n    g()", ["bare except:3"]),
        ("from pickle import loads", ["pickle.loads is used"]),
        ("import pickle\npickle.Unpickler(f)", ["pickle.Unpickler is used"]),
        ("from . import stages", ["relative import .", "relative import ..stages"]),
    ],
)
def test_a_broken_rule_is_seen(source: str, found: list[str]) -> None:
    assert _broken_rules(ast.parse(source)) == found


def test_files_and_functions_are_short() -> None:
    long_files = [str(path) for path in _sources(ROOT) if len(path.read_text("utf-8").splitlines()) > MOST_LINES_A_FILE]
    long_functions = [
        f"{path}:{name}" for path in _sources(ROOT) for name in _long_functions(_tree(path), MOST_LINES_A_FUNCTION)
    ]
    assert long_files == []
    assert long_functions == []


def test_a_long_function_is_seen() -> None:
    tree = ast.parse("def f():\n" + "    x = 1\n" * 3)
    assert _long_functions(tree, 3) == ["f:1"]
    assert _long_functions(tree, 4) == []


def test_files_say_what_they_hold() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    sources = [*_sources(ROOT), *(ROOT / "tests").rglob("*.py")]
    named = [str(path) for path in sources if path.stem in vague or path.parent.name in vague]
    assert named == []


def test_packages_of_the_project_are_those_on_disk() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    on_disk = {".".join(path.parent.relative_to(ROOT).parts) for path in _sources(ROOT)}
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(on_disk)
    assert all((ROOT / package.replace(".", "/") / "__init__.py").exists() for package in on_disk)


def test_test_files_have_their_own_names_and_are_no_package() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert names["test_architecture.py"] == 1
    assert "__init__.py" not in names
    assert [name for name, count in names.items() if count > 1 and name != "conftest.py"] == []


def _loaded(script: str, *arguments: str) -> set[str]:
    """The modules that are loaded once a script has run in a Python of its own."""
    whole = f"import sys\n{script}\nprint(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", whole, *arguments]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr.split())


def test_the_command_line_starts_without_heavy_imports() -> None:
    loaded = _loaded("import cli.main")
    assert {"cli.main", "typer"} <= loaded
    assert not loaded & set(HEAVY)


def test_the_library_starts_without_heavy_imports() -> None:
    loaded = _loaded("import compress\ncompress.__version__, dir(compress)")
    assert "compress" in loaded
    assert not loaded & set(HEAVY)


def test_a_network_of_our_own_costs_nothing_for_others(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    architecture = Architecture("cnn-s", 3, 1, (24, 24), {"width": 2})
    see = Preprocessing((24, 24), 1, (0.5,), (0.5,))
    save(Checkpoint(build(architecture), Card(architecture, see, ("a", "b", "c"))), path)
    read = "from compress import load\nfrom compress.stages import feature_shapes\nfrom compress.checkpoint import *\n"
    read += "made = load(sys.argv[1])\nfeature_shapes(made.network, blank_image(made.card))"
    loaded = _loaded(read, str(path))
    assert "compress.checkpoint" in loaded
    assert not loaded & set(FOR_OTHER_NETWORKS)


# the menu


def test_everything_on_the_menu_is_there() -> None:
    assert sorted(compress.__all__) == sorted([*compress._HOMES, "__version__"])
    for name in compress.__all__:
        assert getattr(compress, name) is not None
    assert compress.load is load
    assert compress.load_data is load_data
    assert set(compress.__all__) <= set(dir(compress))


def test_the_menu_is_typed_as_it_is_served() -> None:
    """What type checkers are told comes from where it is loaded from."""
    block = next(node for node in _tree(ROOT / "compress/__init__.py").body if isinstance(node, ast.If))
    told = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: home.partition(":") for name, home in compress._HOMES.items()}
    assert told == {name: (home, own or name) for name, (home, _, own) in homes.items()}


def test_what_is_not_on_the_menu_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'compress' has no attribute 'laod'"):
        compress.laod  # noqa: B018


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "compress.__version__"}
