"""Files and folders: whole or not at all, nothing replaced unasked, one run at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compress.errors import OutputError
from compress.files import check_free, check_target, exclusive, sweep, write_whole

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys, time
from pathlib import Path
from compress.files import exclusive
with exclusive(Path(sys.argv[1])):
    number = os.fork() if "fork" in sys.argv else os.getpid()
    if number:
        print(number, flush=True)
    time.sleep(600)
"""
Hold = Callable[..., tuple[subprocess.Popen[str], int]]


def text(content: str) -> Callable[[Path], None]:
    """Writes a text."""

    def write(path: Path) -> None:
        path.write_text(content)

    return write


def tree(**files: str) -> Callable[[Path], None]:
    """Makes a folder of texts."""

    def write(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            (path / name).write_text(content)

    return write


def fail(path: Path) -> None:
    """Writes half of it."""
    path.write_text("half")
    raise OSError(28, "No space left on device")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Starts a process that holds a file, and gives it and the number it prints: its id, or that of its child."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, *how: str) -> tuple[subprocess.Popen[str], int]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", HOLD, str(path), *how]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        stdout = started[-1].stdout
        assert stdout is not None
        return started[-1], int(stdout.readline())

    yield start
    for one in started:
        one.kill()
        one.communicate()


# ---- whole or not at all


def test_a_file_is_written_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", text("all"))
    finally:
        os.umask(before)
    assert contents(tmp_path) == {"new": "all"}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_what_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("precious")
    for name in ("old", "new"):
        with pytest.raises(OutputError, match=rf"{name}: not written: No space left on device"):
            write_whole(tmp_path / name, fail, force=True)
    assert contents(tmp_path) == {"old": "precious"}


def test_the_place_of_a_half_written_file_cannot_be_guessed(tmp_path: Path) -> None:
    places: list[Path] = []

    def write(path: Path) -> None:
        places.append(path)
        path.write_text("new")

    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".new.partial").symlink_to("victim")
    for _ in range(2):
        write_whole(tmp_path / "new", write, force=True)
    assert len({path.parent for path in places}) == 2
    assert all(path.name == "new" and path.parent.parent == tmp_path for path in places)
    assert (tmp_path / "victim").read_text() == "precious"


def test_writers_at_once_never_tear_a_file(tmp_path: Path) -> None:
    whole = [letter * 100_000 for letter in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(write_whole, tmp_path / "one", text(content), force=True) for content in whole * 10]
        assert all(job.result().exists() for job in jobs)
    assert contents(tmp_path)["one"] in whole
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".net-ab12cd_4.partial").mkdir()
    (tmp_path / ".net-ab12cd_4.partial/net").write_text("half")
    others = [".net-x-ab12cd_4.partial", ".other-ab12cd_4.partial", ".net-ab12cd_4", ".net.lock"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".net-ffffffff.partial").symlink_to(tmp_path / "elsewhere")
    sweep(tmp_path / "net")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, ".net-ffffffff.partial"])


# ---- nothing is replaced unasked


def test_what_exists_is_replaced_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("precious")
    for ask in (check_target, lambda path: write_whole(path, text("new"))):
        with pytest.raises(OutputError, match="old already exists; pass --force to replace it"):
            ask(tmp_path / "old")
    assert contents(tmp_path) == {"old": "precious"}
    assert write_whole(tmp_path / "old", text("new"), force=True).read_text() == "new"


@pytest.mark.parametrize("exists", [True, False], ids=["to a file", "dangling"])
def test_a_link_is_followed_only_by_force_and_stays(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far/real", tmp_path / "link"
    if exists:
        real.write_text("precious")
    link.symlink_to("far/real")
    before = contents(tmp_path)
    for ask in (check_target, lambda path: write_whole(path, text("new"))):
        with pytest.raises(OutputError, match=rf"link is a link to {real}; pass --force to replace what it points to"):
            ask(link)
    assert contents(tmp_path) == before
    assert check_target(link, force=True) == link
    write_whole(link, text("new"), force=True)
    assert (link.is_symlink(), real.is_symlink(), real.read_text()) == (True, False, "new")


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="a is a link that leads in a circle"):
        check_target(tmp_path / "a", force=True)
    (tmp_path / "c").symlink_to("gone/c")
    with pytest.raises(OutputError, match=r"c: its folder .*gone does not exist"):
        check_target(tmp_path / "c", force=True)


