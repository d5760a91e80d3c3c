"""The page of a benchmark, and what `verify` finds in it: through the commands, on real small files."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_benchmark_compare import _checkpoint
from typer.testing import CliRunner, Result

from benchmarks.document import digest, record
from benchmarks.document import save as save_document
from benchmarks.pages.report import envelope, page
from benchmarks.pages.report.markup import signed
from benchmarks.raw import Decided
from benchmarks.samples import beside, pack, read_samples
from benchmarks.verify import verify
from cli.main import app
from compress.checkpoint import save
from compress.data import DataOptions, load
from compress.errors import GateError
from exports import noise, ship

MOST_BYTES = 400_000
NAMESPACES = {"http://www.w3.org/2000/svg"}
Document = dict[str, Any]
Change = Callable[[Document], None]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bench.json of a teacher and two files, one of which is damaged; with its samples and report.html."""
    folder = tmp_path_factory.mktemp("report")
    digits = load("digits", DataOptions()).classes
    student = _checkpoint("cnn-s", digits).with_step({"command": "edgepress train cnn-s --data digits"})
    teacher = _checkpoint("cnn-a", digits).with_step({"command": "edgepress train cnn-a --data digits"})
    save(teacher, folder / "teacher.safetensors")
    ship(student, folder / "student.onnx", [noise(student.card)])
    (folder / "broken.onnx").write_bytes(b"not a model")
    files = [folder / f"{name}" for name in ("teacher.safetensors", "student.onnx", "broken.onnx")]
    claims = ("--max-size", "1MB", "--max-latency", "1us", "--min-speedup", "0.001", "--max-drop", "100")
    bench = folder / "bench.json"
    done = _run("benchmark", *files, "--data", "digits", "--rounds", 10, "--sessions", 2, *claims, "-o", bench)
    assert done.exit_code == 3, done.output
    done = _run("report", bench, "-o", folder / "report.html")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def content(folder: Path) -> bytes:
    return (folder / "report.html").read_bytes()


def _said(text: str) -> str:
    """HTML without its tags."""
    return re.sub(r"<[^>]+>", "", text)


def _verified(path: Path, content: bytes) -> Result:
    path.write_bytes(content)
    return _run("verify", path)


def test_page_says_what_the_document_says(folder: Path, content: bytes) -> None:
    document, text = json.loads((folder / "bench.json").read_text("utf-8")), content.decode()
    student = document["files"][1]
    assert (
        text.index('id="claims"') < text.index('id="files"') < text.index('id="figures"') < text.index('id="lineage"')
    )
    claims = text[text.index('id="claims"') : text.index('id="files"')]
    held = [one["held"] for one in document["claims"] if one["file"] == student["name"]]
    assert (held.count("broken"), len(held)) == (1, 4)
    assert claims.count("met</span>") == held.count("met") >= 2, "size and drop; the speed-up unless it is too noisy"
    assert claims.count("broken</span>") == 1
    assert claims.count("not measured") == 4
    lost, won = (record(student, f"images_{end}")["value"] for end in ("lost", "won"))  # type: ignore[index]
    assert f"{lost:,} lost, {won:,} won" in text
    for part in (f"{100 * record(student, 'top1')['value']:.2f}<", student["sha256"], "is not an ONNX model"):  # type: ignore[index]
        assert part in text
    assert "edgepress train cnn-s --data digits" in _said(text[text.index('id="lineage"') :])
    lineage = text[text.index('id="lineage"') : text.index('id="how"')]
    assert "<li>exported to ONNX for this benchmark</li>" in lineage[: lineage.index("student.onnx")]
    check = _said(text[text.index('id="check"') :])
    assert "edgepress verify report.html --rerun" in check
    assert "\nedgepress report bench.json -o report.html" in check
    for part in ("calibration error", "<dt>Images</dt>"):
        assert part in text
    assert text.count("Confusion matrix of ") == text.count("Accuracy by class of ") == 2
    assert text.count('<svg role="img"') == text.count("<desc>") == text.count("<figure>") == 10
    assert text.count("How sure ") == text.count("How sure, and how often right.") == 2
    assert text.count("<table") == text.count("<caption>")


