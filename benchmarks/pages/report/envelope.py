"""What a page carries beside what it shows: its document, its raw samples, and a digest over all of its other bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.document import Document, parse
from benchmarks.samples import beside
from compress.errors import DataError, GateError

HEAD = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="edgepress-digest" content="'
UNKNOWN = "0" * 64
PAGE = ".html"
DOCUMENT, SAMPLES = "edgepress-document", "edgepress-samples"
ESCAPED = {one: f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Carried:
    """What was found in a page.

    Attributes:
        document: The benchmark.
        samples: The content of its raw samples.
        more: Further benchmarks of the page, each with none of its own.
    """

    document: dict[str, Any]
    samples: bytes
    more: tuple[Carried, ...] = ()

    @property
    def all(self) -> list[Carried]:
        """Every benchmark of the page, in its order."""
        return [self, *self.more]


def blocks(document: Document, samples: bytes, number: int = 1) -> str:
    """The part of a page that carries a document and its raw samples; a browser does not run it.

    Args:
        document: The benchmark.
        samples: The content of its .npz file.
        number: Of the benchmark in the page, from 1.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for one, escape in ESCAPED.items():
        text = text.replace(one, escape)
    raw = base64.b64encode(samples).decode()
    return "".join(
        _block(numbered(name, number), kind, held)
        for name, kind, held in ((DOCUMENT, "json", text), (SAMPLES, "base64", raw))
    )


def sealed(rest: str) -> bytes:
    """A whole page, its digest in its head.

    Args:
        rest: Everything behind the head's digest, from the quotation mark that ends it.
    """
    unsealed = (HEAD + UNKNOWN + rest).encode()
    return unsealed.replace(UNKNOWN.encode(), _digest(unsealed).encode(), 1)


def opened(content: bytes, name: str) -> Carried:
    """What a page carries, once it is sure that none of its bytes was altered.

    Args:
        content: Of the page.
        name: What it is called where something is wrong with it.

    Raises:
        GateError: It was altered, or `edgepress report` did not write it.
        DataError: It carries a document of another version.
    """
    head, begins = HEAD.encode(), len(HEAD)
    told, rest = content[begins : begins + len(UNKNOWN)], content[begins + len(UNKNOWN) :]
    if not content.startswith(head):
        raise GateError(f"{name}: does not begin as a page of `edgepress report` does: it is none, or was altered")
    if _digest(head + UNKNOWN.encode() + rest).encode() != told:
        raise GateError(f"{name}: was altered: its bytes do not have the digest that it says; trust none of it")
    text = content.decode()
    count = len(re.findall(f'<script type="application/json" id="{DOCUMENT}', text))
    first, *more = (_carried(text, number, name) for number in range(1, max(count, 1) + 1))
    return replace(first, more=tuple(more))


def carried(path: Path) -> list[Carried]:
    """The benchmarks of a page, or the one in a document and the raw samples beside it.

    Raises:
        GateError: The page was altered, or is none.
        DataError: There is no such file, or it holds none of this version, or its samples are missing.
    """
    if path.suffix != PAGE:
        return [Carried(*beside(path))]
    if not path.is_file():
        raise DataError(f"{path} is not a file; give a page of `edgepress report`")
    return opened(path.read_bytes(), str(path)).all


def numbered(name: str, number: int) -> str:
    """An address in a page, of the benchmark of that number: "claims", "claims-2"."""
    return name if number == 1 else f"{name}-{number}"


def _carried(text: str, number: int, name: str) -> Carried:
    document, samples = (_held(text, numbered(block, number)) for block in (DOCUMENT, SAMPLES))
    try:
        return Carried(parse(document, name), base64.b64decode(samples, validate=True))
    except binascii.Error as error:
        raise GateError(f"{name}: its raw samples are not base64: {error}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _block(name: str, kind: str, held: str) -> str:
    return f'<script type="application/{kind}" id="{name}">{held}</script>\n'


def _held(text: str, name: str) -> str:
    found = re.findall(f'<script type="application/[a-z0-9]+" id="{name}">([^<]*)</script>', text)
    if len(found) != 1:
        raise GateError(f"the page carries {len(found)} blocks {name!r}; it has to be one")
    return str(found[0])
