"""Writes that are durable when they end: those that nobody waits for, and the others, which are always possible."""

import ctypes
import errno
import os
import platform
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyraft_lite.storage import direct_file
from pyraft_lite.storage.direct_file import BLOCK, DirectFile

SIZE = 8 * BLOCK


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"-" * SIZE)
    return path


@pytest.fixture
def file(path: Path) -> DirectFile:
    """In which writes can be begun."""
    file = DirectFile(path, SIZE)
    file.write(b"first", 0)  # After which the kernel has no reason to wait.
    if not completes(file, b"second", 0):
        pytest.skip("this file system can't write without waiting")
    return file


def completes(file: DirectFile, data: bytes, offset: int) -> bool:
    return file.begin(data, offset) and finishes(file)


def finishes(file: DirectFile) -> bool:
    descriptor = file.fileno()
    assert descriptor is not None
    select.select([descriptor], [], [])
    return file.finish()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_a_write_is_filled_up_with_zeros_and_leaves_the_rest_alone(file: DirectFile, path: Path, size: int) -> None:
    for data, write in ((b"a" * size, file.write), (b"b" * size, lambda *what: completes(file, *what))):
        file.write(b"-" * SIZE, 0)
        write(data, 2 * BLOCK)
        end = 2 * BLOCK + -(-size // BLOCK) * BLOCK
        assert path.read_bytes() == b"-" * 2 * BLOCK + data.ljust(end - 2 * BLOCK, b"\0") + b"-" * (SIZE - end)
    file.close()


def test_it_tells_of_the_end_of_each_write_once(file: DirectFile) -> None:
    descriptor = file.fileno()
    assert descriptor is not None
    for number in range(5):
        assert completes(file, b"%d" % number, number * BLOCK)
        assert select.select([descriptor], [], [], 0)[0] == []
    file.close()


def test_the_file_is_opened_so_that_writes_are_durable_and_bypass_the_page_cache(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    opening = os.open

    def watch(path: Path, flags: int) -> int:
        opened.append(flags)
        return opening(path, flags)

    monkeypatch.setattr(os, "open", watch)
    file = DirectFile(path, SIZE)
    assert opened[-1] & os.O_DSYNC
    if file.fileno() is not None:
        assert opened[-1] & os.O_DIRECT
    file.close()


def without_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_file, "_SYSTEM_CALLS", {})


def without_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_file, "_system_call", lambda *_: -1)


def without_direct_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    opening = os.open

    def refuse(path: Path, flags: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opening(path, flags)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.parametrize("lack", [without_calls, without_contexts, without_direct_writes])
def test_where_the_system_lacks_what_it_takes_nothing_can_be_begun_but_all_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, lack: Callable[[pytest.MonkeyPatch], None]
) -> None:
    lack(monkeypatch)
    file = DirectFile(path, SIZE)
    assert file.fileno() is None
    assert not file.begin(b"data", 0)
    file.write(b"data", 0)
    assert path.read_bytes()[:6] == b"data\0\0"
    file.close()


def test_that_the_kernel_has_no_context_left_is_logged(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_contexts(monkeypatch)
    file = DirectFile(path, SIZE)
    assert file.fileno() is None
    file.close()
    assert caplog.messages == ["no asynchronous writes, a thread writes instead"]


def test_a_write_that_the_kernel_refuses_is_not_begun(file: DirectFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_file, "_system_call", lambda *_: -1)
    assert not file.begin(b"data", 0)
    monkeypatch.undo()
    assert completes(file, b"data", 0)
    file.close()


@pytest.mark.parametrize("result", [-errno.EAGAIN, -errno.EOPNOTSUPP, -errno.EINVAL, 0, 512])
def test_what_had_to_wait_or_a_part_of_it_is_not_finished(
    file: DirectFile, monkeypatch: pytest.MonkeyPatch, result: int
) -> None:
    result_of(file, monkeypatch, result)
    assert not completes(file, b"data", 0)
    file.close()


def test_a_write_that_failed_is_said(file: DirectFile, monkeypatch: pytest.MonkeyPatch) -> None:
    result_of(file, monkeypatch, -errno.EIO)
    with pytest.raises(OSError, match="Input/output error") as failure:
        completes(file, b"data", 0)
    assert failure.value.errno == errno.EIO
    file.close()


def test_that_the_kernel_does_not_say_how_a_write_ended_is_said(
    file: DirectFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    calling, number_of = direct_file._system_call, system_calls()

    def call(number: ctypes.c_long, *arguments: Any) -> int:
        returned: int = calling(number, *arguments)
        return 0 if number.value == number_of.getevents else returned

    monkeypatch.setattr(direct_file, "_system_call", call)
    with pytest.raises(OSError, match="io_getevents"):
        completes(file, b"data", 0)
    file.close()


def system_calls() -> Any:
    return direct_file._SYSTEM_CALLS[sys.platform, platform.machine()]


def result_of(file: DirectFile, monkeypatch: pytest.MonkeyPatch, result: int) -> None:
    """Has the kernel say that of what is written next."""
    calling, number_of = direct_file._system_call, system_calls()

    def call(number: ctypes.c_long, *arguments: Any) -> int:
        returned: int = calling(number, *arguments)
        if number.value == number_of.getevents:
            arguments[3][0].result = result
        return returned

    monkeypatch.setattr(direct_file, "_system_call", call)


def test_what_can_not_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DirectFile(tmp_path / "missing", SIZE)


def test_closing_gives_back_what_it_has_of_the_system(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    calling, number_of = direct_file._system_call, system_calls()

    def call(number: ctypes.c_long, *arguments: Any) -> int:
        returned: int = calling(number, *arguments)
        if number.value == number_of.setup:
            made.append(arguments[1]._obj.value)
        elif number.value == number_of.destroy:
            assert not returned
            made.remove(arguments[0].value)
        return returned

    monkeypatch.setattr(direct_file, "_system_call", call)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        file = DirectFile(path, SIZE)
        file.begin(b"data", 0)
        file.close()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert not made