def test_a_drop_has_the_same_sign_wherever_a_page_tells_it(content: bytes, folder: Path) -> None:
    document, text = json.loads((folder / "bench.json").read_text("utf-8")), content.decode()
    base, own = (record(one, "top1") for one in document["files"][:2])
    drop = record(document["files"][1], "drop")
    assert base is not None
    assert own is not None
    assert drop is not None
    assert drop["value"] == pytest.approx(100 * (base["value"] - own["value"]))
    shown, ends = signed(drop["value"]), f"[{signed(drop['low'])}, {signed(drop['high'])}]"
    claims = text[text.index('id="claims"') : text.index('id="files"')]
    assert f'"value">{shown} points<' in claims
    assert f"<b>{shown} points</b><span>{ends}" in text[text.index("least drop") :][:200]
    assert f"<div>{shown}<small>{ends}" in text
    bars = text[text.index("Accuracy by class of student.onnx") :]
    drops = re.findall(r'class="tick(?: bad)?" text-anchor="end">([+\u2212][\d.]+)<', bars[: bars.index("</svg>")])
    parts = [record(document["files"][1], f"drop {name}") for name in document["data"]["classes"]]
    assert drops == [signed(one["value"], 1) for one in parts if one]


def test_a_page_says_why_two_intervals_of_a_speed_up_differ(content: bytes, folder: Path) -> None:
    text = content.decode()
    claims = text[text.index('id="claims"') : text.index('id="files"')]
    student = json.loads((folder / "bench.json").read_text("utf-8"))["files"][1]
    assert ("spans both clocks, wall and CPU time" in claims) == bool(record(student, "speedup_cpu"))


