"""Directories that survive a power failure."""

import errno
import os
from pathlib import Path


def make_directory(path: Path) -> None:
    """Creates ``path`` and the directories above it, with mode 0700, durably; one that exists is left as it is.

    Raises:
        OSError: it can't be made, or something else has its name.
    """
    if path.is_dir():
        return
    if path.exists() and not path.is_dir():  # Another process may have made it just now.
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes durable what was created, renamed or removed in ``path``: a file's own fsync does not cover its name.

    Raises:
        OSError: it failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
