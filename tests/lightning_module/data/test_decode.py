"""Image files of many kinds: their pixels, or one error that names the file."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from lightning_module.data.decode import ImageError, image

Image = pytest.importorskip("PIL.Image")

HEIGHT, WIDTH = 24, 32
COLOUR = np.ascontiguousarray(load_sample_images().images[0][100 : 100 + HEIGHT, 200 : 200 + WIDTH])
GREY_16 = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) * 85).reshape(HEIGHT, WIDTH)
PHOTOGRAPH = Image.fromarray(COLOUR)
GREY = np.asarray(PHOTOGRAPH.convert("L"))


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(pixels: np.ndarray, colour_type: int) -> bytes:
    """Of 16 bits; Pillow writes such files in grey only."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(pixels: np.ndarray, order: str = "<", **tags: int) -> bytes:
    """Uncompressed and grey; tags: bits, photometric and sample_format other than usual."""
    bits, kind = tags.get("bits", pixels.dtype.itemsize * 8), tags.get("sample_format", 1)
    values = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: tags.get("photometric", 1)}
    values |= {273: 8, 277: 1, 278: HEIGHT, 279: pixels.nbytes, 339: kind}
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in values.items())
    content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(content))
    return head + content + struct.pack(order + "H", len(values)) + entries + bytes(4)


def planes(pixels: np.ndarray, strips: int = 3) -> bytes:
    """An uncompressed TIFF whose red, green and blue lie one after the other; strips: how many of them it names."""
    bits, size = pixels.dtype.itemsize * 8, pixels[..., 0].nbytes
    content = pixels.transpose(2, 0, 1).tobytes()
    lists = [(bits,) * 3, [8 + n * size for n in range(strips)], [size] * strips]
    at = [8 + len(content) + 12 * n for n in range(3)]
    single = {256: WIDTH, 257: HEIGHT, 259: 1, 262: 2, 277: 3, 278: HEIGHT, 284: 2}
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in single.items()}
    for tag, values, place in zip((258, 273, 279), lists, at, strict=True):
        entries[tag] = struct.pack("<HHII", tag, 4, len(values), place if len(values) > 1 else values[0])
        content += struct.pack("<3I", *values, *[0] * (3 - len(values)))
    table = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return b"II" + struct.pack("<HI", 42, 8 + len(content)) + content + table


def opened(folder: Path, content: bytes, name: str = "a.png") -> np.ndarray:
    (folder / name).write_bytes(content)
    with image(folder / name) as picture:
        return np.asarray(picture)


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2)


