"""The pages of LMDB's file, looked at before LMDB sees them: it follows every number it finds in them, and a wrong one
would kill the process rather than raise an error.

What stands between LMDB and an entry is looked at when the file is opened: both meta pages, the free list, the small
databases, and the inner pages of the log, which are one in some hundred of its pages. The leaves of the log, nearly all
of the file, are looked at one by one, each before LMDB first comes to it (:class:`Leaves`): so opening a file takes
little of the time and memory that reading it would.

The layout is that of LMDB 0.9 (``mdb.c``) on a 64-bit machine, all numbers in the machine's order:

    page     number u64 | pad u16 | flags u16 | lower u16 | upper u16    large value: in place of the last two, pages u32
    after it pointers u16 to nodes, up to ``lower``; the nodes without gaps from ``upper`` to the page's end
    node     value u32 | flags u16 | size of key u16 | key | data        branch: the first six bytes are the child's number
    meta     page | magic u32 | version u32 | address u64 | size u64 | tree of free pages | main tree | last page u64 | txn u64
    tree     page size u32 | flags u16 | depth u16 | branch pages u64 | leaf pages u64 | large pages u64 | entries u64 | root u64
"""  # noqa: E501

import os
import struct
import sys
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PAGE = struct.Struct("=QHHHH")
_LARGE_PAGES = struct.Struct("=12xI")
_NODE = struct.Struct("=HHHH")
_NUMBER = struct.Struct("=Q")
_INDEX = struct.Struct(">Q")
_META = struct.Struct("=10xH4xII16x48s48sQQ")
_TREE = struct.Struct("=IHHQQQQQ")

_MAGIC = 0xBEEFC0DE
_VERSION = 1
_METAS = 2
_NONE = (1 << 64) - 1
_MAX_DEPTH = 32

# Flags of pages and of nodes.
_BRANCH, _LEAF, _LARGE, _META_PAGE = 1, 2, 4, 8
_BIG, _SUBTREE = 1, 2

_USED, _FREE = 1, 2

_Node = tuple[bytes, int, int, int]
"""Key, flags, child (of a branch) or size of the data (of a leaf), where in the page the data begins."""


class _Tree(NamedTuple):
    page_size: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    large_pages: int
    entries: int
    root: int


