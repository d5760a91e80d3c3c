"""Files of Python code that the user named, and what is run of them: nothing that was not named is ever run."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.errors import CheckpointError, CompressError, unknown_name
from compress.text import with_article

SUFFIX = ".py"
SHOWN = 12  # digits of a digest

_OWN = re.compile(r"(?P<file>.+\.py):(?P<factory>.*)", re.DOTALL)


@dataclass(frozen=True)
class CodeFile:
    """A file of Python code.

    Attributes:
        path: Where it is, as it was named.
        content: Its bytes, read once: what is run is what was digested.
    """

    path: Path
    content: bytes

    @cached_property
    def sha256(self) -> str:
        """The hexadecimal digest of its bytes."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class _Named:
    files: tuple[CodeFile, ...] = ()
    edited: bool = False


_NOTHING = _Named()
_named = ContextVar("_named", default=_NOTHING)
_modules: dict[tuple[Path, str], ModuleType] = {}  # of a path and a digest; each is run once a process


def is_own(name: str) -> bool:
    """Whether a network is named as FILE.py:FACTORY."""
    return _OWN.fullmatch(name) is not None


def parts(name: str) -> tuple[str, str]:
    """FILE.py and FACTORY of the name of an own network.

    Raises:
        CompressError: The factory is no name of Python's.
    """
    found = _OWN.fullmatch(name)
    assert found is not None
    file, factory = found["file"], found["factory"]
    if not factory.isidentifier():
        raise CompressError(f"network {name!r}: {factory!r} is no name of a function; give it as FILE.py:FACTORY")
    return file, factory


def short(name: str) -> str:
    """The name of an own network without the folder of its file, as cards keep it."""
    file, factory = parts(name)
    return f"{Path(file).name}:{factory}"


@contextmanager
def naming(paths: Iterable[Path | str] = (), *, edited: bool = False) -> Iterator[None]:
    """A `with` inside which checkpoints of networks in these files may be opened; no file is run for its name alone.

    Args:
        paths: Files of Python code.
        edited: A file may have been edited since a checkpoint of its network was written.

    Raises:
        CompressError: A file is missing or cannot be read.
    """
    before = _named.set(_Named((*_named.get().files, *map(_read, paths)), edited))
    try:
        yield
    finally:
        _named.reset(before)


def name_file(path: Path | str) -> CodeFile:
    """The file, which counts as named from here on; CompressError where it is missing or cannot be read."""
    file, named = _read(path), _named.get()
    _named.set(_Named((*named.files, file), named.edited))
    return file


def named_files() -> tuple[CodeFile, ...]:
    """The files that were named."""
    return _named.get().files


def takes_edited() -> bool:
    """Whether a named file may have been edited since a checkpoint was written."""
    return _named.get().edited


def file_of(name: str, sha256: str) -> CodeFile:
    """The named file that a card asks for.

    Args:
        name: Of its network, such as "my_model.py:build".
        sha256: Of the file as it was when the card was written.

    Raises:
        CheckpointError: It was not named, or is another one by now.
    """
    wanted, named = Path(parts(name)[0]).name, _named.get()
    for file in named.files:
        if file.sha256 == sha256:
            return file
    alike = [file for file in named.files if file.path.name == wanted]
    if alike and named.edited:
        return alike[-1]
    if alike:
        raise CheckpointError(
            f"its network is {name} of a file with sha256 {sha256[:SHOWN]}...; {alike[-1].path} has "
            f"{alike[-1].sha256[:SHOWN]}...: it was edited since. Give the file as it was, or add --edited if the "
            "network in it is still the same"
        )
    other = f"; {', '.join(str(file.path) for file in named.files)} is another file" if named.files else ""
    raise CheckpointError(
        f"its network is {name}, and a file of code is only run when this command names it{other}; add "
        f"--code {wanted} (the file has sha256 {sha256[:SHOWN]}...)"
    )


def factory_in(file: CodeFile, name: str) -> Callable[..., Any]:
    """The function of that name in a file, which is run for it.

    Raises:
        CompressError: The file cannot be run, or has no such function.
    """
    module = _modules.get((file.path.resolve(), file.sha256)) or _run(file)
    made = vars(module).get(name)
    if made is None:
        own = {key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
        raise CompressError(f"{file.path}: {unknown_name('function', name, {key for key in own if key[0] != '_'})}")
    if not callable(made) or (hasattr(made, "state_dict") and not isinstance(made, type)):
        raise CompressError(
            f"{file.path}: {name} is {with_article(type(made).__name__)}, not a function; "
            "give one that returns the network"
        )
    function: Callable[..., Any] = made
    return function


def _run(file: CodeFile) -> ModuleType:
    """The file as a module; what lies beside it can be imported as from a script."""
    path = file.path.resolve()
    module = ModuleType(f"edgepress_own_{file.sha256[:SHOWN]}_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(path.parent))
    try:
        exec(compile(file.content, str(path), "exec"), vars(module))
    except BaseException as error:
        del sys.modules[module.__name__]
        if isinstance(error, SyntaxError):
            raise CompressError(f"{file.path}, line {error.lineno}: is no Python code: {error.msg}") from error
        if isinstance(error, Exception | SystemExit):
            raise CompressError(f"{where(error, file)}: {said(error)}") from error
        raise
    finally:
        sys.path.remove(str(path.parent))
    _modules[path, file.sha256] = module
    return module


def said(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first:.200}" if first else type(error).__name__


def where(error: BaseException, file: CodeFile) -> str:
    """The file, and the line in it that an error came from."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(file.path.resolve()) else line
        trace = trace.tb_next
    return f"{file.path}, line {line}" if line else str(file.path)


def _read(path: Path | str) -> CodeFile:
    path = Path(path)
    if path.suffix != SUFFIX:
        raise CompressError(f"{path} is no file of Python code; give one that ends in {SUFFIX}")
    try:
        return CodeFile(path, path.read_bytes())
    except FileNotFoundError as error:
        raise CompressError(f"{path} does not exist; give the file of Python code that makes the network") from error
    except OSError as error:
        raise CompressError(f"{path}: cannot be read: {error.strerror or error}") from error
