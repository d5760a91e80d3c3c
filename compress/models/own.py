"""Networks in files of the user's own: FILE.py:FACTORY."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from compress.code import CodeFile, factory_in, file_of, parts, said, where
from compress.errors import CompressError
from compress.models.source import Architecture
from compress.stages import Staged
from compress.text import with_article

KNOWN = ("classes", "channels", "size")  # what edgepress knows of a network, and a factory may ask for by name


def own(architecture: Architecture) -> Staged:
    """The network that a function in a file gives; its stages are still to be found.

    The function is called with those of `KNOWN` that it names, and with the options. `size` is (height, width).

    Raises:
        CompressError: The file was not named, or what it holds makes no network.
    """
    file = file_of(architecture.name, architecture.sha256)
    name = parts(architecture.name)[1]
    function = factory_in(file, name)
    arguments = _arguments(function, architecture, file, name)
    try:
        model = function(**arguments)
    except Exception as error:  # it may raise anything
        raise CompressError(f"{where(error, file)}: {name} fails: {said(error)}") from error
    _check(model, f"{file.path}: {name}")
    return Staged(model, ())


def _arguments(
    function: Callable[..., Any], architecture: Architecture, file: CodeFile, name: str
) -> Mapping[str, object]:
    """What the function is called with.

    Raises:
        CompressError: An option is not its own, or one is missing.
    """
    parameters = inspect.signature(function).parameters.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes = {one.name: one for one in parameters if one.kind in by_name}
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    known = {key: getattr(architecture, key) for key in KNOWN if key in takes}
    for option in architecture.options:
        if option in KNOWN:
            raise CompressError(
                f"{file.path}: {name} is given {option} by the data and --input; leave --arg {option} out"
            )
        if option not in takes and not open_ended:
            own = ", ".join(key for key in takes if key not in KNOWN) or "none"
            raise CompressError(f"{file.path}: {name} takes no argument {option!r}; besides {', '.join(KNOWN)}: {own}")
    given = {**known, **architecture.options}
    missing = [key for key, one in takes.items() if one.default is inspect.Parameter.empty and key not in given]
    if missing:
        raise CompressError(
            f"{file.path}: {name} also needs {', '.join(missing)}; add "
            + " ".join(f"--arg {key}=VALUE" for key in missing)
        )
    return given


def _check(model: object, what: str) -> None:
    """Nothing, once it is a network that can be trained and kept."""
    kind = with_article(type(model).__name__)
    if not isinstance(model, nn.Module):
        raise CompressError(f"{what} gives {kind}; it has to return the network, an nn.Module")
    if not any(True for _ in model.parameters()):
        raise CompressError(f"{what} gives {kind} without parameters; there is nothing to train")
    seen: dict[int, str] = {}
    for key, value in (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)):
        if seen.setdefault(id(value), key) != key:
            raise CompressError(
                f"{what} gives {kind} whose {seen[id(value)]} and {key} are one tensor, which no "
                "checkpoint can keep; register the module once and call it twice"
            )
