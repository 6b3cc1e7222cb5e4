"""A folder in memory for the files of the tests: each of them that writes would wait for its disk otherwise."""

import os
from pathlib import Path
from shutil import disk_usage

IN_MEMORY = Path("/dev/shm")


def memory_folder(needed_mb: int) -> Path | None:
    """A folder in memory with that much room, from which programs may run. None if this machine has none.

    In a container such a folder often has only 64 MB, and may forbid running programs.
    """
    if not os.access(IN_MEMORY, os.W_OK | os.X_OK) or os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC:
        return None
    return IN_MEMORY if disk_usage(IN_MEMORY).free >= needed_mb * 2**20 else None
