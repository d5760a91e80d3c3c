"""A checkpoint as a folder with the two files of ncnn, model.param and model.bin."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from exports.extras import need
from exports.labelling import label_folder
from exports.quiet import STDERR, STDOUT, quiet, silent
from exports.run_ncnn import EXTRA, GRAPH, WEIGHTS
from exports.source import Settings, check_floats, noise, source_network


def write(checkpoint: Checkpoint, path: Path, settings: Settings) -> None:
    """Write the network for one image at a time; its weights are stored as float32.

    Raises:
        ExportError: It is to take pixels or store codes, which the file could not, or pnnx cannot translate it.
        MissingExtraError: pnnx, which translates it, is not installed.
    """
    pnnx = need(EXTRA, "pnnx")
    check_floats(path, "ncnn", checkpoint, settings)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as place:  # pnnx leaves seven files more than are wanted
        try:
            with quiet(), silent(STDOUT, STDERR):
                network, image = source_network(checkpoint), noise(checkpoint.card, 1)
                trace = str(Path(place) / "model.pt")
                pnnx.export(network, trace, inputs=image, check_trace=False, fp16=False)
        except Exception as error:  # torch.jit and the C++ behind it raise whatever the operator at hand throws
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ExportError(f"{path.name}: pnnx cannot express this network: {reason:.300}") from error
        path.mkdir()
        for suffix, name in ((".ncnn.param", GRAPH), (".ncnn.bin", WEIGHTS)):
            made = Path(place) / f"model{suffix}"
            if not made.is_file():
                raise ExportError(f"{path.name}: pnnx cannot express this network: it wrote no {suffix} file")
            shutil.copyfile(made, path / name)
    label_folder(path, checkpoint, settings)
