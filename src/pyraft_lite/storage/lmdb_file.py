"""LMDB's file, from its making to its opening: after that LMDB trusts every byte of it, and a damaged one would kill
the process rather than raise an error. So it is looked through first."""

import os
from pathlib import Path

import lmdb
from lmdb.verify import VerifyError, verify

from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.files import sync_directory

LOGS = b"logs"
CONF = b"conf"

FORMAT = b"1"
FORMAT_KEY = b"pyraft_lite.format"
"""In CONF, and unlike all else not sealed, so that any version can read it."""


def open_environment(directory: Path, map_size: int) -> lmdb.Environment:
    """Opens the database in ``directory``, which has to be locked; makes it if there is none.

    Args:
        directory: Where ``data.mdb`` is.
        map_size: Bytes the database may grow to before MapFullError; raised to what it has already.

    Raises:
        StorageError: the database is damaged, or of another format or program.
        lmdb.Error, OSError: it can't be read or made.
    """
    file = directory / "data.mdb"
    if not file.exists():
        _create(directory, file)
    _check_structure(file)
    environment = lmdb.open(
        str(directory), map_size=max(map_size, file.stat().st_size), max_dbs=2, create=False, mode=0o600
    )
    try:
        _fill_up(environment, file)
        _check_format(environment, file)
    except BaseException:
        environment.close()
        raise
    return environment


def _create(directory: Path, file: Path) -> None:
    """Makes an empty database. It gets its name when it is whole: so one of that name that is not whole is damaged, and
    is never taken for a new one, which would forget the node's vote."""
    unfinished = directory / f"{file.name}.tmp"
    unfinished.unlink(missing_ok=True)
    with lmdb.open(str(unfinished), subdir=False, lock=False, max_dbs=2, mode=0o600) as environment:
        environment.open_db(LOGS)
        conf = environment.open_db(CONF)
        with environment.begin(write=True) as txn:
            txn.put(FORMAT_KEY, FORMAT, db=conf)
    unfinished.rename(file)
    sync_directory(directory)


def _check_structure(file: Path) -> None:
    """Walks the pages without LMDB."""
    try:
        problems = verify(str(file), subdir=False)  # type: ignore[no-untyped-call]
    except VerifyError as error:
        raise StorageError(f"cannot open the database in {file.parent}: {file.name} is damaged: {error}") from error
    if problems:
        raise StorageError(f"cannot open the database in {file.parent}: {file.name} is damaged: {problems[0]}")


def _fill_up(environment: lmdb.Environment, file: Path) -> None:
    """Extends the file to the end of its last page.

    LMDB leaves pages at the end unwritten if they were freed in the commit that took them: a file that is too short may
    be whole. If it was cut within a large value instead, the process would be killed where it reads what is missing;
    now it reads zeros there, and the record's checksum tells.
    """
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if file.stat().st_size < needed:
        os.truncate(file, needed)


def _check_format(environment: lmdb.Environment, file: Path) -> None:
    try:
        conf = environment.open_db(CONF, create=False)
        environment.open_db(LOGS, create=False)
    except lmdb.NotFoundError as error:
        raise StorageError(f"{file} is the database of another program") from error
    with environment.begin() as txn:
        found = txn.get(FORMAT_KEY, db=conf)
    if found != FORMAT:
        raise StorageError(f"{file} has format {found!r}, this program reads {FORMAT!r}")