def test_page_needs_nothing_from_elsewhere(content: bytes) -> None:
    text = re.sub(r'(?s)<script type="application/.*?</script>', "", content.decode())
    assert all(one.startswith("data:") for one in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= NAMESPACES
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in text
    assert len(content) < MOST_BYTES


def test_the_last_line_counts_what_was_found(folder: Path) -> None:
    *lines, last = _run("verify", folder / "bench.json").stdout.splitlines()
    covered = sum(line.startswith("re-derived") for line in lines)
    assert last == f"in all: {covered} re-derived, {len(lines) - covered} not covered"


def test_page_and_benchmark_are_verified_without_the_files(folder: Path) -> None:
    for name in ("report.html", "bench.json"):
        done = _run("verify", folder / name, "--json")
        assert done.exit_code == 0, done.output
        found = [(one["found"], one["sentence"]) for one in json.loads(done.stdout)["findings"]]
        assert {kind for kind, _ in found} == {"re-derived", "not covered"}
        derived = "\n".join(sentence for kind, sentence in found if kind == "re-derived")
        student = f"{folder / 'student.onnx'}: "
        for part in (
            "latency: ",
            "accuracy: top1",
            "speed-up: speedup",
            "drop and agreement: drop",
            "verdict: ",
            "calibration: ",
        ):
            assert f"{student}{part}" in derived
        for part in ("claim: broken: ", "claim: met: ", "digest of the raw samples"):
            assert part in derived
        rest = "\n".join(sentence for kind, sentence in found if kind == "not covered")
        assert f"{student}parameters, values, macs, size: need the file" in rest
        assert f"{folder / 'broken.onnx'}: was not measured" in rest
        assert "the same to the last byte" in derived or name == "bench.json"


def test_one_altered_byte_of_a_page_is_noticed(content: bytes, tmp_path: Path) -> None:
    places = [0, 20, len(envelope.HEAD) + 5, len(content) - 2]
    places += [content.index(part) for part in (b"Files</h2>", b'"created"', b'edgepress-samples">')]
    places += range(len(content) // 7, len(content), len(content) // 7)
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 1
        done = _verified(tmp_path / "report.html", bytes(altered))
        assert done.exit_code == 3, place
        assert "altered" in done.output
    assert _verified(tmp_path / "report.html", content[:-1]).exit_code == 3
    assert _verified(tmp_path / "report.html", content).exit_code == 0


def _forged(content: bytes, change: Change) -> bytes:
    """The page with another document in it, and all digests as they should be."""
    carried = envelope.opened(content, "page")
    document = copy.deepcopy(carried.document)
    change(document)
    document["digest"] = digest(document)
    rest = content[len(envelope.HEAD) + len(envelope.UNKNOWN) :].decode()
    old, new = (envelope.blocks(one, carried.samples) for one in (carried.document, document))
    assert old in rest
    return envelope.sealed(rest.replace(old, new))


def _number(quantity: str, part: str, more: float) -> Change:
    def change(document: Document) -> None:
        found = record(document["files"][1], quantity)
        assert found is not None
        found[part] = found[part] + more  # type: ignore[index]

    return change


def _verdict(document: Document) -> None:
    document["files"][1]["verdict"]["words"] = "faster, 900x [800, 1,000]"


def _claim_held(document: Document) -> None:
    document["claims"][1]["held"] = "met"


def _claim_left_out(document: Document) -> None:
    del document["claims"][1]


def _hurt(document: Document) -> None:
    document["files"][1]["hurt"]["lost"].pop()


def _twice(document: Document) -> None:
    document["files"][1]["records"].append(copy.deepcopy(record(document["files"][1], "latency")))


def _of_nothing(document: Document) -> None:
    document["files"][0]["records"].append({**record(document["files"][1], "drop"), "sha256": ""})  # type: ignore[dict-item]


def _another_baseline(document: Document) -> None:
    document["baseline"] = 1


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        (_number("latency", "value", -1e-6), "latency: value is"),
        (_number("latency_p99", "value", 1e-5), "latency_p99: value is"),
        (_number("top1", "low", 1e-4), "top1: low is"),
        (_number("top1", "n", 1), "top1: n is"),
        (_number("speedup", "high", 1e-6), "speedup: high is"),
        (_number("drop", "value", -0.1), "drop: value is"),
        (_number("calibration_error", "high", 1e-6), "calibration: calibration_error: high is"),
        (_number("top1 3", "value", 1e-6), "accuracy by class: top1 3: value is"),
        (_number("drop 3", "low", 1e-6), "drop by class: drop 3: low is"),
        (_hurt, "whom it hurts: not the classes and images"),
        (_number("top1_agreement", "value", 0.01), "top1_agreement: value is"),
        (_number("images_lost", "value", 1), "images_lost: value is"),
        (_verdict, "verdict: says"),
        (_claim_held, "claim: met: "),
        (_claim_left_out, "there are 7; of these files there have to be"),
        (_twice, "latency is there 2 times"),
        (_of_nothing, "drop does not follow from the samples"),
        (_another_baseline, "speedup is there 0 times"),
    ],
)
def test_an_altered_number_is_noticed_though_all_digests_are_right(
    content: bytes, tmp_path: Path, change: Change, mentions: str
) -> None:
    done = _verified(tmp_path / "report.html", _forged(content, change))
    assert done.exit_code == 3, done.output
    assert mentions in done.output


def test_what_a_page_shows_is_what_it_carries(content: bytes, tmp_path: Path) -> None:
    begins = len(envelope.HEAD) + len(envelope.UNKNOWN)
    shown = content[begins:].decode().replace("broken</span>", "met</span>")
    done = _verified(tmp_path / "report.html", envelope.sealed(shown))
    assert done.exit_code == 3
    assert "what the page shows is not what its document and samples give" in done.output
    other = content[begins:].decode().replace(page.drawing(), "0" * 16)
    done = _verified(tmp_path / "report.html", envelope.sealed(other))
    assert done.exit_code == 0, done.output
    assert "not covered what the page shows: drawn by other code" in done.output


@pytest.mark.parametrize(
    ("old", "new"), [("\n  ", "\n   "), ('"warnings": [', '"warnings":  ['), ("edgepress", "edgepresS")]
)
def test_an_altered_benchmark_is_noticed(folder: Path, tmp_path: Path, old: str, new: str) -> None:
    written = (folder / "bench.json").read_text("utf-8")
    (tmp_path / "bench.samples.npz").write_bytes((folder / "bench.samples.npz").read_bytes())
    before, found, after = written.rpartition(old)
    assert found
    (tmp_path / "bench.json").write_text(before + new + after, encoding="utf-8")
    done = _run("verify", tmp_path / "bench.json")
    assert done.exit_code == 3
    assert "altered" in done.output


