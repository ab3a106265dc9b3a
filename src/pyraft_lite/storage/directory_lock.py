"""One process per directory."""

import fcntl
import os
from pathlib import Path

from pyraft_lite.core.errors import StorageError


class DirectoryLock:
    """Holds ``directory``, created with mode 0700 if missing, until released or the process ends.

    Raises:
        StorageError: the directory can't be made or written, or another process holds it.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "LOCK"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot use {directory} as data directory: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StorageError(f"{directory} is in use by process {holder}") from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Lets another process have the directory."""
        os.close(self._file)
