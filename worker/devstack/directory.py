"""Where a stack that somebody may want to look at afterwards keeps its files."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def kept_directory(
    directory: Path | None, *, prefix: str, kept: Callable[[Path], object]
) -> Iterator[tuple[Path, Callable[[], None]]]:
    """The given directory or a temporary one, and a function that keeps a temporary one after the block.

    `kept` is called at the end with a directory that stays: a given one always stays.
    """
    path = directory or Path(tempfile.mkdtemp(prefix=prefix))
    reasons = [directory is not None]
    try:
        yield path, lambda: reasons.append(True)
    finally:
        if any(reasons):
            kept(path)
        else:
            shutil.rmtree(path)
