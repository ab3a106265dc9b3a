"""A file whose writes are durable when they end, and need nobody to wait for them.

Linux's asynchronous I/O (io_submit(2)) carries a write out while the caller goes on, and tells an event loop of its
end, if it bypasses the page cache (O_DIRECT). No thread is woken for it, and none wakes the loop: on a fast disk that
takes as long as the write. Where it is missing, or would have to wait before it could begin (RWF_NOWAIT), the caller is
told so, and writes as usual, on a thread that may wait. So does Seastar, the framework of ScyllaDB. The constants are
those of Linux's include/uapi/linux/aio_abi.h and fs.h.
"""

import ctypes
import errno
import logging
import mmap
import os
import platform
import sys
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger("raft")

BLOCK = 4096
"""Bytes; writes begin at a multiple of it and are filled up with zeros to one, as disks want it."""

_PWRITE = 1  # IOCB_CMD_PWRITE
_REPORTS_TO_EVENTFD = 1  # IOCB_FLAG_RESFD
_NO_WAIT = 8  # RWF_NOWAIT
_MUST_WAIT = (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL)
"""How the kernel says that it does not begin this write, or none on this file system, without waiting."""


class _SystemCalls(NamedTuple):
    setup: int
    destroy: int
    getevents: int
    submit: int


_SYSTEM_CALLS = {
    ("linux", "x86_64"): _SystemCalls(setup=206, destroy=207, getevents=208, submit=209),
    ("linux", "aarch64"): _SystemCalls(setup=0, destroy=1, getevents=4, submit=2),
}

_system_call = ctypes.CDLL(None, use_errno=True).syscall


class _ControlBlock(ctypes.Structure):
    """struct iocb: a write to carry out."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_uint32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("eventfd", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """struct io_event: how a write ended."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("block", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class DirectFile:
    """An existing file, opened for writes of which one at a time is under way.

    Args:
        file: Where it is.
        size: Bytes of the longest write.

    Raises:
        OSError: it can't be opened.
    """

    def __init__(self, file: Path, size: int) -> None:
        # A write returns, or ends, when it is durable.
        flags = os.O_RDWR | os.O_DSYNC
        try:
            self._descriptor = os.open(file, flags | getattr(os, "O_DIRECT", 0))
            self._direct = hasattr(os, "O_DIRECT")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A file system without direct I/O.
            self._descriptor = os.open(file, flags)
            self._direct = False
        # Memory of its own is aligned to pages, as direct I/O wants it.
        self._buffer = mmap.mmap(-1, padded(size))

    def fileno(self) -> int | None:
        """What becomes readable when a write that was begun has ended; None if none can be begun."""
        return self._kernel.eventfd if self._kernel else None

    def begin(self, data: bytes, offset: int) -> bool:
        """Begins to write ``data``, filled up with zeros to a multiple of BLOCK, without waiting.

        Returns:
            False if that is not possible now, and nothing was begun.
        """
        return self._kernel is not None and self._kernel.begin(self._fill(data), offset)

    def finish(self) -> bool:
        """Takes note that the write that was begun has ended.

        Returns:
            False if it turned out that it, or a part of it, had to wait: it has to be written again.

        Raises:
            OSError: it failed; what the file holds there nobody knows.
        """
        assert self._kernel is not None
        return self._kernel.finish()

    def write(self, data: bytes, offset: int) -> None:
        """Writes ``data``, filled up with zeros to a multiple of BLOCK, and waits until it is durable.

        Raises:
            OSError: it failed, or only a part was written; what the file holds there nobody knows.
        """
        size = self._fill(data)
        with memoryview(self._buffer) as view:
            written = os.pwritev(self._descriptor, [view[:size]], offset)
        if written != size:
            raise OSError(errno.EIO, f"{written} of {size} bytes were taken")

    def close(self) -> None:
        """Frees the file; no write may be under way."""
        if kernel := vars(self).get("_kernel"):
            kernel.close()
        os.close(self._descriptor)

    @cached_property
    def _kernel(self) -> "_Kernel | None":
        # Only when it is needed: to give it back takes Linux some 30 ms.
        return _Kernel.of(self._descriptor, self._buffer) if self._direct else None

    def _fill(self, data: bytes) -> int:
        size = padded(len(data))
        self._buffer[:size] = data.ljust(size, b"\0")
        return size


class _Kernel:
    """The kernel's end of it: a context of asynchronous I/O for one write, from a fixed buffer."""

    def __init__(self, calls: _SystemCalls, descriptor: int, buffer: mmap.mmap) -> None:
        """Raises OSError if the kernel has no such context for us."""
        one, context = ctypes.c_long(1), ctypes.c_ulong(0)
        if _system_call(ctypes.c_long(calls.setup), ctypes.c_uint(1), ctypes.byref(context)) < 0:
            raise OSError(ctypes.get_errno(), f"io_setup: {os.strerror(ctypes.get_errno())}")
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._write = _ControlBlock(
            rw_flags=_NO_WAIT,
            opcode=_PWRITE,
            descriptor=descriptor,
            buffer=ctypes.addressof(ctypes.c_char.from_buffer(buffer)),
            flags=_REPORTS_TO_EVENTFD,
            eventfd=self.eventfd,
        )
        self._events = (_Event * 1)()
        # Made once: to make a call's arguments takes longer than the call.
        self._submit = (ctypes.c_long(calls.submit), context, one, (ctypes.c_void_p * 1)(ctypes.addressof(self._write)))
        self._get_events = (ctypes.c_long(calls.getevents), context, one, one, self._events, None)
        self._destroy = (ctypes.c_long(calls.destroy), context)

    @classmethod
    def of(cls, descriptor: int, buffer: mmap.mmap) -> "_Kernel | None":
        """None if the system does not have it."""
        calls = _SYSTEM_CALLS.get((sys.platform, platform.machine()))
        try:
            return cls(calls, descriptor, buffer) if calls else None
        except OSError as error:  # EAGAIN: fs.aio-max-nr, which all processes share, is used up.
            logger.warning("no asynchronous writes, a thread writes instead", extra={"fields": {"error": str(error)}})
            return None

    def begin(self, size: int, offset: int) -> bool:
        self._write.size = size
        self._write.offset = offset
        return bool(_system_call(*self._submit) == 1)

    def finish(self) -> bool:
        os.eventfd_read(self.eventfd)
        if _system_call(*self._get_events) != 1:
            raise OSError(ctypes.get_errno(), "io_getevents")
        result = self._events[0].result
        if -result in _MUST_WAIT or 0 <= result < self._write.size:
            return False
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return True

    def close(self) -> None:
        _system_call(*self._destroy)
        os.close(self.eventfd)


def padded(size: int) -> int:
    """How many bytes a write of ``size`` bytes takes of the file."""
    return -(-size // BLOCK) * BLOCK
