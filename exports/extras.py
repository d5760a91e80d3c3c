"""The libraries that the core install does not bring: imported when a format asks for them, and not before."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from compress.errors import MissingExtraError
from exports.quiet import STDERR, STDOUT, quiet, silent

_TELEMETRY = "openvino_telemetry"


def check_extra(extra: str, modules: tuple[str, ...]) -> None:
    """Nothing, once every module of an extra is installed; MissingExtraError otherwise. Nothing is imported.

    Args:
        extra: Of edgepress, which brings them; "" for none.
        modules: Their names, without dots.
    """
    for module in modules:
        if not _installed(module):
            raise _missing(extra, module, "is not installed")


def need(extra: str, module: str) -> ModuleType:
    """The module, imported in silence.

    Args:
        extra: Of edgepress, which brings it.
        module: Its dotted name.

    Raises:
        MissingExtraError: It is not installed, or cannot be imported; the message says how to install it.
    """
    package = module.partition(".")[0]
    check_extra(extra, (package,))
    try:
        with quiet(), silent(STDOUT, STDERR), untold():
            return import_module(module)
    except ImportError as error:
        raise _missing(extra, package, f"cannot be imported ({error!s:.200})") from error


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # it was imported, or kept from it, in a way that leaves no trace of where it lies
        return sys.modules.get(module) is not None


def _missing(extra: str, package: str, reason: str) -> MissingExtraError:
    return MissingExtraError(f"{package} {reason}: pip install 'edgepress[{extra}]'")


@contextmanager
def untold() -> Iterator[None]:
    """Inside the `with` nothing that is imported finds the package that tells Intel of it, as OpenVINO does.

    Nor are there more environment variables after it than before.
    """
    variables = dict(os.environ)
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == _TELEMETRY}
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # for which `import` raises ImportError
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]
        sys.modules.update(before)
        for name in os.environ.keys() - variables.keys():  # as ExecuTorch leaves one for OpenVINO
            del os.environ[name]
