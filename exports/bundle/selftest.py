"""Shows whether the model answers here as it did where this bundle was made: `python selftest.py`.

First the digest of every file; then, for each golden image, whether the pixels that the model sees are the same and how
far its outputs are from those in golden/. It ends with 1 where something is not as it should be.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MANIFEST = "MANIFEST.sha256"


def altered() -> list[str]:
    """What is not as the manifest says, a sentence each."""
    found = []
    for line in (HERE / MANIFEST).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = HERE / name
        if not path.is_file():
            found.append(f"{name}: is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            found.append(f"{name}: is not the file that was bundled")
    return found


def load_run() -> Any:
    """run.py beside this file, as a module; nothing is written beside it."""
    sys.dont_write_bytecode = True
    spec = spec_from_file_location("run", HERE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compared(run: Any) -> list[tuple[bool, str]]:
    """Whether each golden image is answered as it was, and a sentence on it."""
    golden, rule = json.loads((HERE / "golden" / "golden.json").read_text(encoding="utf-8")), run.read_rule()
    model = run.open_model(rule)
    return [_compared(run, rule, model, golden["tolerance"], one) for one in golden["images"]]


def _compared(run: Any, rule: Any, model: Any, tolerance: Any, one: Any) -> tuple[bool, str]:
    np, image = run.np, run.Image
    pixels = run.see(HERE / one["image"], rule)
    with image.open(HERE / one["seen"]) as seen:
        strange = int((pixels != np.asarray(seen).reshape(pixels.shape)).sum())
    expected = np.fromfile(HERE / one["output"], "<f4").reshape(one["shape"])
    found = np.asarray(model(run.feed(pixels, rule)), np.float32)
    if found.shape != expected.shape:
        return False, f"{one['image']}: gives outputs of shape {found.shape}, not {expected.shape}"
    difference = np.abs(found.astype(np.float64) - expected)
    allowed = np.asarray(tolerance["allowed"])
    if tolerance["measure"] == "rms":
        difference = np.sqrt(np.square(difference).mean())
    elif rule["layout"] == "NCHW" and difference.ndim > 2:
        allowed = allowed.reshape(-1, 1, 1)
    within = bool(np.isfinite(found).all() and (difference <= allowed).all())
    at = np.unravel_index(np.argmax(difference - allowed), np.shape(difference - allowed))
    limit = float(np.broadcast_to(allowed, np.shape(difference))[at])
    measure = "rms difference" if tolerance["measure"] == "rms" else "difference"
    told = f"{one['image']}: {measure} {float(difference[at]):.3g} (allowed {limit:.3g})"
    return within and not strange, told + (f", {strange} pixel values are seen otherwise" if strange else "")


def main() -> int:
    """0 where all is as it was; 1 where something is not."""
    broken = altered()
    if broken:
        for sentence in broken:
            sys.stdout.write(f"FAILED  {sentence}\n")
        sys.stdout.write("unpack the bundle again; nothing was run\n")
        return 1
    sys.stdout.write(f"ok      every file is as {MANIFEST} says\n")
    try:
        results = compared(load_run())
    except ModuleNotFoundError as error:
        sys.stdout.write(f"FAILED  nothing was run: {error}\n")
        return 1
    for fine, sentence in results:
        sys.stdout.write(f"{'ok    ' if fine else 'FAILED'}  {sentence}\n")
    failed = sum(not fine for fine, _ in results)
    sys.stdout.write(f"{len(results) - failed} of {len(results)} golden images are answered as they were\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
