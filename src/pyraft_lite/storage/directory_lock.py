"""One process per directory."""

import fcntl
import os
from pathlib import Path

from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.files import make_directory


class DirectoryLock:
    """Holds ``directory``, created with mode 0700 if missing, until released or the process ends.

    The file ``LOCK`` holds the holder's process id and stays when the lock is released: removing it would let two
    processes each lock a file of that name.

    Raises:
        StorageError: the directory can't be made or written, or is held already, be it by this process.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "LOCK"
        try:
            make_directory(directory)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot use {directory} as data directory: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._file, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise StorageError(f"{directory} is in use by process {holder}") from error
        except OSError as error:
            os.close(self._file)
            raise StorageError(f"cannot lock {path}: {error.strerror}") from error

    def release(self) -> None:
        """Lets another process have the directory."""
        os.close(self._file)
