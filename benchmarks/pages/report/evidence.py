"""What the numbers of a page rest on: machine, protocol, doubts, digests, and how to come to them again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from benchmarks.pages.report.markup import Cell, command, facts, section, table, text
from benchmarks.pages.report.view import View
from benchmarks.pages.terminal import protocol_text

PACKAGES = ("edgepress", "onnxruntime", "torch", "onnx", "numpy", "python")
TWO_LIMITS = (
    "It shows what this machine makes of no difference at all; what a verdict on two files would have seen is by the "
    "spread of the sessions of these two, and so another number."
)


def warnings(view: View) -> str:
    """What makes the numbers doubtful; "" where nothing does."""
    found = view.document["warnings"]
    if not found:
        return ""
    items = "".join(f"<li>{text(one)}</li>" for one in found)
    return f'<aside class="doubts" aria-label="Warnings"><h2>Read with care</h2><ul>{items}</ul></aside>\n'


def draw(view: View) -> str:
    """The sections on how it was measured and how to check it."""
    how = facts([*_protocol(view), *_machine(view)])
    return section("how", "How it was measured", how) + section("check", "Check it yourself", _check(view))


def _protocol(view: View) -> list[tuple[str, str]]:
    document, protocol = view.document, view.document["protocol"]
    data = document["data"]
    named = (
        "none: nothing was asked of what is known"
        if data is None
        else (f"{text(data['name'])}, {data['samples']:,} images of its {text(data['split'])} split")
    )
    return [
        ("Ended", text(document["created"])),
        ("Runtime", text(protocol_text(document))),
        ("Latency", _latency(protocol)),
        ("Noise floor", text(f"{document['noise']['words']}. {TWO_LIMITS}" if document["noise"] else "not measured")),
        ("Turns", f"{protocol['turn_ms']:g} ms each, in turn; {protocol['warmup_ms']:g} ms of warm-up"),
        ("Intervals", f"{100 * protocol['level']:g} %: over sessions for times, over images for scores"),
        ("Data", named),
    ]


def _latency(protocol: Mapping[str, Any]) -> str:
    more = "; calls that begin with pixels beside it" if protocol["preprocessing"] != "outside" else ""
    return f"of the network alone, its input scaled and in place before{more}"


def _machine(view: View) -> list[tuple[str, str]]:
    machine = view.document["machine"]
    load = machine["load_average"]
    return [
        ("Processor", f"{text(machine['cpu'])}, {text(', '.join(machine['flags']))}"),
        ("Cores", f"{text(machine['cores_usable'])} usable of {text(machine['cores_logical'])}"),
        ("Load before", "unknown" if load is None else text(", ".join(map(str, load)))),
        ("Governor", text(machine["governor"] or "unknown")),
        ("System", text(machine["os"])),
        ("Versions", text(", ".join(f"{name} {machine[name]}" for name in PACKAGES if machine.get(name)))),
    ]


def _check(view: View) -> str:
    document = view.document
    typed = document["command"] or "(called from Python)"
    rows = [
        [
            Cell(f'<span class="no">{one.number}</span> {text(one.name)}'),
            Cell(f"<code>{text(one.file['sha256'])}</code>"),
        ]
        for one in view.measured
    ]
    rows.append([Cell("raw samples"), Cell(f"<code>{text(document['samples']['sha256'])}</code>")])
    if document["data"]:
        rows.append([Cell("data"), Cell(f"<code>{text(document['data']['fingerprint'])}</code>")])
    bench = document["samples"]["file"].removesuffix(".samples.npz")
    anew = f"{typed}\nedgepress report {shlex.quote(bench)}.json -o report.html"
    return (
        "<p>This page carries every time and every answer that it rests on. What follows from them is derived anew, "
        "offline, and one altered byte is noticed:</p>\n<pre><code>edgepress verify report.html</code></pre>\n"
        "<p>Measure the files again, beside this page or where they were, and be told what drifted (with --data, where "
        "the data set lies elsewhere):</p>\n<pre><code>edgepress verify report.html --rerun</code></pre>\n"
        f"<p>Make this benchmark and this page anew:</p>\n<pre><code>{_lines(anew)}</code></pre>\n"
        + table("SHA-256 of what was measured", ("what", "digest"), rows, kind="digests")
    )


def _lines(commands: str) -> str:
    return "\n".join(map(command, commands.splitlines()))