class _Pages:
    """Reads and checks single pages. Every method raises ValueError if it finds what LMDB would not have written, and
    OSError if the file can't be read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = 4096
        self.count = 0

    def read(self, number: int, count: int = 1) -> bytes:
        data = os.pread(self._descriptor, self.size * count, self.size * number)
        if len(data) < self.size * count:
            raise ValueError(f"page {number} is beyond the end of the file")
        return data

    def metas(self) -> tuple[_Tree, _Tree]:
        """The tree of free pages and the main tree, as of the last commit; learns the sizes."""
        first = self._meta(0)
        size = first[0].page_size
        if not 512 <= size <= 32768 or size & (size - 1):
            raise ValueError(f"page 0 says that a page has {size} bytes")
        self.size = size
        second = self._meta(1)
        if second[0].page_size != size:
            raise ValueError(f"page 1 says that a page has {second[0].page_size} bytes, page 0 that it has {size}")
        # The n-th commit writes the page of n's parity; the other holds the commit before.
        newer, older = (first, second) if first[3] > second[3] else (second, first)
        if (newer[3], older[3]) != (0, 0) and (newer[3] != older[3] + 1 or first[3] % 2):
            raise ValueError(f"the meta pages are of transactions {first[3]} and {second[3]}")
        self.count = newer[2] + 1
        in_file = os.fstat(self._descriptor).st_size // size
        if not _METAS <= self.count <= 2 * in_file + (1 << 20):
            raise ValueError(f"there should be {self.count} pages, and the file has {in_file}")
        return newer[0], newer[1]

    def _meta(self, number: int) -> tuple[_Tree, _Tree, int, int]:
        page = os.pread(self._descriptor, _META.size, self.size * number)
        if len(page) < _META.size:
            raise ValueError(f"page {number} is beyond the end of the file")
        flags, magic, version, free, main, last_page, txn = _META.unpack(page)
        if not flags & _META_PAGE or magic != _MAGIC or _NUMBER.unpack_from(page)[0] != number:
            raise ValueError(f"page {number} is no meta page of LMDB")
        if version != _VERSION:
            raise ValueError(f"page {number} has LMDB's data version {version}, this program reads {_VERSION}")
        return _Tree(*_TREE.unpack(free)), _Tree(*_TREE.unpack(main)), last_page, txn

    def nodes(self, number: int, kind: int) -> tuple[bytes, list[_Node]]:
        """A page of a tree, and its nodes."""
        page = self.read(number)
        size = self.size
        stored, _, flags, lower, upper = _PAGE.unpack_from(page)
        if stored != number or flags != kind or not _PAGE.size <= lower <= upper <= size or lower % 2:
            raise ValueError(f"page {number} has a wrong head")
        found: list[_Node] = []
        spans: list[tuple[int, int]] = []
        for pointer in struct.unpack_from(f"={(lower - _PAGE.size) // 2}H", page, _PAGE.size):
            if not upper <= pointer <= size - _NODE.size:
                raise ValueError(f"page {number} has a node outside of it")
            low, high, flags, key_size = _NODE.unpack_from(page, pointer)
            key_at = pointer + _NODE.size
            data_at = key_at + key_size
            if kind == _BRANCH:
                value = low | high << 16 | flags << 32
                end = data_at
            else:
                value = low | high << 16
                end = data_at + (_NUMBER.size if flags & _BIG else value)
            found.append((page[key_at:data_at], flags, value, data_at))
            spans.append((pointer, end + end % 2))
        spans.sort()
        at = upper
        for start, end in spans:
            if start != at:
                raise ValueError(f"page {number} has nodes that overlap or leave gaps")
            at = end
        if at != size:
            raise ValueError(f"page {number} has nodes that do not end with it")
        return page, found

    def large_extent(self, number: int, page: bytes, node: _Node) -> tuple[int, int]:
        """Where the large value of a node begins, and how many pages it takes."""
        _, _, size, data_at = node
        begin: int = _NUMBER.unpack_from(page, data_at)[0]
        count = (_PAGE.size - 1 + size) // self.size + 1
        if not _METAS <= begin <= self.count - count:
            raise ValueError(f"page {number} has a large value outside of the file")
        head = self.read(begin)
        stored, _, flags, _, _ = _PAGE.unpack_from(head)
        if stored != begin or flags != _LARGE or _LARGE_PAGES.unpack_from(head)[0] != count:
            raise ValueError(f"page {begin} has a wrong head")
        return begin, count


class Leaves:
    """The leaves of the log that LMDB has not come to yet. May be used by several threads.

    LMDB changes no leaf that it does not come to, so each is where it was when the file was opened. All methods raise
    ValueError if a leaf is damaged, and OSError if it can't be read.
    """

    def __init__(self, descriptor: int, pages: _Pages, firsts: "array[int]", numbers: "array[int]") -> None:
        """Takes over ``descriptor``; the leaf that holds an index is the last one whose first is not greater."""
        self._descriptor = descriptor
        self._pages = pages
        self._firsts = firsts
        self._numbers = numbers
        self._left = len(numbers)
        self._lock = threading.Lock()

    def check_at(self, index: int) -> int:
        """Looks at the leaf of the entry at ``index``, unless that was done.

        Returns:
            Up to which index LMDB may go on from there.
        """
        if not self._left:
            return sys.maxsize
        with self._lock:
            at = bisect_right(self._firsts, index) - 1
            last = at + 1 == len(self._firsts)
            until = sys.maxsize if last else self._firsts[at + 1] - 1
            if at >= 0 and self._numbers[at]:
                self._check(self._numbers[at], self._firsts[at], until)
                self._numbers[at] = 0
                self._left -= 1
            return until

    def check(self, low: int, high: int) -> None:
        """Looks at all leaves that hold any of ``low..high``, and at their neighbours: where LMDB deletes, it comes to
        these as well, to share what is left."""
        if not self._left:
            return
        with self._lock:
            begin = max(bisect_right(self._firsts, low) - 2, 0)
            index = self._firsts[begin] if self._firsts else 0
            end = bisect_right(self._firsts, high) + 1
            stop = self._firsts[end] if end < len(self._firsts) else sys.maxsize
        while index < stop:
            index = self.check_at(index) + 1

    def forget(self) -> None:
        """The leaves are no longer those of the log."""
        with self._lock:
            del self._firsts[:], self._numbers[:]
            self._left = 0

    def close(self) -> None:
        """Closes the file; nothing is looked at after that."""
        self._left = 0
        os.close(self._descriptor)

    def _check(self, number: int, least: int, until: int) -> None:
        page, nodes = self._pages.nodes(number, _LEAF)
        if not nodes:
            raise ValueError(f"page {number} is empty")
        index = -1
        for node in nodes:
            key, flags, _, _ = node
            if len(key) != _INDEX.size or flags & ~_BIG:
                raise ValueError(f"page {number} has a node that is no entry of the log")
            previous = index
            index = _INDEX.unpack(key)[0]
            if previous >= 0 and index != previous + 1:
                raise ValueError(f"entry {previous} is followed by entry {index}")
            if flags:
                self._pages.large_extent(number, page, node)
        if not least <= index - len(nodes) + 1 <= index <= until:
            raise ValueError(f"page {number} has entries that should be elsewhere")


def inspect(file: Path, log: bytes) -> Leaves:
    """Looks at the pages of the databases in ``file`` that LMDB goes by, but for the leaves of the one named ``log``.

    Raises:
        ValueError: LMDB has not written the file so.
        OSError: the file can't be read.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pages = _Pages(descriptor)
        firsts, numbers = _Inspection(pages).run(log)
    except BaseException:
        os.close(descriptor)
        raise
    return Leaves(descriptor, pages, firsts, numbers)


