"""What reaches a terminal of a name that came from elsewhere."""

from __future__ import annotations

import pytest

from compress.text import counted, printable, with_article


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Äpfel und Birnen, 図 [bold] 😀", "Äpfel und Birnen, 図 [bold] 😀"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nb\tc\x7f\x85", r"a\x0ab\x09c\x7f\x85"),
        ("gpj\u202eexe", r"gpj\u202eexe"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_only_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (12_345, "12,345 images"), (-1, "-1 images")]
)
def test_only_one_thing_is_called_as_one(count: int, said: str) -> None:
    assert counted(count, "image") == said


@pytest.mark.parametrize(("noun", "said"), [("dict", "a dict"), ("int", "an int"), ("OrderedDict", "an OrderedDict")])
def test_a_noun_has_the_article_of_its_first_letter(noun: str, said: str) -> None:
    assert with_article(noun) == said
