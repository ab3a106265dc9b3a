"""The journal: what was acknowledged is read again, however the file looks otherwise, or its damage is said."""

import os
import select
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.direct_file import BLOCK, DirectFile
from pyraft_lite.storage.journal import GENERATION_BYTES, JOURNAL_BYTES, Journal

HEAD_BYTES = 24
"""What stands before a record's content."""

CONTENTS = [b"first", b"", bytes(1000), b"\xff" * 300, b"last one"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def written(file: Path, contents: list[bytes], generation: int = 7) -> None:
    """Writes records."""
    journal = Journal(file, generation)
    for content in contents:
        journal.append(content)
    journal.close()


def read(file: Path, generation: int = 7) -> list[bytes]:
    journal = Journal(file, generation)
    try:
        return journal.read()
    finally:
        journal.close()


def test_a_new_journal_is_empty_and_as_long_as_it_will_be(file: Path) -> None:
    assert read(file, 0) == []
    assert file.stat().st_size == JOURNAL_BYTES
    assert file.stat().st_mode & 0o777 == 0o600


def test_records_come_back_in_order(file: Path) -> None:
    written(file, CONTENTS)
    assert read(file) == CONTENTS
    assert file.stat().st_size == JOURNAL_BYTES


def test_after_reading_it_goes_on_behind_the_last_record(file: Path) -> None:
    written(file, CONTENTS)
    journal = Journal(file, 7)
    journal.read()
    journal.append(b"more")
    journal.close()
    assert read(file) == [*CONTENTS, b"more"]


def test_of_an_earlier_generation_nothing_is_read(file: Path) -> None:
    written(file, CONTENTS)
    journal = Journal(file, 7)
    journal.start_over(8)
    journal.append(b"new")
    journal.close()
    assert read(file, 8) == [b"new"]
    assert read(file, 9) == []


def test_there_is_room_for_so_much_content_however_many_records_it_is_in(file: Path) -> None:
    for size in (GENERATION_BYTES, GENERATION_BYTES // 3, 10_000, 0):
        journal = Journal(file, 1)
        contents = []
        while journal.has_room(size) and len(contents) < JOURNAL_BYTES:
            contents.append(bytes([len(contents) % 256]) * size)
            journal.append(contents[-1])
        taken = size * len(contents)
        assert taken <= GENERATION_BYTES < taken + size or len(contents) == JOURNAL_BYTES // BLOCK
        assert journal.read() == contents
        assert not journal.has_room(size)
        journal.start_over(2)
        assert journal.has_room(size)
        journal.close()
        assert file.stat().st_size == JOURNAL_BYTES
        file.unlink()


@settings(max_examples=30)
@given(st.data())
def test_a_write_cut_off_anywhere_is_none_and_those_before_it_are_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = tmp_path_factory.mktemp("torn") / "journal"
    earlier = data.draw(st.lists(st.binary(max_size=200), max_size=5))
    written(file, earlier, 6)
    contents = data.draw(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
    written(file, contents[:-1])
    before = file.read_bytes()
    journal = Journal(file, 7)
    journal.read()
    journal.append(contents[-1])
    journal.close()
    after = file.read_bytes()
    begin = next((at for at in range(JOURNAL_BYTES) if before[at] != after[at]), JOURNAL_BYTES)
    cut = data.draw(st.integers(begin, begin + 30 + len(contents[-1])))
    file.write_bytes(after[:cut] + before[cut:])
    assert read(file) in (contents[:-1], contents)
    if after[:cut] + before[cut:] == after:
        assert read(file) == contents


def test_a_record_that_is_damaged_where_others_follow_is_not_gone_without_a_word(file: Path) -> None:
    written(file, CONTENTS)
    for number, content in enumerate(CONTENTS[:-1]):
        begin, size = number * BLOCK, HEAD_BYTES + len(content)
        for at in {*range(HEAD_BYTES), HEAD_BYTES, size // 2, size - 1} & {*range(size)}:
            flip(file, begin + at)
            with pytest.raises(StorageError, match=rf"journal {file} is damaged at byte {begin}: records follow"):
                read(file)
            flip(file, begin + at)
    assert read(file) == CONTENTS


def flip(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        (old,) = opened.read(1)
        opened.seek(at)
        opened.write(bytes([old ^ 0x10]))


def test_a_record_in_another_place_is_none(file: Path) -> None:
    written(file, [b"one"])
    whole = file.read_bytes()
    file.write_bytes(bytes(1) + whole[:-1])
    assert read(file) == []


@pytest.mark.parametrize("size", [0, 100, JOURNAL_BYTES - 1, JOURNAL_BYTES + 1])
def test_a_file_of_another_size_is_damaged(file: Path, size: int) -> None:
    written(file, CONTENTS)
    os.truncate(file, size)
    with pytest.raises(StorageError, match=f"{file} is damaged: it has {size} bytes, not {JOURNAL_BYTES}"):
        read(file)


def test_a_journal_whose_making_was_interrupted_is_made_anew(file: Path) -> None:
    file.with_suffix(".tmp").write_bytes(b"half")
    written(file, CONTENTS)
    assert read(file) == CONTENTS


def test_a_write_that_fails_is_said_with_the_reason(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(file, 7)
    journal.append(b"before")

    def fail(descriptor: int, data: list[memoryview], offset: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwritev", fail)
    with pytest.raises(StorageError, match=f"cannot write to the journal {file}: Input/output error"):
        journal.append(b"lost")
    monkeypatch.setattr(os, "pwritev", lambda descriptor, data, offset: len(data[0]) - 1)
    with pytest.raises(StorageError, match=f"cannot write to the journal {file}: 4095 of 4096 bytes were taken"):
        journal.append(b"lost")
    assert journal.read() == [b"before"]
    journal.close()


def test_a_record_that_was_begun_is_there_when_it_is_finished(file: Path) -> None:
    journal = Journal(file, 7)
    for number, content in enumerate(CONTENTS):
        begun = journal.begin(content)
        if begun:
            select.select([journal.fileno()], [], [])
        if not (begun and journal.finish()):
            journal.append(content)  # The first has to wait on some file systems; on others all have to.
        assert read(file) == CONTENTS[: number + 1]
    journal.close()


def test_what_had_to_wait_takes_no_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(file, 7)
    monkeypatch.setattr(DirectFile, "begin", lambda self, data, offset: True)
    monkeypatch.setattr(DirectFile, "finish", lambda self: False)
    assert journal.begin(b"waits")
    assert not journal.finish()
    journal.append(b"only")
    journal.close()
    assert read(file) == [b"only"]


def test_a_record_that_was_begun_and_failed_is_said_with_the_reason(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: DirectFile) -> bool:
        raise OSError(5, "Input/output error")

    journal = Journal(file, 7)
    monkeypatch.setattr(DirectFile, "begin", lambda self, data, offset: True)
    monkeypatch.setattr(DirectFile, "finish", fail)
    assert journal.begin(b"lost")
    with pytest.raises(StorageError, match=f"cannot write to the journal {file}: Input/output error"):
        journal.finish()
    journal.close()


def test_a_directory_in_its_place_is_refused(file: Path) -> None:
    file.mkdir()
    with pytest.raises(StorageError, match=f"cannot open the journal {file}: Is a directory"):
        Journal(file, 1)
