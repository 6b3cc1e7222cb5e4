"""The parts of an untrusted zip archive, unpacked as a stream.

An archive that unpacks to too much is refused while it unpacks: what it says of its own size is not believed.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from worker.domain.campaigns.audience import AudienceError

BLOCK = 32 << 10
MAX_RATIO = 100
"""A file that unpacks to more than this many times its size is not a list of people. Real lists have 5 to 20."""
MAX_DIRECTORY = 1 << 20
"""Bytes of the list of parts, of which zipfile makes objects ten times the size.

A part takes about 100 bytes, and a workbook has tens of parts.
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a file may cost. The defaults are those for untrusted files."""

    least_unpacked: int = 16 << 20
    """Bytes that every file may unpack to, however small it is."""
    most_unpacked: int = 2 << 30
    """Bytes that no file may unpack to more than: a million rows of forty columns."""
    texts: int = 10_000_000
    """Texts that cells share."""
    texts_size: int = 256 << 20
    """Bytes of these texts, which are kept in memory: a million rows with 250 bytes each that no other row has."""


BOUNDS = Bounds()


@dataclass(slots=True)
class Budget:
    """How many bytes a file may still unpack to, all its parts together."""

    most: int
    left: int

    def spend(self, size: int) -> None:
        """Takes that many bytes. Raises AudienceError where fewer are left."""
        self.left -= size
        if self.left < 0:
            raise AudienceError(
                f"unpacks to more than {self.most >> 20:,} MiB, which no list of people in a file of its size does; save its"
                " sheet as CSV"
            )


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive, and how many bytes it may still unpack to."""

    archive: ZipFile
    budget: Budget
    bounds: Bounds

    def __contains__(self, part: str) -> bool:
        try:
            self.archive.getinfo(part)
        except KeyError:
            return False
        return True

    def blocks(self, part: str) -> Iterator[bytes]:
        """Yields the content of a part.

        Raises KeyError where there is none, AudienceError where it is too much or packed otherwise.
        """
        info = self.archive.getinfo(part)
        # With other methods zipfile unpacks all there is, whatever it is asked for. No workbook uses them.
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise AudienceError("is packed in a way that no workbook is; save it anew as .xlsx, or as CSV")
        with self.archive.open(info) as content:
            while block := content.read(BLOCK):
                self.budget.spend(len(block))
                yield block


def open_archive(file: BinaryIO, bounds: Bounds) -> Archive:
    """Opens the archive in a file, which the caller closes.

    Raises BadZipFile, or AudienceError where it has too many parts.
    """
    size = file.seek(0, os.SEEK_END)
    most = min(bounds.most_unpacked, max(bounds.least_unpacked, MAX_RATIO * size))
    return Archive(ZipFile(_InSmallReads(file)), Budget(most, most), bounds)


@dataclass(frozen=True, slots=True)
class _InSmallReads:
    """A file as zipfile reads it. The list of parts is all that zipfile reads in one go, whatever its length."""

    file: BinaryIO

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size if 0 <= size <= MAX_DIRECTORY else MAX_DIRECTORY + 1)
        if len(content) > MAX_DIRECTORY:
            raise AudienceError("has more parts than any workbook; save its sheet as CSV")
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True
