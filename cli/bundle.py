"""edgepress bundle"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options

if TYPE_CHECKING:
    from exports.bundle import Bundle, Pictures


def bundle(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .onnx or .tflite file that `edgepress export` wrote.")
    ],
    output: options.Output,
    data: Annotated[
        str | None,
        options.choice(
            "--data",
            options.DATA_SETS,
            help="Take golden images from this test split, by name or folder; they go into the zip. [default: noise]",
            group=options.DATA,
        ),
    ] = None,
    samples: Annotated[int, options.whole("--samples", 2, 99, help="Golden images.", group=options.DATA)] = 8,
    force: options.Force = False,
) -> None:
    """Put a file and all that another machine needs into a zip that tests itself.

    The file, how an image becomes its input, labels, golden images with the outputs that they must give, run.py and
    selftest.py, which need numpy, Pillow and the runtime of the file alone.

    Examples:
        edgepress bundle student.w8.onnx -o drone.zip --data digits
        edgepress bundle student.tflite -o drone.zip --data photos/ --samples 20
    """
    from compress.files import check_target
    from exports.bundle import check_bundled, make_bundle

    check_bundled(file)
    check_target(output, force=force, inputs=[file])
    _say(make_bundle(file, output, _pictures(file, data, samples), force=force))


def _pictures(file: Path, data: str | None, samples: int) -> Pictures:
    from cli import say
    from exports.bundle import noise_pictures, open_bundled, pictures_of

    if data is not None:
        return pictures_of(data, samples)
    say.notes(["the golden images are noise; --data NAME takes them from a test split"])
    return noise_pictures(open_bundled(file)[1].preprocessing, samples)


def _say(made: Bundle) -> None:
    from dataclasses import asdict

    from cli import say

    lines = [f"{size:>10,}  {name}" for name, size in made.files.items() if not name.startswith("golden/")]
    golden = [size for name, size in made.files.items() if name.startswith("golden/")]
    say.result(
        asdict(made),
        *lines,
        f"{sum(golden):>10,}  golden/: {made.origin}, the pixels seen of them, and the outputs",
        f"allowed on another machine: {made.tolerance}",
        f"manifest sha256 {made.manifest_sha256}",
        f"written: {made.path}, {made.size_bytes:,} bytes; unpack it anywhere and run selftest.py",
    )
