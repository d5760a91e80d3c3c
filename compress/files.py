"""Files and folders written whole or not at all, never over what is there unless asked, and by one run at a time."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.errors import OutputError

_PARTIAL = ".partial"
_TRIES = 5
_PAUSE_S = 0.02
_HELD: dict[Path, int] = {}


def check_target(path: Path, *, force: bool = False, inputs: Iterable[Path] = (), folder: bool = False) -> Path:
    """`path` itself, once it is sure that a file can be written there.

    A folder on the way may be a link. A link at the very end is followed only with `force`: what it points to is then
    replaced, and the link stays.

    Args:
        path: Where a result will go.
        force: Allow a file that already exists to be replaced.
        inputs: What the result is made from; none of it is ever replaced, whatever name or link leads to it.
        folder: The result is a folder.

    Raises:
        OutputError: The folder is missing or not writable, the path is of another kind or one of the inputs, or
            something lies there and `force` is not given.
    """
    _check_allowed(path, force=force, inputs=inputs, folder=folder)
    try:
        with _beside(_place(path)):
            pass
    except OSError as error:
        raise OutputError(f"{path}: cannot write into {_place(path).parent}: {error.strerror}") from error
    return path


def write_whole(path: Path, write: Callable[[Path], None], *, force: bool = False, folder: bool = False) -> Path:
    """`path`, holding all of what `write` produced: it is written beside the target, flushed and then renamed.

    A process that is killed meanwhile leaves a hidden `.partial` folder of an unpredictable name; see `sweep`.

    Args:
        path: The target.
        write: Writes the whole content to the path it is given: a file, or the folder that it makes there.
        force: Allow what already exists to be replaced; a folder only where the new one has all of its entries.
        folder: The result is a folder.

    Raises:
        OutputError: The target may not or cannot be written; what lies there is untouched.
    """
    _check_allowed(path, force=force, inputs=(), folder=folder)
    place = _place(path)
    try:
        with _beside(place) as staged:
            write(staged)
            _flush(staged)
            _put(staged, place)
    except OSError as error:
        raise OutputError(f"{path}: not written: {error.strerror or error}") from error
    return path


def append(path: Path, content: bytes) -> None:
    """Nothing, once the content stands at the end of a file and will outlive this process, however that ends.

    Raises:
        OutputError: It cannot be written, or only in part.
    """
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise OutputError(f"{path}: not written: {error.strerror or error}") from error


def write_text(path: Path, text: str, *, force: bool = False) -> Path:
    """`path`, holding `text` in UTF-8, whole.

    Raises:
        OutputError: The target may not or cannot be written.
    """

    def write(staged: Path) -> None:
        staged.write_text(text, encoding="utf-8")

    return write_whole(path, write, force=force)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """The path of a file beside another one, for the time of the `with`; `sweep` removes what a killed process left.

    Raises:
        OSError: Nothing can be written there.
    """
    with _beside(_place(path)) as file:
        yield file


def sweep(path: Path) -> None:
    """Remove what killed writers of `path` left beside it; to be called by who has it to itself (see `exclusive`)."""
    place = _place(path)
    left = re.compile(rf"\.{re.escape(place.name)}-\w{{8}}{re.escape(_PARTIAL)}")
    for entry in place.parent.iterdir():
        if left.fullmatch(entry.name) and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Inside the `with`, no other process is inside one of the same file.

    A hidden file beside it, `.NAME.lock`, is locked and holds the process id; the lock ends with the process, however
    that ends. Within one process it may be entered again; of the processes of one launch only the first takes it.

    Raises:
        OutputError: Another process has it; the message names its id. Or the file system has no locks.
    """
    lock = _lock_path(path)
    if lock in _HELD or not _leads():
        yield
        return
    _HELD[lock] = _acquire(lock, path)
    try:
        yield
    finally:
        if lock in _HELD:  # not in a forked child
            lock.unlink(missing_ok=True)
            os.close(_HELD.pop(lock))


def check_free(path: Path) -> None:
    """Nothing, once no other process is inside an `exclusive` of this file.

    Raises:
        OutputError: See `exclusive`.
    """
    with exclusive(path):
        pass


