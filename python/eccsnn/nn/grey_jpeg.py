"""JPEG of small grey pictures without what both ends know: only the bits and tables that a picture has of its own.

A file of 16 x 16 pixels has 330 bytes that say nothing about them: quantisation tables, standard Huffman tables, sizes.
All of that follows from the size and the quality. The body that is left is either the entropy-coded bits alone, under
the standard Huffman tables, or two tables of the picture's own before them: 16 counts of codes and their symbols, for
DC and for AC coefficients.

Source: ITU-T T.81 (1992): abbreviated formats in annex B.4, the standard tables (which libjpeg writes) in annex K.
"""

import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_DHT, _SOS = 0xC4, 0xDA
_END = b"\xff\xd9"
_CODE_LENGTHS = 16
_TABLE_CLASSES = (0x00, 0x10)  # DC, AC: the first table of each
_LEAST_TABLES = len(_TABLE_CLASSES) * (_CODE_LENGTHS + 1)


class GreyJPEG:
    """JPEG of grey pictures of one size and quality.

    Args:
        height, width: Of a picture.
        quality: As Pillow counts it, 1 to 95.

    Example:
        >>> codec = GreyJPEG(16, 16, quality=90)
        >>> own_tables, body = codec.encode(np.full((16, 16), 7, np.uint8))
        >>> own_tables, len(body), len(codec.file(own_tables, body))
        (False, 5, 335)
        >>> np.unique(codec.decode(own_tables, body)).tolist()
        [7]
    """

    def __init__(self, height: int, width: int, quality: int) -> None:
        self.height, self.width, self.quality = height, width, quality
        # Every file of this size and quality begins alike: with that of a blank picture.
        segments, _ = _segments(self._write(np.zeros((height, width), np.uint8), own_tables=False))
        self._head = b"".join(segment for marker, segment in segments if marker not in (_DHT, _SOS))
        self._tables = b"".join(segment for marker, segment in segments if marker == _DHT)
        self._scan = b"".join(segment for marker, segment in segments if marker == _SOS)

    def encode(self, picture: NDArray[np.uint8]) -> tuple[bool, bytes]:
        """Encodes a picture uint8 `[height, width]`.

        Returns:
            Whether the body begins with Huffman tables of its own, and the body: the shorter of both.
        """
        _, bits = _segments(self._write(picture, own_tables=False))
        if len(bits) <= _LEAST_TABLES:
            return False, bits
        segments, fewer_bits = _segments(self._write(picture, own_tables=True))
        # Without marker, length and class of each table, which is the counts' sum long.
        tables = b"".join(segment[5:] for marker, segment in segments if marker == _DHT)
        own = tables + fewer_bits
        return (True, own) if len(own) < len(bits) else (False, bits)

    def file(self, own_tables: bool, body: bytes) -> bytes:
        """The complete JPEG file that `encode` made the body of, byte for byte.

        Raises:
            ValueError: The body's tables are cut off, or there are markers among its bits.
        """
        tables = self._tables
        if own_tables:
            tables, body = _read_tables(body)
        # In the bits, 255 is followed by 0; anything else would be a new segment, of the sender's choice.
        if re.search(rb"\xff(?!\x00)", body):
            raise ValueError("there is a JPEG marker among its bits")
        return self._head + tables + self._scan + body + _END

    def decode(self, own_tables: bool, body: bytes) -> NDArray[np.uint8]:
        """Decodes a body to uint8 `[height, width]`, the size that is known, whatever the bytes are.

        JPEG has no redundancy: most damage goes unnoticed here.

        Raises:
            ValueError: As for `file`, or the tables are no Huffman tables.
        """
        try:
            with Image.open(io.BytesIO(self.file(own_tables, body)), formats=["JPEG"]) as picture:
                return np.asarray(picture)
        except (OSError, SyntaxError) as error:  # Pillow's decoder
            raise ValueError(str(error)) from error

    def _write(self, picture: NDArray[np.uint8], own_tables: bool) -> bytes:
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG", quality=self.quality, optimize=own_tables)
        return out.getvalue()


def _segments(file: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The segments of a file that Pillow wrote, the start of the image as the first, and the bits behind them."""
    found, at = [(0xD8, file[:2])], 2
    while found[-1][0] != _SOS:
        end = at + 2 + int.from_bytes(file[at + 2 : at + 4], "big")
        found.append((file[at + 1], file[at:end]))
        at = end
    return found, file[at : -len(_END)]


def _read_tables(body: bytes) -> tuple[bytes, bytes]:
    """Two Huffman tables as segments, and the bits behind them."""
    segments = b""
    for table_class in _TABLE_CLASSES:
        size = _CODE_LENGTHS + sum(body[:_CODE_LENGTHS])
        if len(body) < size or len(body) < _CODE_LENGTHS:
            raise ValueError(f"its Huffman tables end {size - len(body)} bytes too early")
        segments += b"\xff" + bytes([_DHT]) + (size + 3).to_bytes(2, "big") + bytes([table_class]) + body[:size]
        body = body[size:]
    return segments, body
