"""A benchmark measured again, file by file, and what was found held against what it says.

What drifted, by these rules:

- Digests and counts (size, parameters, MACs) are exact. A checkpoint that was exported for the benchmark is exported
  anew; with another version of edgepress, torch or onnx that gives other bytes, and nothing is said of them.
- Scores are exact on the same machine: the same processor, its flags, and the same versions of the runtime, torch and
  numpy. Elsewhere the last bit of an output may differ, so each has to lie within the interval that was told; what has
  no interval is not compared.
- Two runs are alike where the processor is of the same model and neither began on a busy machine. Milliseconds and the
  memory of a process are compared between these alone; speed-ups are ratios of files that were timed in turn, and are
  compared between all. Two measurements agree where their 95 % intervals overlap, or their values are within 25 % of
  each other, the least that `benchmarks.noise` takes for a finding: the sessions of a run do not show how a machine
  differs from one hour to the next (a ResNet-18 took 58 and 69 times as long as a student in two runs of one command
  on a machine at rest, and 48 in a run of these two alone). They have drifted where they agree neither by wall time nor
  by CPU time. A drift that is smaller than that is not seen.
- Where they agree, but the ends of an interval are a factor of two apart, nearly every file would: that is said, and
  counts for nothing. So does a speed-up that one of both runs was too noisy to judge, up to a factor of two.
- A long run is not done again: give `edgepress benchmark` its minutes.
- A claim has drifted where it was said to be met and is broken now, or the reverse. That it is not shown now is said,
  and is no drift: this measurement may have been the noisier one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import claims
from benchmarks.bench import compare
from benchmarks.contender import AS_GIVEN, AS_THE_DATA_SAY, check_file, digest_of
from benchmarks.document import Document, File, number, record
from benchmarks.noise import BLIND
from benchmarks.protocol import INSIDE, Protocol
from benchmarks.verdict import Reading, agree
from benchmarks.verify import OF_THE_FILE, TOLERANCE, Finding, group_of
from compress import evidence
from compress.code import is_own, named_files, parts
from compress.data import DataOptions
from compress.data.remembered import recall
from compress.errors import CompressError, DataError, GateError, PlanError
from compress.named import Named

COUNTED = (*OF_THE_FILE, "values")
TIMES = ("latency", "latency_with_preprocessing", "cold_start", "peak_memory", "speedup")
RATIO, CLOCKS = "speedup", ("", "_cpu")
WIDE = 2.0  # one end of an interval by the other
SCORED = ("accuracy", "accuracy by class", "calibration", "drop and agreement", "drop by class")  # groups
SAME_MACHINE = ("cpu", "flags", "onnxruntime", "torch", "numpy")
SAME_EXPORT = ("edgepress", "torch", "onnx")
LONG_RUN = "long run"  # a group
COUNTING = 10_000  # whole numbers from here on
WORST = 4  # numbers that a finding names


def rerun(
    document: Document, folder: Path, *, data: str | None = None, say: Callable[[str], None] = lambda _text: None
) -> list[Finding]:
    """A finding for every file's digest, counts, scores and times, and for every claim, all of them measured again.

    Args:
        document: A benchmark, every number of which follows from its raw samples.
        folder: Where it lies. Its files are looked for there: by their names, then where they were when it was made.
        data: Name or folder of the data set, where it cannot be found by what the document says.
        say: Is told what is being done.

    Raises:
        DataError, PlanError: A file is missing, or the data cannot be had, or are not what the document names.
        GateError: A file is not the one that was measured.
    """
    files = [file for file in document["files"] if not file["reason"]]
    given = [Named(str(path), **_network(file)) for path, file in zip(_located(files, folder), files, strict=True)]
    base = None if document["baseline"] is None else files.index(document["files"][document["baseline"]])
    new = compare(
        given,
        baseline=base,
        data=_data(document, data),
        options=_options(document),
        protocol=_protocol(document),
        say=say,
    ).document
    if document["data"] and new["data"]["fingerprint"] != document["data"]["fingerprint"]:
        name = new["data"]["name"]
        raise DataError(f"data set {name!r}: has not the images that were measured on; give those: --data")
    return list(_findings({**document, "files": files, "baseline": base}, new))


def check_there(documents: Iterable[Document], folder: Path) -> None:
    """Nothing, once every file that was measured lies where `rerun` looks for it: to be known before any is measured.

    Args:
        documents: Benchmarks.
        folder: Where they lie.

    Raises:
        GateError: At least one is another one; the message names every one, and those that are missing.
        DataError: At least one is missing, and none is another one.
    """
    _located([file for document in documents for file in document["files"] if not file["reason"]], folder)


def _located(files: Sequence[File], folder: Path) -> list[Path]:
    """Where the files lie; GateError or DataError as of `check_there`."""
    paths: list[Path] = []
    errors: list[CompressError] = []
    for file in files:
        try:
            paths.append(_locate(file, folder))
        except (DataError, GateError) as error:
            errors.append(error)
    if errors:
        told = GateError if any(isinstance(one, GateError) for one in errors) else DataError
        raise told("; ".join(dict.fromkeys(map(str, errors))))
    return paths


def _locate(file: File, folder: Path) -> Path:
    """Where a file of a benchmark lies, its bytes as they were.

    Raises:
        DataError: It is nowhere.
        GateError: It is there, and another one.
    """
    name = Path(file["name"])
    there = [path for path in dict.fromkeys((folder / name.name, folder / name, name)) if path.exists()]
    if not there:
        raise DataError(f"{name}: is neither in {folder} nor where it was measured; put it beside the benchmark")
    if file["given_sha256"] not in map(digest_of, map(_checked, there)):
        raise GateError(
            f"{there[0]}: is not the file that was measured: its sha256 is {digest_of(there[0]):.12}..., and not "
            f"{file['given_sha256']:.12}...; measure it anew with `edgepress benchmark`"
        )
    return next(path for path in there if digest_of(path) == file["given_sha256"])


def _checked(path: Path) -> Path:
    """The path, where it can be one that was measured; DataError for a folder of other things."""
    if path.is_dir():
        check_file(Named(str(path)))
    return path


def _network(file: File) -> dict[str, Any]:
    """The network of a plain state dict, as `Named` takes it.

    Raises:
        PlanError: It is code of a file that this command does not name.
    """
    told = file["network"]
    if told is None:
        return {}
    arch = _own(file["name"], told["arch"]) if is_own(told["arch"]) else told["arch"]
    return {"arch": arch, "options": told["options"], "told": told["stages"]}


def _own(name: str, arch: str) -> str:
    """FILE.py:FACTORY of the network of a plain state dict, where the file of code was named."""
    wanted, factory = Path(parts(arch)[0]).name, parts(arch)[1]
    there = next((one.path for one in named_files() if one.path.name == wanted), None)
    if there is None:
        raise PlanError(
            f"{name}: its network is {arch}, and a file of code is only run when this command names it; add "
            f"--code {wanted}"
        )
    return f"{there}:{factory}"


def _data(document: Document, asked: str | None) -> str | None:
    told = document["data"]
    if told is None and asked is not None:
        raise PlanError("--data: the benchmark was measured without any; leave it out")
    if told is None or asked is not None:
        return asked
    return str(recall(told["fingerprint"]) or told["name"])


def _options(document: Document) -> DataOptions:
    told = document["seen"]
    if told is None:
        return AS_THE_DATA_SAY
    size, mean, std = (None if told[part] is None else tuple(told[part]) for part in ("size", "mean", "std"))
    return DataOptions(size=size, mean=mean, std=std, resize=told["resize"], crop=told["crop"])


def _protocol(document: Document) -> Protocol:
    """As it was, but for long runs, which are not done again."""
    told = document["protocol"]
    kept = {part: told[part] for part in ("threads", "sessions", "rounds", "turn_ms", "warmup_ms")}
    return Protocol(
        **kept,
        batches=tuple(told["batches"]),
        pin=tuple(told["pin"]),
        preprocessing=INSIDE in told["preprocessing"],
        cold=told["cold"],
    )


def _findings(old: Document, new: Document) -> Iterator[Finding]:
    same = _alike(old, new, SAME_MACHINE)
    where = "the same machine" if same else f"another machine ({new['machine']['cpu']}, was {old['machine']['cpu']})"
    yield Finding("re-measured", f"all files were measured again on {where}")
    for was, now in zip(old["files"], new["files"], strict=True):
        if now["reason"]:
            yield Finding("not covered", f"{was['name']}: could not be measured again: {now['reason']}")
            continue
        yield from _bytes(was, now, _alike(old, new, SAME_EXPORT))
        yield from _scores(was, now, same)
        yield from _times(was, now, _why_unlike(old, new))
        yield from _left(was)
    yield from _claims(old, new)


def _alike(old: Document, new: Document, parts: Sequence[str]) -> bool:
    return all(old["machine"][part] == new["machine"][part] for part in parts)


def _bytes(was: File, now: File, exact: bool) -> Iterator[Finding]:
    """Digest and counts of one file."""
    name = was["name"]
    if was["made"] != AS_GIVEN and not exact:
        yield Finding("not covered", f"{name}: its exported bytes: edgepress, torch or onnx is of another version")
        return
    differ = [] if was["sha256"] == now["sha256"] else [f"sha256 {was['sha256']:.12}... -> {now['sha256']:.12}..."]
    there = [quantity for quantity in COUNTED if number(was, quantity) is not None]
    for quantity in there:
        told, found = (number(one, quantity) for one in (was, now))
        differ += [f"{quantity} {told} -> {found}"] if told != found else []
    yield _finding(differ, f"{name}: digest, {', '.join(there)}", "as they were")


def _scores(was: File, now: File, exact: bool) -> Iterator[Finding]:
    """Every score of one file, and what it lost, group by group."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for told in was["records"]:
        group = group_of(told["quantity"])
        if group in SCORED:
            groups.setdefault(group, []).append(told)
    for group, records in groups.items():
        compared = records if exact else [one for one in records if one["low"] is not None]
        differ = [said for told in compared if (said := _drift(told, record(now, told["quantity"]), exact))]
        how = "the same" if exact else f"{len(compared)} of {len(records)} numbers, within their intervals"
        if compared:
            yield _finding(differ, f"{was['name']}: {group}", how)


