"""What learns while a phase is at work, and in which mode; afterwards all is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from compress.phase import Phase
from compress.stages import Staged

NORMS = (nn.modules.batchnorm._BatchNorm,)


@contextmanager
def only_trained(student: Staged, train: tuple[str, ...] | None) -> Iterator[None]:
    """Inside the `with`, only the parameters of the stages in `train` want a gradient; afterwards all is as before."""
    before = {path: p.requires_grad for path, p in student.model.named_parameters()}
    for path, parameter in student.model.named_parameters():
        parameter.requires_grad_(train is None or student.owns(train, path))
    try:
        yield
    finally:
        for path, parameter in student.model.named_parameters():
            parameter.requires_grad_(before[path])
            parameter.grad = None


@contextmanager
def training_mode(student: Staged, phase: Phase) -> Iterator[None]:
    """Training mode inside the `with`; eval mode afterwards.

    But for batch-norm of fixed statistics (`Fit.fixed_statistics`) and that of frozen stages, which goes by
    `Phase.norms`.
    """
    student.model.train()
    train = phase.train if phase.norms == "as trained" else None
    for path, module in student.model.named_modules():
        frozen = train is not None and not student.owns(train, path)
        if isinstance(module, NORMS) and (frozen or phase.fit.fixed_statistics):
            module.eval()
    try:
        yield
    finally:
        student.model.eval()
