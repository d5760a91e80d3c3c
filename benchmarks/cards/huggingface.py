"""A shipped file as a model card of Hugging Face: README.md, with its scores as `model-index` in the head.

Reference: https://huggingface.co/docs/hub/model-cards; the head is written by their own library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cards.known import Known, is_of_images
from benchmarks.cards.wording import name_text, value_texts
from compress.evidence import Record
from compress.text import printable
from exports import format_of
from exports.label import commands, how_to_read, steps

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

PIPELINES = {
    "classification": "image-classification",
    "retrieval": "image-feature-extraction",
    "segmentation": "image-segmentation",
}
METRICS = {"top1": "accuracy", "miou": "mean_iou"}  # as the Hub calls them; others by our own name
MOST_NAMES = 30  # of classes, that are written out


def readme(known: Known) -> str:
    """The model card as Markdown.

    Args:
        known: The file.
    """
    from huggingface_hub import ModelCardData

    found, card = list(_results(known)), known.artefact.card
    head = ModelCardData(
        pipeline_tag=PIPELINES[card.task] if card else None,
        tags=["edgepress", format_of(known.artefact.path).name.lower()],
        model_name=known.name if found else None,
        eval_results=found or None,
    )
    parts = [f"# {_plain(known.name)}", *_about(known), *_numbers(known), *_claims(known), *_use(known), *_made(known)]
    return f"---\n{head.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _results(known: Known) -> Iterator[EvalResult]:
    """The scores on the whole of the data; a time, or what is about one class, stands in the table alone."""
    from huggingface_hub import EvalResult

    if known.data is None or known.bench is None:
        return
    task = PIPELINES[known.bench.file["task"]]
    for record in known.records:
        counts = record.unit == "share" and is_of_images(record)
        if counts and record.value is not None and " " not in record.quantity:
            yield EvalResult(
                task_type=task,
                dataset_type=known.data["name"],
                dataset_name=known.data["name"],
                dataset_split=known.data["split"],
                metric_type=METRICS.get(record.quantity, record.quantity),
                metric_name=name_text(record.quantity),
                metric_value=record.value,
            )


def _about(known: Known) -> Iterator[str]:
    artefact, card = known.artefact, known.artefact.card
    form = format_of(artefact.path).name
    yield f"A network in the format {form}" + (f": {_plain(card.architecture.name)}, for {card.task}." if card else ".")
    yield _table(("file", "SHA-256"), ((name, digest) for name, digest in known.digests.items()))
    if card:
        few = f": {', '.join(map(_plain, card.classes))}" if len(card.classes) <= MOST_NAMES else ""
        yield f"It tells {len(card.classes)} classes apart{few}."


def _numbers(known: Known) -> Iterator[str]:
    yield "## Numbers"
    if known.bench:
        document = known.bench.document
        on = f", quality on the {document['data']['split']} split of {document['data']['name']}" if known.data else ""
        yield f"Measured {document['created']} on {_plain(str(document['machine']['cpu']))}{_plain(on)}, by"
        yield _code([document["command"]])
        if known.bench.baseline:
            name, verdict = Path(known.bench.baseline["name"]).name, known.bench.file["verdict"]
            yield f"Held against {_plain(name)}: {_plain(verdict['words'])}."
    head = ("", "value", "95 % interval", "unit", "samples")
    yield _table(head, [_row(one) for one in known.records if one.value is not None])


def _row(record: Record) -> tuple[str, ...]:
    value, interval, unit = value_texts(record)
    return name_text(record.quantity), value, interval, unit, "" if record.n is None else f"{record.n:,}"


def _claims(known: Known) -> Iterator[str]:
    if known.bench and known.bench.claims:
        yield "## Claims"
        yield _table(("", "claim"), known.bench.claims)


def _use(known: Known) -> Iterator[str]:
    """How an image becomes what goes in, and what comes out, as the file itself says."""
    artefact, card = known.artefact, known.artefact.card
    if card is None:
        return
    yield "## How to feed it"
    told = steps(card.preprocessing, artefact.input, artefact.layout, artefact.batch)
    yield "\n".join(f"{at}. {sentence}" for at, sentence in enumerate(told, 1))
    if reading := how_to_read(card, artefact.layout, artefact.batch):
        yield reading


def _made(known: Known) -> Iterator[str]:
    if typed := commands(known.lineage):
        yield "## How it was made"
        yield _code(typed)


def _table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    cells = [head, ["---"] * len(head), *([*map(_plain, row)] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _code(lines: list[str]) -> str:
    """Lines as a block that is shown as it stands, whatever is in it."""
    return "\n".join(f"    {printable(line)}" for line in lines)


def _plain(text: str) -> str:
    """Text of which nothing is taken for markup."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|~&" else letter for letter in printable(text))