def _drift(told: Mapping[str, Any], found: Mapping[str, Any] | None, exact: bool) -> str:
    if found is None:
        return f"{told['quantity']} is not there any more"
    value, new = told["value"], found["value"]
    close = math.isclose(value, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if close or (not exact and told["low"] <= new <= told["high"]):
        return ""
    return f"{told['quantity']} {value:.6g} -> {new:.6g}{'' if exact else f', told {_ends(told)}'}"


def _times(was: File, now: File, unlike: str) -> Iterator[Finding]:
    """Every time, memory and speed-up of one file, each by all clocks that were read both times."""
    for told in was["records"]:
        name, space, batch = told["quantity"].partition(" ")
        if name not in TIMES or told["value"] is None:
            continue
        about = f"{was['name']}: {told['quantity']} {_reading(told)} {told['unit']}"
        if unlike and name != RATIO:
            yield Finding("not covered", f"{about}: {unlike}")
            continue
        pairs = [[record(one, f"{name}{clock}{space}{batch}") for one in (was, now)] for clock in CLOCKS]
        noisy = name == RATIO and "noisy" in [one["verdict"]["kind"] for one in (was, now) if one["verdict"]]
        within = WIDE - 1 if noisy else BLIND
        yield _time(about, [[one for one in pair if one] for pair in pairs if all(pair)], within)


def _time(about: str, read: Sequence[Sequence[Mapping[str, Any]]], within: float) -> Finding:
    """What became of one of them.

    Args:
        about: It, and what it was.
        read: A clock's two records, then and now; wall time first.
        within: How far apart values are that agree, as a share; from a factor of two on nothing is held against them.
    """
    if not read or read[0][1]["value"] is None:
        return Finding("not covered", f"{about}: could not be measured again")
    by_cpu = f"; by CPU time {_reading(read[1][0])}, now {_reading(read[1][1])}" if len(read) > 1 else ""
    said = f"{about}, now {_reading(read[0][1])}{by_cpu}"
    readings = [[Reading(one["value"], one["low"], one["high"]) for one in pair] for pair in read]
    if not any(agree(*pair, within=within) for pair in readings):
        return Finding("FAILED", f"{said}: drifted")
    if any(one.high > WIDE * one.low for one in readings[0]):
        return Finding("not covered", f"{said}: too wide an interval to hold anything against")
    if within >= WIDE - 1:
        return Finding("not covered", f"{said}: one of the two runs was too noisy to judge")
    return Finding("re-measured", said)


def _left(was: File) -> Iterator[Finding]:
    """What of one file is not measured again."""
    if any(group_of(one["quantity"]) == LONG_RUN for one in was["records"]):
        yield Finding("not covered", f"{was['name']}: its {LONG_RUN}: not done again; give `benchmark` its --minutes")


def _reading(one: Mapping[str, Any]) -> str:
    return f"{_number(one['value'])} {_ends(one)}"


def _why_unlike(old: Document, new: Document) -> str:
    """Why the two runs are not alike; "" where they are."""
    if old["machine"]["cpu"] != new["machine"]["cpu"]:
        return "was measured on another processor"
    if any(evidence.load_warning(one["machine"]) for one in (old, new)):
        return "one of the two runs began on a busy machine"
    return ""


def _claims(old: Document, new: Document) -> Iterator[Finding]:
    told = old["claims"]
    measured = [file for at, file in enumerate(old["files"]) if at != old["baseline"]]
    there = {file["name"] for file in measured}
    told = [one for one in told if one["file"] in there]
    bounds = {one["claim"]: one["bound"] for one in told}
    unlike = _why_unlike(old, new)
    for one, other in zip(told, claims.check(new, bounds), strict=True):
        said = f"claim: {other.held}: {other.sentence}"
        was = f" (was {one['held']})" if one["held"] != other.held else ""
        if claims.BOUNDS[one["claim"]].quantity == "latency" and unlike:
            yield Finding("not covered", f"claim: {one['held']}: {one['sentence']}: {unlike}")
        elif {one["held"], other.held} == {"met", "broken"}:
            yield Finding("FAILED", f"{said}{was}")
        else:
            yield Finding("re-measured", f"{said}{was}")


def _finding(differ: Sequence[str], about: str, how: str) -> Finding:
    """What became of some numbers: none of them differs, or these do."""
    if not differ:
        return Finding("re-measured", f"{about}: {how}")
    more = f" and {len(differ) - WORST} more" if len(differ) > WORST else ""
    return Finding("FAILED", f"{about}: drifted: {'; '.join(differ[:WORST])}{more}")


def _ends(one: Mapping[str, Any]) -> str:
    return "" if one["low"] is None else f"[{_number(one['low'])}, {_number(one['high'])}]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= COUNTING else f"{value:.4g}"
