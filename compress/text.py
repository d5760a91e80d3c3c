"""Text to print: what comes from files and folders made safe, numbers of things in words, shares."""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs"))


def printable(text: str) -> str:
    r"""`text` with every control, format and surrogate character as its escape, `\x1b` or `\u202e`; the rest unchanged.

    Names of files and classes come from elsewhere: raw, they could clear a terminal, set its title or turn its text
    around.

    Args:
        text: One line; a newline in it is escaped as well.
    """
    return "".join(_escape(letter) if unicodedata.category(letter) in _UNPRINTABLE else letter for letter in text)


def share_text(share: float) -> str:
    """A share in percent; 100.00% is said of the whole alone."""
    return f"{share if share == 1 else min(share, 0.9999):.2%}"


def _escape(letter: str) -> str:
    code = ord(letter)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def counted(count: int, thing: str) -> str:
    """So many of a thing: "1 image", "1,347 images".

    Args:
        count: How many.
        thing: What one of them is called; it has its plural in s.
    """
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def with_article(noun: str) -> str:
    """A noun with "a" or "an" before it, by its first letter: "a dict", "an int"."""
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"
