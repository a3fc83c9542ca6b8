from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylae.config.document import files, reader
from pylae.config.document.files import digest
from pylae.config.document.load import parse, read
from pylae.config.document.nodes import find, show_path
from pylae.config.document.reader import core_scalar
from pylae.errors import ConfigError


def plain(text: str, **environ: str) -> Any:
    return parse(text, "test.yaml", environ=environ).root.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("NULL", None),
        ("~", None),
        ("yes", "yes"),
        ("on", "on"),
        ("no", "no"),
        ("tRue", "tRue"),
        ("12", 12),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("012", 12),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"),
        ("127.0.0.1", "127.0.0.1"),
        ("9" * 40, 1e40),
        ("0b1", "0b1"),
    ],
)
def test_core_scalars(text: str, value: object) -> None:
    found = core_scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_quotes_make_text() -> None:
    assert plain("a: '1'\nb: \"true\"\nc: |\n  x\n") == {"a": "1", "b": "true", "c": "x\n"}


def test_keys_are_texts_as_written() -> None:
    assert plain("on: 1\n1: 2\nnull: 3\n") == {"on": 1, "1": 2, "null": 3}


def test_aliases_and_merges() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{z: 1}, *a]}\nd: *a\n"
    assert plain(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"y": 3, "x": 1},
        "c": {"z": 1, "x": 1, "y": 2},
        "d": {"x": 1, "y": 2},
    }


def test_interpolation() -> None:
    text = "a: x-${A}-${B:-b}\nb: '${A}'\nc: $${A}\nd: ${E:-}\ne: ${E:-e}\nf: $A\n"
    assert plain(text, A="1", E="") == {"a": "x-1-b", "b": "1", "c": "${A}", "d": "", "e": "e", "f": "$A"}


def test_what_is_filled_in_is_a_text_and_not_interpolated_again() -> None:
    root = parse("a: ${A}\nb: plain\n", "test.yaml", environ={"A": "${B} true: [x"}).root
    one, other = (find(root, (key,)).node for key in "ab")
    assert one.value == "${B} true: [x"
    assert one.written == "${A}"
    assert one.interpolated
    assert not other.interpolated


def test_files_are_relative_to_the_configuration_and_watched(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/key").write_bytes(b"s3cret\n")
    config = tmp_path / "pylae.yaml"
    config.write_bytes(b"\xef\xbb\xbfkey: ${file:secrets/key}\n")
    document = read(config, {})
    assert document.root.plain() == {"key": "s3cret"}
    assert document.files == {
        config: digest(config.read_bytes()),
        tmp_path / "secrets/key": digest(b"s3cret\n"),
    }


def test_a_missing_file_is_watched_too(tmp_path: Path) -> None:
    config = tmp_path / "pylae.yaml"
    config.write_text("key: ${file:key}\n")
    with pytest.raises(ConfigError) as caught:
        read(config, {})
    assert caught.value.files[tmp_path / "key"] is None


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        plain(text)
    return "\n".join(map(str, caught.value.problems))


def test_all_unset_variables_at_once_with_their_places() -> None:
    text = 'a: "${X}"\nb: [1, "x ${Y} ${Z}"]\nc: |\n  first\n  ${V}\n'
    assert problem(text).splitlines() == [
        "test.yaml:1:5: a: the environment variable X is not set (set it, or write ${X:-default})",
        "test.yaml:2:11: b[1]: the environment variable Y is not set (set it, or write ${Y:-default})",
        "test.yaml:2:16: b[1]: the environment variable Z is not set (set it, or write ${Z:-default})",
        "test.yaml:5:3: c: the environment variable V is not set (set it, or write ${V:-default})",
    ]


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            read(path, {})
        return str(caught.value).removeprefix(f"{path}: ")

    assert said(tmp_path / "none.yaml") == "cannot be read: no such file or directory"
    assert said(tmp_path) == "cannot be read: is a directory"
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"a: caf\xe9\n")
    assert said(file) == "is not UTF-8: byte 6 is 0xe9"
    monkeypatch.setattr(files, "MAX_BYTES", 4)
    assert said(file) == "cannot be read: larger than 0 KB"


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text("services: {}\n")
    read(file)
    tracemalloc.start()
    try:
        read(file)
        assert tracemalloc.get_traced_memory()[1] < files.MAX_BYTES / 10
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("nest", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_an_error(nest: str) -> None:
    assert problem(nest * 100_000)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@#$<~0. \n\t,?", max_size=60))
def test_any_text_is_a_document_or_a_config_error(text: str) -> None:
    try:
        plain(text)
    except ConfigError as error:
        assert error.problems
        assert all(item.line and item.column for item in error.problems)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_a_config_error(data: bytes) -> None:
    try:
        plain(data.decode("utf-8", "surrogatepass"))
    except (ConfigError, UnicodeDecodeError) as error:
        assert not isinstance(error, ConfigError) or error.problems


def test_finding_a_place_skips_levels_that_the_short_form_leaves_out() -> None:
    root = parse("routes:\n  - service_name: x\n    rate_limit: {limit: 5}\n", "test.yaml").root
    found = find(root, ("routes", 0, "rate_limit", "limits", 0, "limit"))
    assert (found.node.line, found.node.column, found.key) == (3, 25, (3, 18))
    assert show_path(found.path) == "routes[0].rate_limit.limit"
    assert show_path(find(root, ("routes", 0, "service")).path) == "routes[0].service_name"
    assert find(root, ("routes", 5, "timeout")).node.line == 2


def test_names_with_dots_are_quoted_in_paths() -> None:
    assert show_path(("services", "a.b", "instances", 0)) == 'services["a.b"].instances[0]'


def test_the_number_of_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_VALUES", 6)
    assert plain("a: [1, 2]\nb: {c: 3}\n") == {"a": [1, 2], "b": {"c": 3}}
    assert problem("a: [1, 2]\nb: {c: 3, d: 4}\n") == (
        "test.yaml:2:14: b.d: more than 6 values (lists of instances can come from `discovery`)"
    )


def test_the_number_of_problems_is_bounded() -> None:
    assert len(problem(f"a: [{', '.join(['!x 1'] * 3000)}]").splitlines()) == reader.MAX_PROBLEMS


@pytest.mark.parametrize(("item", "most"), [("0", 15), ("[0]", 40), ('"ab"', 25)])
def test_a_document_takes_little_more_memory_than_its_text(item: str, most: int) -> None:
    text = f"[{','.join([item] * 100_000)}]"
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="must be a mapping, not a list"):
            plain(text)
        assert tracemalloc.get_traced_memory()[1] < most * len(text)
    finally:
        tracemalloc.stop()


def test_merged_and_aliased_values_have_their_places_and_references() -> None:
    text = 'a: &a {x: "${A}", y: 2}\nb: {z: 3, <<: *a}\nc: {<<: {x: "${A}", w: 1}}\nd: [*a, &b "${A}", *b]\n'
    root = parse(text, "test.yaml", environ={"A": "1"}).root
    for path, place, written in [
        (("b", "x"), (1, 11), "${A}"),
        (("b", "y"), (1, 22), None),
        (("b", "z"), (2, 8), None),
        (("c", "x"), (3, 13), "${A}"),
        (("c", "w"), (3, 24), None),
        (("d", 0, "x"), (1, 11), "${A}"),
        (("d", 1), (4, 9), "${A}"),
        (("d", 2), (4, 9), "${A}"),
    ]:
        found = find(root, path)
        assert found.path == path
        assert (found.node.line, found.node.column, found.node.written) == (*place, written), path
    assert [step for step, _ in find(root, ("d",)).node.items()] == [0, 1, 2]