def test_altered_samples_are_noticed_and_not_drawn(folder: Path, tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    bench.write_bytes((folder / "bench.json").read_bytes())
    done = _run("report", bench)
    assert done.exit_code == 2
    assert "bench.samples.npz does not exist" in done.output
    altered = bytearray((folder / "bench.samples.npz").read_bytes())
    altered[len(altered) // 2] ^= 1
    (tmp_path / "bench.samples.npz").write_bytes(altered)
    for command in ("report", "verify"):
        done = _run(command, bench)
        assert done.exit_code == 3
        assert "digest of the raw samples is not" in done.output
    assert not (tmp_path / "bench.html").exists()


def test_what_each_kind_of_file_is_verified_with(folder: Path) -> None:
    done = _run("verify", folder / "student.onnx")
    assert done.exit_code == 2
    assert "name the checkpoint that it was exported from: --against" in done.output
    done = _run("verify", folder / "report.html", "--against", folder / "teacher.safetensors")
    assert done.exit_code == 2
    assert "--against: " in done.output
    done = _run("verify", folder / "missing.html")
    assert done.exit_code == 2
    assert "is not a file" in done.output
    done = _run("report", folder / "bench.json", "-o", folder / "report.pdf")
    assert done.exit_code == 2
    done = _run("report", folder / "bench.json", "-o", folder / "report.html")
    assert done.exit_code == 2
    assert "--force" in done.output


def test_text_of_a_document_is_shown_and_not_obeyed(folder: Path) -> None:
    document, samples = beside(folder / "bench.json")
    evil = "</script><script>alert(1)</script><b onload='x'>\u202e"
    document["command"] = document["machine"]["cpu"] = document["data"]["name"] = evil
    document["data"]["classes"][0] = document["files"][1]["name"] = document["files"][2]["reason"] = evil
    document["warnings"] = [evil]
    document["digest"] = digest(document)
    drawn = page.draw(document, samples)
    assert b"<script>alert" not in drawn
    assert b"<b onload" not in drawn
    assert drawn.count(b"&lt;script&gt;alert(1)") > 5
    assert drawn.count(b"</script>") == 3
    carried = envelope.opened(drawn, "page")
    assert (carried.document, carried.samples) == (document, samples)


def test_a_page_says_why_a_verdict_has_another_limit_than_the_noise_floor(content: bytes, folder: Path) -> None:
    floor = json.loads((folder / "bench.json").read_text("utf-8"))["noise"]["words"]
    text = _said(content.decode())
    assert f"{floor}. It shows what this machine makes of no difference at all; what a verdict on two files" in text


def test_a_class_without_images_has_a_row_that_says_so(folder: Path) -> None:
    document, samples = beside(folder / "bench.json")
    raws = dict(read_samples(samples, "samples"))
    assert "no images" not in page.draw(document, samples).decode()
    for at, raw in raws.items():
        there = raw.decided
        assert there is not None
        kept = ~np.isin(there.labels, (2, 5))
        said = Decided(there.decisions[kept], there.labels[kept], there.confidences[kept])
        raws[at] = replace(raw, said=said)
    text = page.draw(document, pack(raws)).decode()
    assert text.count(">no images</text>") == 2 * len(raws)
    for name in document["data"]["classes"]:
        assert f">{name} {document['data']['classes'].index(name)}</text>" in text, "its column still has a name"


def test_files_of_a_page_are_called_by_what_tells_them_apart(folder: Path) -> None:
    document, samples = beside(folder / "bench.json")
    given = ("runs/teacher.onnx", "dist/digits-student-plain.onnx", "dist/digits-student-w8.onnx")
    names = dict(zip((file["name"] for file in document["files"]), given, strict=True))
    for file in document["files"]:
        file["name"] = names[file["name"]]
    for claim in document["claims"]:
        claim["file"] = names[claim["file"]]
    text = _said(page.draw(document, samples).decode().partition(' id="lineage"')[0])
    assert "\u00b7 files: dist/digits-student-*\n" in text
    for name in ("teacher.onnx", "plain.onnx", "w8.onnx"):
        assert f" {name}" in text
    assert text.count("digits-student-") == 1


def test_a_page_without_an_end_of_its_blocks_is_refused(content: bytes) -> None:
    begins = len(envelope.HEAD) + len(envelope.UNKNOWN)
    without = content[begins:].decode().replace(f'id="{envelope.SAMPLES}"', "")
    with pytest.raises(GateError, match="carries 0 blocks"):
        envelope.opened(envelope.sealed(without), "page")


def test_a_page_says_where_the_time_goes_and_that_it_is_not_covered(folder: Path) -> None:
    document, samples = beside(folder / "bench.json")
    records = [{"quantity": "layer_ms first", "value": 0.03}, {"quantity": "operator_ms Softmax", "value": 0.01}]
    told = {"records": records, "advice": ["odd widths <all over>"], "reason": ""}
    document["files"][1]["explained"] = told
    document["files"][0]["explained"] = {"records": [], "advice": [], "reason": "its runtime gives no profile"}
    document["digest"] = digest(document)
    text = page.draw(document, samples).decode()
    part = text[text.index('id="explained"') : text.index('id="each"')]
    for said in (
        "first",
        "0.0300<small>75 %",
        "Softmax",
        "odd widths &lt;all over&gt;",
        "its runtime gives no profile",
    ):
        assert said in part
    found = {one.found for one in verify(document, samples) if "where its time goes" in one.sentence}
    assert found == {"not covered"}


def test_a_file_alone_without_data_has_a_page(folder: Path, tmp_path: Path) -> None:
    bench = tmp_path / "alone.json"
    assert _run("benchmark", folder / "student.onnx", "--rounds", 10, "--sessions", 2, "-o", bench).exit_code == 0
    done = _run("report", bench)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "alone.html").read_text("utf-8")
    assert "Nothing was claimed" in text
    assert "Confusion matrix" not in text
    assert {one.found for one in verify(*beside(bench))} == {"re-derived", "not covered"}
    assert _run("verify", tmp_path / "alone.html").exit_code == 0


@pytest.fixture
def two(folder: Path, tmp_path: Path) -> Path:
    """A folder of two benchmarks, a.json and b.json, with their samples, and other files."""
    copy_of = tmp_path / "dist"
    copy_of.mkdir()
    for name in ("a", "b"):
        document, samples = beside(folder / "bench.json")
        document["samples"]["file"] = f"{name}.samples.npz"
        document["command"] = f"edgepress benchmark of {name}"
        document["digest"] = digest(document)
        save_document(document, copy_of / f"{name}.json")
        (copy_of / f"{name}.samples.npz").write_bytes(samples)
    (copy_of / "other.json").write_text("[1]", encoding="utf-8")
    (copy_of / "student.onnx").write_bytes((folder / "student.onnx").read_bytes())
    return copy_of


def test_a_folder_of_benchmarks_is_one_page(two: Path) -> None:
    done = _run("report", two, "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["page"], len(facts["claims"])) == (str(two / "report.html"), 16)
    assert [Path(one).name for one in facts["benchmarks"]] == ["a.json", "b.json"]
    text = (two / "report.html").read_text("utf-8")
    found = re.findall(r' id="([^"]+)"', text)
    assert len(found) == len(set(found))
    assert {"claims", "claims-2", "files-2", "edgepress-document-2"} <= set(found)
    assert set(re.findall(r'aria-labelledby="([^"]+)"', text)) <= set(found)
    assert re.findall(r'href="#([^"]+)"', text) == ["top", "top-2"]
    assert text.count("<main>") == text.count("</main>") == 1
    for name in ("a", "b"):
        assert f"edgepress benchmark of {name}\nedgepress report {name}.json -o report.html" in _said(text)
    done = _run("verify", two / "report.html")
    assert done.exit_code == 0, done.output
    assert done.output.count("digest of the document is") == 2
    assert "the same to the last byte" in done.output


def test_each_benchmark_of_a_page_is_verified(two: Path) -> None:
    assert _run("report", two).exit_code == 0
    content = (two / "report.html").read_bytes()
    second = envelope.opened(content, "page").more[0]
    forged = copy.deepcopy(second.document)
    _number("top1", "value", 0.01)(forged)
    forged["digest"] = digest(forged)
    old, new = (envelope.blocks(one, second.samples, 2) for one in (second.document, forged))
    rest = content[len(envelope.HEAD) + len(envelope.UNKNOWN) :].decode()
    assert old in rest
    done = _verified(two / "report.html", envelope.sealed(rest.replace(old, new)))
    assert done.exit_code == 3
    assert "top1: value is" in done.output


def test_a_folder_with_one_benchmark_and_one_without(two: Path) -> None:
    (two / "b.json").unlink()
    done = _run("report", two, "-o", two / "page.html")
    assert done.exit_code == 0, done.output
    assert envelope.opened((two / "page.html").read_bytes(), "page").more == ()
    (two / "a.json").unlink()
    done = _run("report", two)
    assert done.exit_code == 2
    said = "".join(done.output.split())
    assert "hasnobenchmark;measureitsfilesfirst:edgepressbenchmark" in said
    assert f"--dataNAME-o{two}/bench.json" in said
    (two / "student.onnx").unlink()
    done = _run("report", two)
    assert done.exit_code == 2
    assert "give what `edgepress benchmark -o` wrote" in done.output


def test_a_benchmark_of_another_version_is_refused(two: Path) -> None:
    text = (two / "b.json").read_text("utf-8").replace("edgepress-benchmark/5", "edgepress-benchmark/4")
    (two / "b.json").write_text(text, encoding="utf-8")
    for command in (("report", two), ("report", two / "b.json"), ("verify", two / "b.json")):
        done = _run(*command)
        assert done.exit_code == 2
        assert "its schema is 'edgepress-benchmark/4'; give a benchmark" in " ".join(done.output.split())


BROWSER = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
PROBE = """<body><iframe src="report.html" width="WIDTH" height="800" style="border:0"></iframe><pre></pre><script>
const frame = document.querySelector("iframe"), out = document.querySelector("pre");
addEventListener("load", () => {
  const page = frame.contentDocument, head = page.querySelectorAll("table.sortable th[scope=col]")[1];
  head.querySelector("button").click();
  const sizes = [...page.querySelectorAll("table.sortable tbody tr")].map((row) => row.cells[1].dataset.key);
  out.textContent = JSON.stringify({
    width: page.documentElement.scrollWidth, sort: head.getAttribute("aria-sort"), sizes,
    cut: [...page.querySelectorAll(".wide")].filter((one) => one.scrollWidth > one.clientWidth).length,
    loaded: frame.contentWindow.performance.getEntriesByType("resource").length,
    flat: [...page.querySelectorAll("figure svg")].filter((one) => one.getBoundingClientRect().height < 50).length,
  });
});
</script></body>"""


@pytest.mark.extra("browser")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_on_a_phone_and_a_desk(folder: Path, tmp_path: Path, width: int) -> None:
    (tmp_path / "report.html").write_bytes((folder / "report.html").read_bytes())
    (tmp_path / "probe.html").write_text(PROBE.replace("WIDTH", str(width)), encoding="utf-8")
    command = [*BROWSER, "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", (tmp_path / "probe.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    shown = re.search(r"<pre>(\{.*?\})</pre>", done.stdout)
    assert shown is not None, done.stdout[-2000:]
    found = json.loads(shown[1])
    assert found["width"] <= width
    assert found["cut"] == 0
    assert found["sort"] == "ascending"
    assert found["sizes"][:2] == sorted(found["sizes"][:2], key=float)
    assert (found["loaded"], found["flat"]) == (0, 0)


def test_a_page_shows_what_was_measured_under_other_conditions(folder: Path, tmp_path: Path, content: bytes) -> None:
    assert b'id="conditions"' not in content
    assert b"one file against itself" in content
    bench = tmp_path / "bench.json"
    asked = ("--batch", "1,3", "--with-preprocessing", "--minutes", 0.01, "--fps", 100, "--rounds", 10, "--sessions", 2)
    done = _run("benchmark", folder / "student.onnx", *asked, "-o", bench)
    assert done.exit_code == 0, done.output
    done = _run("report", bench)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "bench.html").read_text("utf-8")
    part = text[text.index('id="conditions"') : text.index('id="how"')]
    assert part.count("<table") == part.count("<caption>") == 3
    for said in ("Calls of several images.", "From pixels", "at 100 frames a second", "of 60", "with preprocessing"):
        assert said in part
    assert part.count('<svg role="img"') == 1
    assert "Calls over time" in part
    assert "calls that begin with pixels beside it" in text
    assert _run("verify", tmp_path / "bench.html").exit_code == 0
