"""One image file -> its pixels in 8-bit colour, or one error that names the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightning_module.support.errors import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {
    ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".ppm": "PPM", ".tif": "TIFF",
    ".tiff": "TIFF",
}  # fmt: skip
"""Ending of a file's name -> format. A file may be of any of these, whatever its name says: ImageNet has a PNG named
.JPEG. Pillow knows more, and runs Ghostscript for one of them."""

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Kinds of pixels, as Pillow calls them, that it converts to colour rightly."""

BITS_PER_SAMPLE, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 258, 262, 284, 339
"""Tags of TIFF: depth; what the smallest value looks like; one image of each colour; whether values are unsigned."""


class ImageError(Exception):
    """An image that cannot be used. From a worker it arrives wrapped in a traceback, which ends in its sentence."""

    def __init__(self, text: str) -> None:
        super().__init__(text.strip().splitlines()[-1].split(f"{type(self).__name__}: ")[-1])


@contextmanager
def image(path: Path) -> Iterator[Image]:
    """A decoded image, in colour. ImageError for all that goes wrong, then or while it is worked with.

    Transparency is dropped and turns that EXIF asks for are not made, as torchvision's ImageFolder has it; of several
    images in a file the first one counts.
    """
    from PIL import UnidentifiedImageError

    try:
        yield _decoded(path)
    except (
        Exception
    ) as error:  # Pillow raises whatever its decoders meet: SyntaxError, struct.error, MemoryError...
        known = ", ".join(dict.fromkeys(FORMATS.values()))
        reason = (
            f"Pillow sees none of {known} in it"
            if isinstance(error, UnidentifiedImageError)
            else one_line(error)
        )
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        name = " ".join(os.fsencode(path).decode(errors="backslashreplace").split())
        raise ImageError(f"{name} cannot be read as an image ({reason})") from error


def _decoded(path: Path) -> Image:
    from PIL import Image

    formats = tuple(dict.fromkeys(FORMATS.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of EXIF, which nobody looks at here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        opened: Image.Image = Image.open(path, formats=formats)
        if opened.format == "PNG":
            opened.verify()  # checksums, which decoding does not look at
            opened = Image.open(path, formats=formats)
        with opened:
            _check_layout(opened)
            return _eight_bits(opened).convert("RGB")


def _check_layout(image: Image) -> None:
    """ValueError for a TIFF that Pillow reads without a word, but not as it is.

    Strips that the file lacks stay black; colours of 16 bits that lie one after the other are taken for 8 bits.
    """
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    planes = 1 if tags.get(PLANES, 1) == 1 else len(image.getbands())
    if planes > 1 and max(tags.get(BITS_PER_SAMPLE, (1,))) > 8:
        raise ValueError(
            "its colours of 16 bits lie one after the other; save it with those of a pixel together"
        )
    boxes = [extents for codec, extents, *_ in image.tile if codec == "raw"]  # type: ignore[attr-defined]
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    if boxes and covered < image.width * image.height * planes:
        raise ValueError("parts of it are missing")


def _eight_bits(image: Image) -> Image:
    """The same with 8 bits per colour; ValueError if it has no fixed range of values.

    Of 16 bits the upper 8 are kept, as Pillow does itself where an image has colours.
    """
    from PIL import Image

    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    unsigned = set(tags.get(SAMPLE_FORMAT, (1,))) == {1}
    if image.mode in EIGHT_BITS and unsigned:
        return image
    grey_16 = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    usual = image.format != "TIFF" or (tags.get(BITS_PER_SAMPLE) == (16,) and tags.get(PHOTOMETRIC) == 1)
    if grey_16 and unsigned and usual:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    raise ValueError(
        f"pixels of Pillow's kind {image.mode}; save it in grey or colour, with 8 or 16 unsigned bits each"
    )
