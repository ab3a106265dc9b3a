"""LMDB's file, from its making to its opening. What LMDB trusts in it is looked at first: see ``lmdb_pages``.

Format 2 has the database CONFIGURATIONS, which format 1 has not; format 3 has a journal beside it, which a program that
reads format 2 would not look into. A file of an earlier format is changed when it is opened.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import lmdb

from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.files import sync_directory
from pyraft_lite.storage.lmdb_pages import Leaves, inspect
from pyraft_lite.storage.records import decode_entry, decode_index, encode_index, seal

LOGS = b"logs"
CONF = b"conf"
CONFIGURATIONS = b"configurations"
"""Under the keys of the log's configuration entries: sealed, nothing."""

FORMAT = b"3"
FORMAT_KEY = b"pyraft_lite.format"
"""In CONF, and unlike all else not sealed, so that any version can read it."""

_MAX_DBS = 3


def open_environment(directory: Path, map_size: int) -> tuple[lmdb.Environment, Leaves]:
    """Opens the database in ``directory``, which has to be locked; makes it if there is none.

    Args:
        directory: Where ``data.mdb`` is.
        map_size: Bytes the database may grow to before MapFullError; raised to what it has already.

    Returns:
        The environment, and the leaves of the log, to be checked before they are read or deleted from.

    Raises:
        StorageError: the database is damaged, or of another format or program.
        lmdb.Error, OSError: it can't be read or made.
    """
    file = directory / "data.mdb"
    if not file.exists():
        _create(directory, file)
    with ExitStack() as opened:
        try:
            leaves = inspect(file, LOGS)
            opened.callback(leaves.close)
            environment = lmdb.open(
                str(directory), map_size=max(map_size, file.stat().st_size), max_dbs=_MAX_DBS, create=False, mode=0o600
            )
            opened.callback(environment.close)
            _fill_up(environment, file)
            _check_format(environment, file, leaves)
        except ValueError as error:
            raise StorageError(f"cannot open the database in {directory}: {file.name} is damaged: {error}") from error
        opened.pop_all()
    return environment, leaves


def _create(directory: Path, file: Path) -> None:
    """Makes an empty database. It gets its name when it is whole: so one of that name that is not whole is damaged, and
    is never taken for a new one, which would forget the node's vote."""
    unfinished = directory / f"{file.name}.tmp"
    unfinished.unlink(missing_ok=True)
    with lmdb.open(str(unfinished), subdir=False, lock=False, max_dbs=_MAX_DBS, mode=0o600) as environment:
        environment.open_db(LOGS)
        environment.open_db(CONFIGURATIONS)
        conf = environment.open_db(CONF)
        with environment.begin(write=True) as txn:
            txn.put(FORMAT_KEY, FORMAT, db=conf)
    unfinished.rename(file)
    sync_directory(directory)


def _fill_up(environment: lmdb.Environment, file: Path) -> None:
    """Extends the file to the end of its last page.

    LMDB leaves pages at the end unwritten if they were freed in the commit that took them: a file that is too short may
    be whole. If it was cut within a large value instead, the process would be killed where it reads what is missing;
    now it reads zeros there, and the record's checksum tells.
    """
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if file.stat().st_size < needed:
        os.truncate(file, needed)


def _check_format(environment: lmdb.Environment, file: Path, leaves: Leaves) -> None:
    try:
        conf = environment.open_db(CONF, create=False)
        logs = environment.open_db(LOGS, create=False)
    except lmdb.NotFoundError as error:
        raise StorageError(f"{file} is the database of another program") from error
    with environment.begin() as txn:
        found = txn.get(FORMAT_KEY, db=conf)
    if found == b"2":
        with environment.begin(write=True) as txn:
            txn.put(FORMAT_KEY, FORMAT, db=conf)
    elif found == b"1":
        while True:
            try:
                _upgrade(environment, conf, logs, leaves)
                break
            except lmdb.MapFullError:
                environment.set_mapsize(2 * environment.info()["map_size"])
    elif found != FORMAT:
        raise StorageError(f"{file} has format {found!r}, this program reads {FORMAT!r}")


def _upgrade(environment: lmdb.Environment, conf: lmdb._Database, logs: lmdb._Database, leaves: Leaves) -> None:
    """Makes a database of format 1 one of today's, at once or not at all; reads the whole log, this once."""
    leaves.check(0, sys.maxsize)
    with environment.begin(write=True) as txn:
        configurations = environment.open_db(CONFIGURATIONS, txn=txn)
        for key, record in txn.cursor(logs):
            index = decode_index(key)
            if decode_entry(index, record).type is EntryType.CONFIGURATION:
                txn.put(encode_index(index), seal(encode_index(index), b""), db=configurations)
        txn.put(FORMAT_KEY, FORMAT, db=conf)