def _check_allowed(path: Path, *, force: bool, inputs: Iterable[Path], folder: bool) -> None:
    for source in inputs:
        if _same(path, source):
            raise OutputError(
                f"the output {path} and the input {source} are the same file; give the output another name"
            )
    try:
        _check_kind(path, folder=folder)
        place = _place(path)
        parent = place.parent if path.is_symlink() else path.parent
        if not parent.is_dir():
            found = "is a file, not a folder" if parent.exists() else "does not exist; make it first"
            raise OutputError(f"{path}: its folder {parent} {found}")
        if path.is_symlink() and not force:
            raise OutputError(f"{path} is a link to {place}; pass --force to replace what it points to")
        if path.exists() and not force:
            raise OutputError(f"{path} already exists; pass --force to replace it")
    except OSError as error:
        raise OutputError(f"{path}: cannot write into {path.parent}: {error.strerror}") from error


def _same(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:  # one of them is not there
        return False


def _check_kind(path: Path, *, folder: bool) -> None:
    if path.is_dir() and (path == Path() or not folder):
        empty = " (and so is an empty name)" if path == Path() else ""
        raise OutputError(f"{path} is a folder{empty}; give the name of a {'folder' if folder else 'file'} to write")
    if path.is_file() and folder:
        raise OutputError(f"{path} is a file; give the name of a folder to write")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise OutputError(f"{path} is neither a file nor a folder; give another name")


def _place(path: Path) -> Path:
    """Where a path leads in the end, through every link."""
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OutputError(f"{path} is a link that leads in a circle; remove it or give another name")
    return place


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A path that nothing else knows, in a hidden folder beside `place`, removed at the end with what is left in it."""
    folder = Path(tempfile.mkdtemp(prefix=f".{place.name}-", suffix=_PARTIAL, dir=place.parent))
    try:
        yield folder / place.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush(staged: Path) -> None:
    """Everything written to a file, or to the files of a folder, is on the disk afterwards."""
    for path in (staged, *staged.rglob("*")) if staged.is_dir() else (staged,):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def _put(staged: Path, place: Path) -> None:
    if not place.is_dir():
        staged.replace(place)
        return
    strange = sorted({path.name for path in place.iterdir()} - {path.name for path in staged.iterdir()})
    if strange:
        raise OutputError(
            f"{place} holds {', '.join(strange[:3])}, which is not of what would replace it; give another name"
        )
    old = staged.with_name(f"{place.name}.old")
    place.replace(old)
    try:
        staged.replace(place)
    except OSError:
        old.replace(place)
        raise


def _leads() -> bool:
    """Whether this process is the first, or the only one, of those that one launch started."""
    return os.environ.get("RANK", "0") == "0"


def _lock_path(path: Path) -> Path:
    place = _place(path)
    return place.with_name(f".{place.name}.lock")


def _acquire(lock: Path, path: Path) -> int:
    """The descriptor of the locked file, which holds the process id."""
    if sys.platform == "win32":
        raise OutputError(f"{path}: this system has no flock, which keeps two runs apart; use Linux, macOS or WSL")
    try:
        for _ in range(_TRIES):  # a moment's hold, as of `check_free`, is no run
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            if _locked(descriptor, lock):
                return descriptor
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            time.sleep(_PAUSE_S)
    except OSError as error:
        raise OutputError(f"{path}: {lock} cannot be locked: {error.strerror}") from error
    raise OutputError(
        f"{path}: another run is on the way to it (process {holder or 'unknown'}); wait for its end, stop it, or give "
        "another output"
    )


def _locked(descriptor: int, lock: Path) -> bool:
    """Whether the file is ours by now and still has its name, which the one who had it before may have removed."""
    import fcntl  # not on every system

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), lock.stat(follow_symlinks=False)):
            return False
    except (BlockingIOError, FileNotFoundError):
        return False
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
    return True


def _drop_in_child() -> None:
    """A forked child is not the run; it must not keep its locks beyond the end of the run."""
    for descriptor in _HELD.values():
        os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_child)
