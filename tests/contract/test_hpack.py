"""Our HPACK and that of Python's `hpack` read what the other writes, over many blocks of one connection.

Ours is `crates/http/examples/hpack_by_line.rs`.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pytest
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hpack.table import HeaderTable
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.timeout(600)
"""It waits for cargo."""

ROOT = Path(__file__).parents[2]
LARGEST = 4096
EVERYWHERE = {field for field in HeaderTable.STATIC_TABLE if field[1]}
"""What every table has is an index, sensitive or not."""


class Field(NamedTuple):
    """A field, and whether it must not come into a table."""

    name: bytes
    value: bytes
    sensitive: bool


class Ours:
    """An encoder and a decoder of ours, in a process of their own."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def begin(self) -> None:
        """Begins a new connection."""
        assert self._ask("new") == ""

    def table(self, size: int) -> None:
        """Says what the peer allows, and what it has acknowledged."""
        assert self._ask(f"table {size}") == ""

    def encode(self, fields: list[Field]) -> bytes:
        """Encodes a block."""
        words = (f"{name.hex()} {value.hex()} {sensitive:d}" for name, value, sensitive in fields)
        return bytes.fromhex(self._ask(f"encode {' '.join(words)}"))

    def decode(self, block: bytes) -> list[Field] | str:
        """Decodes a block, or says what is wrong with it."""
        answer = self._ask(f"decode {block.hex()}")
        if answer.startswith("error "):
            return answer.removeprefix("error ")
        words = iter(answer.split(" ") if answer else [])
        triples = zip(words, words, words, strict=True)
        return [Field(bytes.fromhex(name), bytes.fromhex(value), never == "1") for name, value, never in triples]

    def close(self) -> None:
        """Ends the process, which must not have failed."""
        self._pipe(self._process.stdin).close()
        assert self._process.wait() == 0
        self._pipe(self._process.stdout).close()

    def _ask(self, line: str) -> str:
        to, answers = self._pipe(self._process.stdin), self._pipe(self._process.stdout)
        to.write(line.encode() + b"\n")
        to.flush()
        answer = answers.readline()
        assert answer.endswith(b"\n"), "it has ended"
        return answer.decode().removesuffix("\n")

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe


@pytest.fixture(scope="module")
def ours() -> Iterator[Ours]:
    """Builds the example, which takes seconds: the crate has one dependency."""
    command = ["cargo", "build", "--quiet", "--locked", "--package=pylae-http", "--example=hpack_by_line"]
    shown = subprocess.run([*command, "--message-format=json"], cwd=ROOT, check=True, capture_output=True)
    built = [json.loads(line) for line in shown.stdout.splitlines()]
    program = next(Path(line["executable"]) for line in built if line.get("target", {}).get("name") == "hpack_by_line")
    ours = Ours(program)
    # It logs each byte.
    logging.getLogger("hpack").setLevel(logging.WARNING)
    yield ours
    logging.getLogger("hpack").setLevel(logging.NOTSET)
    ours.close()


NAMES = st.one_of(
    st.sampled_from(
        [b":path", b":status", b"accept", b"cookie", b"content-length", b"date", b"x-one", b"x-two", b"via"]
    ),
    st.binary(max_size=20).map(bytes.lower),
)
VALUES = st.one_of(
    st.sampled_from([b"", b"/", b"200", b"one", b"two"]), st.binary(max_size=60), st.binary(max_size=500)
)
FIELDS = st.lists(st.builds(Field, NAMES, VALUES, st.booleans()), min_size=1, max_size=20)
SIZES = st.none() | st.integers(0, 300) | st.integers(0, LARGEST)
BLOCKS = st.lists(st.tuples(SIZES, FIELDS, st.integers(1, 3)), max_size=8)
Blocks = list[tuple[int | None, list[Field], int]]


@given(blocks=BLOCKS)
@settings(deadline=None)
def test_the_other_reads_what_ours_writes(ours: Ours, blocks: Blocks) -> None:
    ours.begin()
    theirs = Decoder(max_header_list_size=1 << 20)
    for size, fields, times in blocks:
        if size is not None:
            ours.table(size)
            theirs.max_allowed_table_size = size
        for _ in range(times):
            found = theirs.decode(ours.encode(fields), raw=True)
            assert [(name, value) for name, value in found] == [field[:2] for field in fields]
            for field, read in zip(fields, found, strict=True):
                if field.sensitive and field[:2] not in EVERYWHERE:
                    assert isinstance(read, NeverIndexedHeaderTuple)


@given(blocks=BLOCKS, huffman=st.booleans())
@settings(deadline=None)
def test_ours_reads_what_the_other_writes(ours: Ours, blocks: Blocks, huffman: bool) -> None:
    ours.begin()
    theirs = Encoder()
    for size, fields, times in blocks:
        if size is not None:
            ours.table(size)
            theirs.header_table_size = size
        for _ in range(times):
            block = theirs.encode([HeaderTuple(*field[:2]) for field in fields], huffman=huffman)
            assert ours.decode(block) == [Field(*field[:2], sensitive=False) for field in fields]
            block = theirs.encode([NeverIndexedHeaderTuple(*field[:2]) for field in fields], huffman=huffman)
            found = ours.decode(block)
            assert not isinstance(found, str), found
            assert [field[:2] for field in found] == [field[:2] for field in fields]


@given(blocks=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6))
@settings(deadline=None)
def test_both_read_the_same_in_any_bytes_or_ours_refuses(ours: Ours, blocks: list[bytes]) -> None:
    ours.begin()
    theirs = Decoder(max_header_list_size=1 << 20)
    for block in blocks:
        found = ours.decode(block)
        if isinstance(found, str):
            break
        assert [(name, value) for name, value in theirs.decode(block, raw=True)] == [field[:2] for field in found]
