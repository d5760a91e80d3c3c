"""Masks as images: where they lie on the photo, which pixel is nearest, the palette, and that they are masks again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.prepare import fit
from compress.data.split import VOID
from compress.errors import OutputError
from compress.mask_image import VOID_COLOUR, colours, restore, seen_box, upright_size, write_mask
from compress.preprocessing import Preprocessing


def _see(size: tuple[int, int], **rule: object) -> Preprocessing:
    return Preprocessing(size, 1, (0.0,), (1.0,), **rule)  # type: ignore[arg-type]


def test_a_stretched_mask_covers_the_whole_photo() -> None:
    mask = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    whole = restore(mask, (4, 6), _see((2, 2), resize="stretch"))
    assert whole.tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2


def test_a_cropped_mask_lies_in_the_middle_and_the_rest_is_void() -> None:
    mask = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    assert seen_box((2, 5), _see((2, 2))) == (0, 2, 2, 4)
    assert restore(mask, (2, 5), _see((2, 2))).tolist() == [[VOID, VOID, 0, 1, VOID], [VOID, VOID, 2, 3, VOID]]
    assert restore(mask, (8, 4), _see((2, 2), crop=0.5))[3:5].tolist() == [[VOID, 0, 1, VOID], [VOID, 2, 3, VOID]]


def test_a_smaller_photo_takes_every_other_pixel() -> None:
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert restore(mask, (2, 2), _see((4, 4))).tolist() == [[5, 7], [13, 15]]


def test_a_photo_of_the_size_of_the_network_has_the_mask_itself() -> None:
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(restore(mask, (2, 3), _see((2, 3), border=4)), mask)


def test_a_border_that_the_network_sees_is_no_part_of_the_photo() -> None:
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert seen_box((2, 2), _see((4, 4), border=1)) == (-1, -1, 3, 3)
    assert restore(mask, (2, 2), _see((4, 4), border=1)).tolist() == [[5, 6], [9, 10]]


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(40, 64), (64, 40), (33, 47)])
@pytest.mark.parametrize("crop", [1.0, 0.75])
def test_a_mask_lies_where_the_network_saw_it(size: tuple[int, int], resize: str, crop: float) -> None:
    """A photo with one bright quarter, as the network sees it, is its own mask; restored, it is the photo again."""
    see = _see((16, 20), resize=resize, crop=crop)
    photo = np.zeros(size, dtype=np.uint8)
    photo[: size[0] // 2, : size[1] // 2] = 255
    seen = fit(Image.fromarray(photo), see)[0]
    whole = restore((seen > 127).astype(np.uint8), size, see)
    covered = whole != VOID
    wrong = (whole == 1) != (photo == 255)
    assert wrong[covered].mean() < 0.06
    assert covered.mean() == pytest.approx(np.prod(see.box(size)) / np.prod(size))


def test_colours_differ_and_none_is_that_of_void() -> None:
    for classes in (2, 11, 150):
        found = colours(classes)
        assert len({VOID_COLOUR, *found}) == classes + 1
        assert found == colours(255)[:classes]
    eleven = np.array([VOID_COLOUR, *colours(11)], dtype=np.float64)
    gaps = np.abs(eleven[:, None] - eleven).sum(axis=2)[np.triu_indices(12, 1)]
    assert gaps.min() > 80


def test_a_written_mask_is_a_palette_whose_values_are_the_classes(tmp_path: Path) -> None:
    mask = np.array([[0, 2, VOID], [1, 1, 0]], dtype=np.uint8)
    target = write_mask(mask, 3, tmp_path / "mask.png")
    with Image.open(target) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "P", (3, 2))
        assert np.asarray(image).tolist() == mask.tolist()
        painted = np.asarray(image.convert("RGB"))
    named = {0: colours(3)[0], 1: colours(3)[1], 2: colours(3)[2], VOID: VOID_COLOUR}
    assert [[tuple(pixel) for pixel in row] for row in painted.tolist()] == [[named[v] for v in row] for row in mask]
    with pytest.raises(OutputError, match="force"):
        write_mask(mask, 3, target)
    assert write_mask(mask, 3, target, force=True) == target


@pytest.mark.parametrize(("orientation", "size"), [(1, (20, 30)), (3, (20, 30)), (6, (30, 20)), (8, (30, 20))])
def test_the_size_of_a_photo_is_that_of_the_upright_one(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(tmp_path / "photo.jpg", exif=exif)
    assert upright_size(tmp_path / "photo.jpg") == size
