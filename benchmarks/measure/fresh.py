"""Opens one file in a process of its own and has it answer once; `benchmarks.measure.start` runs it as a script.

It imports nothing of edgepress, only the runtime, as a program that ships the file would. What it is asked comes as
JSON: file, suffix, threads, and images, a .npy file of what goes in. What it prints is JSON: `cold_ms` and
`peak_bytes`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"

Answer = Callable[[], object]


def main() -> None:
    """Open the file that was asked for, answer once, and print what that took."""
    asked = json.loads(sys.argv[1])
    answer = RUNTIMES[asked["suffix"]](asked["file"], np.load(asked["images"]), asked["threads"])
    before = _forget_peak()
    start = time.perf_counter_ns()
    answer()
    took = time.perf_counter_ns() - start
    peak = None if before is None else _status("VmHWM") - before
    sys.stdout.write(json.dumps({"cold_ms": took / 1e6, "peak_bytes": peak}))


def _in_onnxruntime(file: str, images: Any, threads: int) -> Answer:
    import onnxruntime

    def answer() -> object:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: images})

    return answer


def _in_litert(file: str, images: Any, threads: int) -> Answer:
    from ai_edge_litert.interpreter import Interpreter

    laid = np.ascontiguousarray(np.moveaxis(images, 1, -1))

    def answer() -> object:
        interpreter = Interpreter(model_path=file, num_threads=threads)
        taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
        interpreter.resize_tensor_input(taken["index"], list(laid.shape))
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], _codes(laid, taken))
        interpreter.invoke()
        return interpreter.get_tensor(given)

    return answer


def _codes(images: Any, taken: Mapping[str, Any]) -> Any:
    """The images on the steps of an input of whole numbers; as they are where that is what it takes."""
    if images.dtype == taken["dtype"]:
        return images
    (scale, zero), ends = taken["quantization"], np.iinfo(taken["dtype"])
    return np.clip(np.rint(images / scale) + zero, ends.min, ends.max).astype(taken["dtype"])


def _forget_peak() -> int | None:
    """The bytes that the process holds now, its high-water mark brought down to them; None where neither is told."""
    try:
        FORGET.write_text(FORGET_PEAK)
        return _status("VmRSS")
    except OSError:
        return None


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


RUNTIMES: Mapping[str, Callable[[str, Any, int], Answer]] = {".onnx": _in_onnxruntime, ".tflite": _in_litert}

if __name__ == "__main__":
    main()