TURNED = Image.Exif()
TURNED[0x112] = 6
TRANSPARENT = Image.fromarray(
    np.dstack([COLOUR, np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % 256]).astype(np.uint8)
)
LATER = {"save_all": True, "append_images": [PHOTOGRAPH.rotate(180)]}
RIGHT = {
    "16-bit grey PNG": (saved(Image.fromarray(GREY_16), "PNG"), grey(GREY_16 >> 8)),
    "16-bit grey PNG with transparency": (png(np.dstack([GREY_16, GREY_16 // 2]), 4), grey(GREY_16 >> 8)),
    "16-bit colour PNG": (png(np.dstack([GREY_16, GREY_16, GREY_16]), 2), grey(GREY_16 >> 8)),
    "16-bit TIFF": (tiff(GREY_16), grey(GREY_16 >> 8)),
    "16-bit TIFF of the other order": (tiff(GREY_16, ">"), grey(GREY_16 >> 8)),
    "16-bit PPM": (b"P5 32 24 65535\n" + GREY_16.astype(">u2").tobytes(), grey(GREY_16 >> 8)),
    "1 bit": (saved(Image.fromarray(GREY > 99), "PNG"), grey((GREY > 99) * np.uint8(255))),
    "palette": (saved(PHOTOGRAPH.quantize(256), "PNG"), np.asarray(PHOTOGRAPH.quantize(256).convert("RGB"))),
    "grey with transparency": (saved(TRANSPARENT.convert("LA"), "PNG"), grey(GREY)),
    "transparency is dropped": (saved(TRANSPARENT, "PNG"), COLOUR),
    "white is zero": (tiff(255 - GREY, photometric=0), grey(GREY)),
    "colours one after the other": (planes(COLOUR), COLOUR),
    "CMYK": (saved(PHOTOGRAPH.convert("CMYK"), "TIFF"), COLOUR),
    "EXIF says turn": (saved(PHOTOGRAPH, "PNG", exif=TURNED), COLOUR),
    "the first of two frames": (saved(PHOTOGRAPH, "PNG", **LATER), COLOUR),
    "the first of two pages": (saved(PHOTOGRAPH, "TIFF", **LATER), COLOUR),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_pixels_are_those_of_the_file(tmp_path, kind):
    content, expected = RIGHT[kind]
    assert np.array_equal(opened(tmp_path, content), expected)


def test_a_jpeg_of_four_colours_is_not_inverted(tmp_path):
    found = opened(tmp_path, saved(PHOTOGRAPH.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - COLOUR).mean() < 5


ROWS = struct.pack("<HHII", 257, 4, 1, HEIGHT)
JPEG = saved(PHOTOGRAPH, "JPEG")
PNG = saved(PHOTOGRAPH, "PNG")
WRONG = {
    "32-bit numbers": (tiff(GREY_16.astype(np.int32), sample_format=2), "pixels of Pillow's kind I; save it"),
    "16-bit numbers with a sign": (tiff(GREY_16.astype(np.int16), sample_format=2), "kind I; save it"),
    "8-bit numbers with a sign": (tiff(GREY, sample_format=2), "kind L; save it in grey or colour, with 8"),
    "fractions": (tiff(GREY_16.astype(np.float32), sample_format=3), "kind F; save it"),
    "12 bits": (tiff(GREY_16, bits=12), "kind I;16; save it"),
    "16 bits, white is zero": (tiff(GREY_16, photometric=0), "kind I;16; save it"),
    "colours of 16 bits one after the other": (planes(COLOUR.astype("<u2") * 257), "lie one after the other"),
    "a colour that is not there": (planes(COLOUR, strips=2), "parts of it are missing"),
    "rows that are not there": (tiff(GREY).replace(ROWS, struct.pack("<HHII", 257, 4, 1, 99)), "are missing"),
    "PostScript": (saved(PHOTOGRAPH, "EPS"), "Pillow sees none of JPEG, PNG, WEBP, BMP, PPM, TIFF in it"),
    "GIF": (saved(PHOTOGRAPH, "GIF"), "sees none of"),
    "a page of the web": (b"<html>404</html>", "sees none of"),
    "nothing": (b"", "sees none of"),
    "no pixels": (b"P6 0 0 255\n", "sees none of"),
    "too large": (saved(Image.new("1", (10_000, 9_000)), "PNG"), "90000000 pixels"),
    "far too large": (saved(Image.new("1", (20_000, 20_000)), "PNG"), "400000000 pixels"),
    "JPEG cut short": (JPEG[: len(JPEG) // 2], "runcated"),
    "PNG cut short": (PNG[: len(PNG) // 2], "runcated"),
    "PNG without its end": (PNG[:-12], ""),
    "PNG with a wrong checksum": (PNG.replace(b"IDAT", b"IDAT\0", 1), ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_picture_is_one_sentence_that_names_the_file(tmp_path, kind, recwarn):
    content, reason = WRONG[kind]
    with pytest.raises(ImageError) as error:
        opened(tmp_path, content, "wrong.png")
    assert str(error.value).startswith(f"{tmp_path}/wrong.png cannot be read as an image (")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert not recwarn.list


@pytest.mark.parametrize("name", [b"a\nb.png", b"\xff.png", b"ImageError: x.png"])
def test_an_odd_name_is_told_in_one_line_that_can_be_written(tmp_path, name):
    with pytest.raises(ImageError) as error, image(tmp_path / name.decode(errors="surrogateescape")):
        pass
    assert "\n" not in str(error.value)
    assert "No such file" in str(error.value).encode().decode()


MUTATED = {
    kind: saved(PHOTOGRAPH, kind) for kind in ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
}  # fmt: skip


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut, or with a few of its bytes changed, more often at the beginning, where the structure is said."""
    if rng.random() < 0.25:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(changed) if rng.random() < 0.5 else min(60, len(changed)))
        changed[place] = rng.choice([changed[place] ^ 1 << rng.randrange(8), rng.randrange(256), 0, 255])
    return bytes(changed)


def outcome(folder: Path, content: bytes) -> tuple[np.ndarray, str]:
    try:
        return opened(folder, content), ""
    except ImageError as error:
        return np.zeros(0), str(error)


def test_of_420_damaged_files_each_has_pixels_or_one_error_that_names_it(tmp_path):
    rng, outcomes = random.Random(12), Counter[str]()
    for kind, content in MUTATED.items():
        for _ in range(60):
            pixels, error = outcome(tmp_path, mutated(content, rng))
            outcomes[f"{kind} {'refused' if error else 'read'}"] += 1
            if error:
                assert error.startswith(f"{tmp_path}/a.png cannot be read as an image (")
                assert "\n" not in error
            elif kind == "PNG":  # the one format with checksums
                assert np.array_equal(pixels, COLOUR)
            else:
                assert pixels.dtype == np.uint8
                assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size
    assert outcomes["PNG refused"] > 50
    assert outcomes["GIF refused"] == 60
    assert sum(count for outcome, count in outcomes.items() if outcome.endswith("refused")) > 200