def test_a_folder_on_the_way_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to("real")
    write_whole(tmp_path / "way/new", text("all"))
    assert (tmp_path / "real/new").read_text() == "all"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", r"\. is a folder \(and so is an empty name\); give the name of a file to write"),
        (".", r"\. is a folder \(and so is an empty name\); give the name of a file to write"),
        ("..", r"\.\. is a folder; give the name of a file to write"),
        ("/", r"/ is a folder; give the name of a file to write"),
        ("/dev/null", r"/dev/null is neither a file nor a folder; give another name"),
    ],
)
def test_what_is_no_file_is_refused_by_force_too(name: str, message: str) -> None:
    with pytest.raises(OutputError, match=f"^{message}$"):
        check_target(Path(name), force=True)


@pytest.mark.parametrize("force", [True, False])
def test_an_input_is_never_replaced(tmp_path: Path, force: bool) -> None:
    source = tmp_path / "source"
    source.write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("source")
    (tmp_path / "hard").hardlink_to(source)
    for output, given in [
        (source, source),
        (tmp_path / "folder/../source", source),
        (tmp_path / "link", source),
        (tmp_path / "hard", source),
        (source, tmp_path / "link"),
    ]:
        with pytest.raises(OutputError, match=rf"the output {output} and the input {given} are the same file"):
            check_target(output, force=force, inputs=(tmp_path / "gone", given))
    assert check_target(tmp_path / "new", force=force, inputs=(source, tmp_path / "new"))


# ---- folders


def test_a_folder_is_written_whole(tmp_path: Path) -> None:
    place = tmp_path / "place"
    write_whole(place, tree(a="1", b="2"), folder=True)
    assert contents(tmp_path) == {"place/a": "1", "place/b": "2"}
    with pytest.raises(OutputError, match="place already exists; pass --force"):
        write_whole(place, tree(a="3"), folder=True)

    def half(path: Path) -> None:
        tree(a="3", b="4")(path)
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="place: not written: No space left"):
        write_whole(place, half, force=True, folder=True)
    assert contents(tmp_path) == {"place/a": "1", "place/b": "2"}
    write_whole(place, tree(a="3", b="4", c="5"), force=True, folder=True)
    assert contents(tmp_path) == {"place/a": "3", "place/b": "4", "place/c": "5"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_holds_anything_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letters").write_text("precious")
    with pytest.raises(OutputError, match="home holds letters, which is not of what would replace it"):
        write_whole(tmp_path / "home", tree(a="1"), force=True, folder=True)
    assert contents(tmp_path) == {"home/letters": "precious"}


def test_a_file_and_a_folder_do_not_replace_each_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="file is a file; give the name of a folder to write"):
        check_target(tmp_path / "file", force=True, folder=True)
    with pytest.raises(OutputError, match="folder is a folder; give the name of a file to write"):
        check_target(tmp_path / "folder", force=True)
    with pytest.raises(OutputError, match=r"\. is a folder .*; give the name of a folder to write"):
        check_target(Path(), force=True, folder=True)


# ---- one run at a time


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path, hold: Hold) -> None:
    (tmp_path / "link").symlink_to("net")
    run, pid = hold(tmp_path / "link")
    assert pid == run.pid
    for ask in (check_free, lambda path: exclusive(path).__enter__()):
        with pytest.raises(OutputError, match=rf"net: another run is on the way to it \(process {pid}\); wait"):
            ask(tmp_path / "net")
    with exclusive(tmp_path / "other"):
        pass
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert (tmp_path / ".net.lock").exists()
    with exclusive(tmp_path / "net"):
        assert (tmp_path / ".net.lock").read_text() == f"{os.getpid()}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_the_children_of_a_run_do_not_hold_its_file(tmp_path: Path, hold: Hold) -> None:
    run, child = hold(tmp_path / "net", "fork")
    try:
        with pytest.raises(OutputError, match=f"process {run.pid}"):
            check_free(tmp_path / "net")
        run.kill()
        run.wait()
        check_free(tmp_path / "net")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_process_enters_again_and_leaves_nothing(tmp_path: Path, hold: Hold) -> None:
    with exclusive(tmp_path / "net"):
        with exclusive(tmp_path / "net"):
            check_free(tmp_path / "net")
        assert (tmp_path / ".net.lock").exists()
    with pytest.raises(ValueError, match="trouble"), exclusive(tmp_path / "net"):
        raise ValueError("trouble")
    assert list(tmp_path.iterdir()) == []
    assert hold(tmp_path / "net")


def test_of_the_processes_of_a_launch_the_first_holds_it(
    tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(tmp_path / "net")
    monkeypatch.setenv("RANK", "1")
    with exclusive(tmp_path / "net"):
        check_free(tmp_path / "net")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(OutputError, match="another run"):
        check_free(tmp_path / "net")


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".net.lock").symlink_to("victim")
    with pytest.raises(OutputError, match=r"\.net\.lock cannot be locked: "):
        check_free(tmp_path / "net")
    assert (tmp_path / "victim").read_text() == "precious"