class _Inspection:
    def __init__(self, pages: _Pages) -> None:
        self._pages = pages
        self._state = bytearray()
        self._firsts = array("Q")
        self._numbers = array("Q")

    def run(self, log: bytes) -> "tuple[array[int], array[int]]":
        """The leaves of ``log``: their first indexes, or less, and their numbers."""
        free, main = self._pages.metas()
        self._state = bytearray(self._pages.count)
        self._whole_tree("the free list", free, free_list=True)
        named = self._whole_tree("the main database", main)
        for name, tree in named:
            if tree.flags:
                raise ValueError(f"the database {name!r} has flags {tree.flags:#x}, which this program does not use")
            if name == log:
                self._log_tree(tree)
            else:
                self._whole_tree(f"the database {name!r}", tree)
        trees = (free, main, *(tree for _, tree in named))
        used = sum(tree.branch_pages + tree.leaf_pages + tree.large_pages for tree in trees)
        if used + self._state.count(_FREE) != self._pages.count - _METAS:
            raise ValueError("some pages are neither free nor in use, or both")
        return self._firsts, self._numbers

    def _mark(self, number: int, state: int, count: int = 1) -> None:
        if not _METAS <= number <= self._pages.count - count:
            raise ValueError(f"there is no page {number}")
        for at in range(number, number + count):
            if self._state[at]:
                raise ValueError(f"page {at} has two uses")
            self._state[at] = state

    def _leaves(self, what: str, tree: _Tree) -> Iterator[tuple[bytes, int]]:
        """The numbers of a tree's leaves, each with a key that is not greater than any in it; checks the branches."""
        branches = leaves = 0

        def descend(number: int, depth: int, least: bytes) -> Iterator[tuple[bytes, int]]:
            nonlocal branches, leaves
            self._mark(number, _USED)
            if depth == 1:
                leaves += 1
                yield least, number
                return
            branches += 1
            _, nodes = self._pages.nodes(number, _BRANCH)
            if not nodes:
                raise ValueError(f"page {number} is empty")
            for at, (key, _, child, _) in enumerate(nodes):
                yield from descend(child, depth - 1, key if at else least)  # the first node's own key is not used

        if tree.depth > _MAX_DEPTH or (tree.depth == 0) != (tree.root == _NONE):
            raise ValueError(f"{what} has depth {tree.depth} and root {tree.root}")
        if tree.depth:
            yield from descend(tree.root, tree.depth, b"")
        if (branches, leaves) != (tree.branch_pages, tree.leaf_pages):
            raise ValueError(
                f"{what} has {branches} + {leaves} pages, should have {tree.branch_pages} + {tree.leaf_pages}"
            )

    def _log_tree(self, tree: _Tree) -> None:
        for least, number in self._leaves("the log", tree):
            if least and len(least) != _INDEX.size:
                raise ValueError(f"the log has a key that is no index: {least!r}")
            first = _INDEX.unpack(least)[0] if least else 0
            if self._firsts and first <= self._firsts[-1]:
                raise ValueError("the log has entries out of order")
            self._firsts.append(first)
            self._numbers.append(number)

    def _whole_tree(self, what: str, tree: _Tree, *, free_list: bool = False) -> list[tuple[bytes, _Tree]]:
        """Checks a tree with its leaves; returns the trees that are its values."""
        subtrees: list[tuple[bytes, _Tree]] = []
        entries = large = 0
        previous: bytes | int | None = None
        for _, number in self._leaves(what, tree):
            page, nodes = self._pages.nodes(number, _LEAF)
            for node in nodes:
                key, flags, size, data_at = node
                order = int.from_bytes(key, sys.byteorder) if free_list else key
                if previous is not None and not previous < order:  # type: ignore[operator]
                    raise ValueError(f"{what} has keys out of order")
                previous = order
                entries += 1
                data = page[data_at : data_at + size]
                if flags == _BIG:
                    begin, count = self._pages.large_extent(number, page, node)
                    self._mark(begin, _USED, count)
                    large += count
                    data = self._pages.read(begin, count)[_PAGE.size : _PAGE.size + size]
                elif flags == _SUBTREE and len(data) == _TREE.size and not free_list:
                    subtrees.append((key, _Tree(*_TREE.unpack(data))))
                elif flags:
                    raise ValueError(f"{what} has a node with flags {flags:#x}")
                if free_list:
                    self._free_pages(data)
        if (entries, large) != (tree.entries, tree.large_pages):
            raise ValueError(f"{what} has {entries} entries, should have {tree.entries}")
        return subtrees

    def _free_pages(self, data: bytes) -> None:
        numbers = array("Q")
        with suppress(ValueError):  # not a multiple of 8: then the count is wrong
            numbers.frombytes(data)
        if not numbers or numbers[0] != len(numbers) - 1:
            raise ValueError("the free list has a wrong length")
        for number in numbers[1:]:
            self._mark(number, _FREE)
