"""Invisible marks in an image: a keyed noise in the middle frequencies of its brightness.

Each 8 x 8 block of the luma channel gets a keyed sequence of plus and minus one, a few grey levels strong,
added to some of its cosine coefficients. The owner, who keeps the original, takes the difference between a
copy and the original and correlates it with the sequence of each delivery. A copy that was stored as JPEG
again still correlates; one of another size is refused.

Against: a receiver that copies or compresses. Not against receivers that average their copies, or who redraw.
Source: Cox, Kilian, Leighton, Shamoon 1997, Secure Spread Spectrum Watermarking for Multimedia
(IEEE Transactions on Image Processing 6(12)), with the blocks of JPEG.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from exchange.errors import InvalidRequest

__all__ = ["MEDIA", "ImageMark", "likelihood"]

MEDIA: Final = {"PNG": "image/png", "JPEG": "image/jpeg"}
"""The formats that can carry a mark, as Pillow names them."""

_BLOCK: Final = 8
_STRENGTH: Final = 3.0
_QUALITY: Final = 95
_MAX_PIXELS: Final = 64_000_000
_PLACES: Final = ((0, 2), (1, 1), (2, 0), (0, 3), (1, 2), (2, 1), (3, 0), (2, 2))


@dataclass(frozen=True)
class ImageMark:
    """The mark of one delivery; ``key`` is 32 secret bytes and not in ``repr``."""

    key: bytes = field(repr=False)

    def mark(self, content: bytes) -> bytes:
        """Return the image, in its own format, with the mark in it.

        Raises:
            InvalidRequest: no PNG or JPEG image, too small, or too large to hold in memory.
        """
        image = _opened(content)
        luma, others = _split(image)
        blocks = _transformed(luma)
        signs = self._signs(blocks.shape[:2])
        for i, (row, column) in enumerate(_PLACES):
            blocks[:, :, row, column] += _STRENGTH * signs[:, :, i]
        marked = _restored(luma, blocks)
        out = io.BytesIO()
        _merged(image, marked, others).save(out, format=image.format, quality=_QUALITY, subsampling=0)
        return out.getvalue()

    def score(self, original: bytes, copy: bytes) -> float:
        """How strongly a copy carries this mark: about standard normal if it does not.

        Raises:
            InvalidRequest: no image, or of another size than the original.
        """
        first, second = _opened(original), _opened(copy)
        if first.size != second.size:
            shown = [f"{one.size[0]} x {one.size[1]} pixels" for one in (first, second)]
            raise InvalidRequest("copy", shown[0], shown[1])
        change = _transformed(_split(second)[0]) - _transformed(_split(first)[0])
        at = np.stack([change[:, :, row, column] for row, column in _PLACES], axis=-1)
        energy = float(np.sqrt(np.sum(at * at)))
        return float(np.sum(at * self._signs(at.shape[:2]))) / energy if energy else 0.0

    def _signs(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Plus and minus one for each block and place: float64[rows, columns, places]."""
        count = shape[0] * shape[1]
        stream = hashlib.shake_256(b"parley-image-mark/v1\n" + self.key).digest(count)
        bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8)).reshape(*shape, len(_PLACES))
        return np.asarray(bits * 2.0 - 1.0, dtype=np.float64)


def likelihood(score: float) -> float:
    """Upper bound of the chance that an unmarked copy scores as high: the normal tail."""
    return 0.5 * math.erfc(score / math.sqrt(2)) if score > 0 else 1.0


def _opened(content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=tuple(MEDIA))
        width, height = image.size
        if not (_BLOCK <= width and _BLOCK <= height and width * height <= _MAX_PIXELS):
            expected = f"at least {_BLOCK} x {_BLOCK} and at most {_MAX_PIXELS} pixels"
            raise InvalidRequest("image", expected, f"{width} x {height}")
        image.load()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as exc:
        raise InvalidRequest("image", "a PNG or JPEG image", "another content") from exc
    return image


def _split(image: Image.Image) -> tuple[NDArray[np.float64], tuple[Image.Image, ...]]:
    """Brightness as float64[height, width], and the channels that stay as they are."""
    if image.mode in ("L", "LA"):
        channels = image.split()
        return np.asarray(channels[0], dtype=np.float64), channels[1:]
    alpha = (image.getchannel("A"),) if "A" in image.getbands() else ()
    y, cb, cr = image.convert("RGB").convert("YCbCr").split()
    return np.asarray(y, dtype=np.float64), (cb, cr, *alpha)


def _merged(like: Image.Image, luma: NDArray[np.float64], others: tuple[Image.Image, ...]) -> Image.Image:
    y = Image.fromarray(np.clip(np.rint(luma), 0, 255).astype(np.uint8), "L")
    if like.mode in ("L", "LA"):
        return Image.merge(like.mode, (y, *others))
    colour = Image.merge("YCbCr", (y, *others[:2])).convert("RGB")
    if len(others) == 3:
        colour.putalpha(others[2])
    return colour


def _cosines() -> NDArray[np.float64]:
    n = np.arange(_BLOCK)
    matrix = np.cos(np.pi * (2 * n[None, :] + 1) * n[:, None] / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    matrix[0] /= math.sqrt(2)
    return np.asarray(matrix)


def _transformed(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine coefficients of all whole blocks: float64[rows, columns, 8, 8]."""
    rows, columns = luma.shape[0] // _BLOCK, luma.shape[1] // _BLOCK
    whole = luma[: rows * _BLOCK, : columns * _BLOCK]
    blocks = whole.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2)
    cosines = _cosines()
    return np.asarray(cosines @ blocks @ cosines.T)


def _restored(luma: NDArray[np.float64], blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    cosines = _cosines()
    rows, columns = blocks.shape[:2]
    out = luma.copy()
    whole = (cosines.T @ blocks @ cosines).swapaxes(1, 2).reshape(rows * _BLOCK, columns * _BLOCK)
    out[: rows * _BLOCK, : columns * _BLOCK] = whole
    return out
