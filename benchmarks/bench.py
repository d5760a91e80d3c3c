"""Files held against one of them: size, quality and latency, side by side, each in the runtime of its format."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contender import (
    AS_THE_DATA_SAY,
    Contender,
    check_file,
    check_there,
    digest_of,
    named,
    open_contender,
)
from benchmarks.costs import cost_records
from benchmarks.derive import derive, told_noise, told_verdicts
from benchmarks.document import SCHEMA
from benchmarks.measure.pinned import check_cpus
from benchmarks.protocol import USUAL, Protocol
from benchmarks.raw import Raw, Said, Segmented
from benchmarks.timing import Timed, check_batch, sessions_of, timed
from compress import evidence
from compress.data import DataOptions
from compress.errors import CheckpointError, DataError, ExportError, GateError, MissingExtraError, UnfitDataError
from compress.evidence import Record
from compress.named import Named
from compress.task_names import HEADLINES
from exports import format_of

SEEN = ("size", "mean", "std", "resize", "crop")  # of what a file that says nothing of it was told
# one of several files may fail so
UNMEASURED = (CheckpointError, ExportError, GateError, MissingExtraError, UnfitDataError)


@dataclass(frozen=True)
class Measured:
    """What a file was found to be.

    Attributes:
        contender: The file, opened.
        raw: Every time, and all that it said of the test split.
        failed: Records of what could not be measured of it, with the reasons.
    """

    contender: Contender
    raw: Raw
    failed: list[Record]


@dataclass(frozen=True)
class Comparison:
    """A benchmark.

    Attributes:
        document: See `benchmarks.document`.
        measured: By the place of the file in it, those that could be.
    """

    document: dict[str, Any]
    measured: dict[int, Measured]


def compare(
    files: Sequence[Named | Path | str],
    *,
    baseline: int | None = None,
    data: str | None = None,
    options: DataOptions = AS_THE_DATA_SAY,
    protocol: Protocol = USUAL,
    command: str = "",
    explained: bool = False,
    say: Callable[[str], None] = lambda _text: None,
) -> Comparison:
    """Files measured side by side, and each but one held against that one.

    All files are opened and checked before anything is timed. A checkpoint is exported to ONNX in a temporary folder.
    Of several files one that cannot be opened is left out, with the reason; the baseline has to be there.

    Args:
        files: At least one: a checkpoint, an exported file, or as `Named` with the network of a plain state dict.
        baseline: The place of the one that the others are held against; None only for a file alone.
        data: Name or path of a data set for the quality on its test split; None does not measure it.
        options: How a file that says nothing of it sees its images.
        protocol: How it is measured.
        command: What was typed.
        explained: Also profile the .onnx files, see `benchmarks.explain`.
        say: Is told what is being done.

    Raises:
        DataError, PlanError: A file or the data set is missing, the data do not fit the only file or the baseline, or
            the CPUs cannot be chosen, or are fewer than the threads.
        CheckpointError, ExportError, GateError: The only file or the baseline is of the wrong kind, is damaged, cannot
            be exported, or takes another number of images at once.
        MissingExtraError: Its runtime is not installed.
    """
    where = evidence.describe()
    check_cpus(protocol.threads, protocol.pin)
    needed = {0} if baseline is None else {baseline}
    given = [(check_file if at in needed else check_there)(named(one)) for at, one in enumerate(files)]
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        say("opening the files")
        opened = partial(_open, protocol=protocol, folder=Path(folder), data=data, options=options)
        contenders, reasons = _opened(given, opened, needed)
        _check_options(options, contenders.values())
        taken = timed(contenders, protocol, Path(folder), baseline=min(needed), say=say)
        say("measuring quality")
        measured = _measured(contenders, taken, baseline)
        base = None if baseline is None else measured[baseline]
        told = [
            _file(one, measured[at], base) if at in measured else _left_out(one, reasons[at])
            for at, one in enumerate(given)
        ]
        if explained:
            say("profiling")
            for at, facts in _explained(contenders, where["flags"]).items():
                told[at]["explained"] = facts
    document = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": where,
        "protocol": protocol.to_dict(_runtimes(contenders.values())),
        "data": _data(next(iter(contenders.values()))),
        "seen": None if options == AS_THE_DATA_SAY else {part: getattr(options, part) for part in SEEN},
        "baseline": baseline,
        "files": told,
        "noise": told_noise(measured[min(needed)].raw),
        "claims": [],
        "samples": None,
        "warnings": _warnings(where, list(contenders.values()), protocol),
    }
    return Comparison(document, measured)


def _explained(contenders: Mapping[int, Contender], flags: Sequence[str]) -> dict[int, dict[str, Any]]:
    from benchmarks.explain import explain

    return explain(contenders, flags)


def _opened(
    given: Sequence[Named], opened: Callable[[Named], Contender], needed: set[int]
) -> tuple[dict[int, Contender], dict[int, str]]:
    """Place to contender, and place to the reason why there is none."""
    contenders, reasons = {}, {}
    for at, one in enumerate(given):
        try:
            contenders[at] = opened(one)
        except UNMEASURED as error:
            if at in needed and len(given) > 1:
                raise type(error)(f"{error}; the others are held against it: name another with --against") from error
            if at in needed:
                raise
            reasons[at] = str(error).removeprefix(f"{one.name}: ")
    return contenders, reasons


def _open(given: Named, *, protocol: Protocol, folder: Path, data: str | None, options: DataOptions) -> Contender:
    found = open_contender(given, folder, data=data, options=options, threads=protocol.threads)
    check_batch(found, protocol.batches[0])
    return found


def _check_options(options: DataOptions, contenders: Collection[Contender]) -> None:
    """Nothing, where what is told of how images are seen is about some file."""
    if options != AS_THE_DATA_SAY and not any(one.foreign for one in contenders):
        names = " and ".join(str(one.given) for one in contenders)
        raise DataError(f"--size, --mean and the like: {names} say for themselves how to see images; leave them out")


def _measured(contenders: Mapping[int, Contender], taken: Timed, baseline: int | None) -> dict[int, Measured]:
    """Every file with what it says of the test split, beside what it took."""
    found = {
        at: Measured(one, replace(taken.raws[at], said=_said(one)), taken.failed[at]) for at, one in contenders.items()
    }
    base = None if baseline is None else found[baseline]
    return {at: _beside(one, base) for at, one in found.items()}


def _said(one: Contender) -> Said | None:
    if one.data is None:
        return None
    from benchmarks.measure.said import ask

    return ask(one.exported, one.data)


def _beside(one: Measured, base: Measured | None) -> Measured:
    """The same; where it gives masks as the baseline does, with how many pixels of each image both decide alike."""
    said, own = one.raw.said, one.contender
    if base is None or base is one or not isinstance(said, Segmented) or not isinstance(base.raw.said, Segmented):
        return one
    from benchmarks.measure.said import pixels_alike

    other = base.contender
    assert own.data is not None
    assert other.data is not None
    alike = pixels_alike((own.exported, own.data), (other.exported, other.data))
    return replace(one, raw=replace(one.raw, said=replace(said, alike=alike)))


def _file(given: Named, one: Measured, base: Measured | None) -> dict[str, Any]:
    contender, held = one.contender, base is not None and base is not one
    digest, data = contender.exported.sha256, contender.data
    derived = derive(one.raw, base.raw if base is not None and held else None, data.classes if data else ())
    records = [*cost_records(contender.exported), *derived.records, *one.failed]
    verdict = derived.verdict
    return {
        "name": str(contender.given),
        "sha256": digest,
        "given_sha256": digest_of(contender.given),
        "network": {"arch": given.arch, "options": dict(given.options), "stages": dict(given.told)}
        if given.arch
        else None,
        "made": contender.made,
        "lineage": contender.lineage,
        "input": list(contender.image.shape[1:]),
        "classes": contender.classes,
        "task": contender.task,
        "metric": HEADLINES[contender.task],
        "records": [{**record.to_dict(), "sha256": digest} for record in records],
        "hurt": derived.hurt,
        "verdict": None if verdict is None else verdict.to_dict(),
        **({"verdicts": told_verdicts(derived)} if derived.verdicts else {}),
        "reason": "",
    }


def _left_out(given: Named, reason: str) -> dict[str, Any]:
    return {"name": given.name, "records": [], "hurt": None, "verdict": None, "reason": reason}


def _runtimes(contenders: Collection[Contender]) -> list[str]:
    return list(dict.fromkeys(format_of(one.exported.path).runtime for one in contenders))


def _data(contender: Contender) -> dict[str, Any] | None:
    data = contender.data
    if data is None:
        return None
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "split": "test",
        "samples": len(data.test),
        "classes": list(data.classes),
    }


def _warnings(where: dict[str, Any], contenders: list[Contender], protocol: Protocol) -> list[str]:
    busy = evidence.load_warning(where)
    shared = "one CPU" if len(protocol.pin) == 1 else f"{len(protocol.pin)} CPUs"
    crowded = f"{protocol.threads} threads shared the {shared} that they were pinned to"
    fewer = [
        f"{one.given}: timed in {sessions_of(one, protocol)} sessions instead of {protocol.sessions}, which "
        f"would take too much memory at {one.exported.size_bytes / 1e6:.0f} MB each; its interval is wider for it"
        for one in contenders
        if sessions_of(one, protocol) < protocol.sessions
    ]
    tight = [crowded] if 0 < len(protocol.pin) < protocol.threads else []
    return [
        *([busy] if busy else []),
        *tight,
        *fewer,
        *(doubt for contender in contenders for doubt in contender.doubts),
    ]
