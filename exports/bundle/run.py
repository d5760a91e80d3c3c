"""Answers one image with the model beside this file: `python run.py photo.jpg`.

It needs numpy, Pillow and the runtime of the model: onnxruntime for a .onnx, ai-edge-litert for a .tflite. What is done
to the image is what preprocessing.json says, in numbers and in sentences.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

MISSING = ""
try:
    import numpy as np
    from PIL import Image, ImageOps
except ModuleNotFoundError as error:
    MISSING = str(error)

HERE = Path(__file__).resolve().parent
DEEP_MODES = ("F", "I")  # more than 8 bits a channel
NAMED = 3
RUNTIMES = {".onnx": ("onnxruntime", "onnxruntime"), ".tflite": ("ai_edge_litert.interpreter", "ai-edge-litert")}

Rule = dict[str, Any]
Model = Callable[[Any], Any]  # what `feed` gives to the first output


def read_rule() -> Rule:
    """What preprocessing.json says."""
    rule: Rule = json.loads(_bundled("preprocessing.json"))
    return rule


def read_labels() -> list[str]:
    """The names of the classes, in the order of the outputs."""
    return _bundled("labels.txt").decode().split("\n")[:-1]


def _bundled(name: str) -> bytes:
    path = HERE / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing; unpack the bundle again")
    return path.read_bytes()


def see(path: Path, rule: Rule) -> Any:
    """The pixels that the model sees of an image file: (height, width, channels) uint8."""
    image = _place(_convert(_read(path), rule["channels"]), rule)
    return np.asarray(image).reshape(rule["size"]["height"], rule["size"]["width"], rule["channels"])


def _read(path: Path) -> Image.Image:
    """The image in a file, upright."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} {'is a folder' if path.exists() else 'does not exist'}; give an image file")
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        raise OSError(f"{path}: cannot be read as an image ({error}); give another, such as a .jpg or .png") from error
    if image.mode.startswith(DEEP_MODES):
        raise ValueError(f"{path}: its pixels are of mode {image.mode}; 8 bits a channel are needed")
    return image


def _convert(image: Image.Image, channels: int) -> Image.Image:
    """The image in RGB; from there in grey where the model has one channel."""
    if "transparency" in image.info:
        image = image.convert("RGBA")
    image = image.convert("RGB")
    return image if channels == 3 else image.convert("L")


def _place(image: Image.Image, rule: Rule) -> Image.Image:
    """The box in the middle of the image, brought to size; an image that has the size already stays as it is."""
    height, width = rule["size"]["height"], rule["size"]["width"]
    crop, border = rule["resize"]["crop"], rule["resize"]["border"]
    if image.size == (width, height) and crop == 1:
        return image
    if border:
        image = ImageOps.expand(image, border, fill=0)
    down, right = image.height, image.width
    if rule["resize"]["rule"] == "crop":
        scale = min(image.height / height, image.width / width)
        down, right = round(height * scale), round(width * scale)
    down, right = max(1, round(down * crop)), max(1, round(right * crop))
    top, left = round((image.height - down) / 2), round((image.width - right) / 2)
    box = (left, top, left + right, top + down)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def feed(pixels: Any, rule: Rule) -> Any:
    """What goes into the model: one image, of the type and with the axes that preprocessing.json names."""
    if rule["dtype"] == "float32":
        mean, std = np.float32(rule["mean"]), np.float32(rule["std"])
        pixels = pixels.astype(np.float32) * (np.float32(1) / (np.float32(255) * std)) - mean / std
    axes = (2, 0, 1) if rule["layout"] == "NCHW" else (0, 1, 2)
    return np.ascontiguousarray(pixels.transpose(axes)[None])


def open_model(rule: Rule) -> Model:
    """The model in its runtime, on one thread.

    Raises:
        ModuleNotFoundError: Something is not installed; the message says what to type.
    """
    suffix = Path(rule["model"]).suffix
    runtime = _runtime(*RUNTIMES[suffix])
    return (_in_onnxruntime if suffix == ".onnx" else _in_litert)(runtime, _bundled(rule["model"]))


def _runtime(module: str, package: str) -> Any:
    try:
        if MISSING:
            raise ModuleNotFoundError(MISSING)
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; install what is needed: pip install numpy pillow {package}") from error


def _in_onnxruntime(onnxruntime: Any, content: bytes) -> Model:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    taken, given = session.get_inputs()[0].name, session.get_outputs()[0].name
    return lambda image: session.run([given], {taken: image})[0]


def _in_litert(litert: Any, content: bytes) -> Model:
    interpreter = litert.Interpreter(model_content=content, num_threads=1)
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def answer(image: Any) -> Any:
        interpreter.resize_tensor_input(taken, list(image.shape))
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken, image)
        interpreter.invoke()
        return interpreter.get_tensor(given)

    return answer


def told(output: Any, rule: Rule, labels: list[str]) -> list[str]:
    """What the answer to one image means, a line each."""
    if rule["task"] == "classification":
        shares = np.exp(output[0] - output[0].max())
        shares = shares / shares.sum()
        return [f"{labels[at]} {100 * shares[at]:.1f} %" for at in np.argsort(-shares, kind="stable")[:NAMED]]
    if rule["task"] == "segmentation":
        mask = output[0].argmax(0 if rule["layout"] == "NCHW" else -1)
        counts = np.bincount(mask.ravel(), minlength=len(labels))
        return [f"{labels[at]} {100 * counts[at] / mask.size:.1f} % of the pixels" for at in np.flatnonzero(counts)]
    return [" ".join(f"{value:.6g}" for value in output[0])]


def main(words: list[str]) -> int:
    """0 once the image is answered; 2 where no image was given, it cannot be read, or something is not installed."""
    if len(words) != 1:
        sys.stderr.write("usage: python run.py IMAGE\n")
        return 2
    try:
        rule, labels = read_rule(), read_labels()
        model, pixels = open_model(rule), see(Path(words[0]), rule)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for line in told(model(feed(pixels, rule)), rule, labels):
        sys.stdout.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
