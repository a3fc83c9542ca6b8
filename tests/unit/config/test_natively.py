"""A text that is read natively is what it is event by event, and what is special is left to those who read events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae.config.document import load, reader
from pylae.config.document.include import read_whole
from pylae.config.document.load import parse
from pylae.config.document.nodes import Tree
from pylae.config.document.reader import Reader
from pylae.errors import ConfigError

FOLDER = Path(__file__).parent
ENVIRON = {"SET": "from outside", "LINES": "a\nb"}


def everything(tree: Tree, value: Any) -> Iterator[tuple[Any, ...]]:
    """Every entry of a document: key, value and places, and what is special about it."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in entries:
        yield step, repr(item), tree.places(value, step), tree.foreign(value).get(step)
        yield from everything(tree, item)


def found(text: str) -> Any:
    """All that reading a text comes to."""
    reading = Reader(text, "a.yaml", ENVIRON, {}, lambda _: None, FOLDER)
    try:
        document = load._read(reading)
    except ConfigError as error:
        return [*map(str, error.problems)], error.files
    root, kept = document.root, document.kept.get("a.yaml")
    items = kept and (
        kept.items.listed is root.data["routes"],
        *([*numbers] for numbers in (kept.items.added, kept.items.placed, kept.items.values)),
    )
    return (
        repr(root.data),
        root.root.at,
        [*everything(root, root.data)],
        root.end,
        document.counted,
        document.files,
        items,
    )


def natively(text: str) -> bool:
    """Whether a text is read natively. Reads it both ways, which must come to the same."""
    was: list[bool] = []
    own = Reader.natively

    def watched(reader: Any) -> Tree | None:
        was.append((tree := own(reader)) is not None)
        return tree

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "natively", watched)
        one = found(text)
        patch.setattr(Reader, "natively", lambda _: None)
        assert one == found(text)
    assert len(was) == 1
    return was[0]


@pytest.mark.parametrize("path", sorted((FOLDER / "wrong").glob("*.yaml")), ids=lambda path: path.name)
def test_files_are_read_as_event_by_event(path: Path) -> None:
    natively(path.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n",
        "{a: [], b: {}, c: [{d: [1, -2.5, 0x1F, true, ~, .inf, 2024-01-01]}]}",
        "a: |\n  x\n\n  y\nb: >-\n  folded\n  text\n'c': \"\\u00e4 \\t\"\n",
        "# comment\na: ä\nö: 'ü'\nroutes:\n- a: 1\n- b\n-  - c\n",
        "routes: []\nother: [{routes: [1]}]\n",
        "a: ${SET}\nb: ['x ${SET} ${UNSET:-y}', '$${SET}', {c: \"${LINES}\"}]\nroutes:\n- ${SET}\n- d: ${SET}\n",
        "a: ${UNSET}\nb: [1, {c: 'ä${UNSET} ${'}]\n",
        "? a\n: b\n",
        "%YAML 1.2\n---\na: 1\n...\n",
        "null: 1\n1: 2\n'<<': {a: 1}\n",
        "a: ''\n",
    ],
)
def test_what_is_not_special_is_read_natively(text: str) -> None:
    assert natively(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "just a text",
        "- a list\n",
        "a: &x 1\nb: *x\n",
        "a: {<<: {b: 1}}\n",
        "a: !tag 1\n",
        "a: !!str 1\n",
        "a: ! 1\n",
        "a: 1\n\ufeffb: 2\n",
        "a:\n",
        "a: [1, ]\nb: [,]\n",
        "a: 1\na: 2\n",
        "[a]: 1\n",
        "a: 1\n---\nb: 2\n",
        "a: [1\n",
        "a: \x00\n",
        "a: 1\n b: 2\n",
        f"a: {'[' * 50}1{']' * 50}\n",
    ],
)
def test_what_is_special_is_not(text: str) -> None:
    assert not natively(text)


def test_depth_and_number_have_the_same_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert natively(f"a: {'[' * 49}1{']' * 49}\n")
    monkeypatch.setattr(reader, "MAX_VALUES", 5)
    assert natively("a: [1, 2, 3]\n")
    assert not natively("a: [1, 2, 3, 4]\n")


def test_half_of_a_surrogate_pair_is_refused_as_ever() -> None:
    with pytest.raises(UnicodeEncodeError):
        parse("a: \ud800", "a.yaml")


def test_equal_texts_and_keys_are_kept_once() -> None:
    root = parse("a: {name: some text}\nb: {name: some text}\n", "a.yaml").root.data
    (one_key, one), (other_key, other) = (*root["a"].items(), *root["b"].items())
    assert one is other
    assert one_key is other_key


def test_included_files_are_read_into_one_tree(tmp_path: Path) -> None:
    (tmp_path / "pylae.yaml").write_text("include: ['*.part']\nservices:\n  a: ${SET}\n")
    (tmp_path / "a.part").write_text("routes:\n- {<<: {name: a}, path: '${SET}'}\n")
    (tmp_path / "b.part").write_text("routes:\n- {name: b, path: /b}\n- {name: '${SET}'}\n")
    documents = []
    for own in (Reader.natively, lambda _: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Reader, "natively", own)
            documents.append(read_whole(tmp_path / "pylae.yaml", ENVIRON))
    one, other = documents
    assert [*everything(one.root, one.root.data)] == [*everything(other.root, other.root.data)]
    assert (one.counted, one.files, one.root.files) == (other.counted, other.files, other.root.files)


SCALARS = st.one_of(
    st.sampled_from(["", "a", "${SET}", "x ${UNSET:-y} $${", "1", "-", "true", "<<", "a: b", "# c", "ä\u2028", "\n"]),
    st.text(max_size=8),
    st.integers(-99, 99),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "routes", "1", "<<", "ä"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(
    value=st.dictionaries(st.sampled_from(["a", "routes", "c d"]), VALUES),
    flow=st.sampled_from([None, True, False]),
    indent=st.sampled_from([2, 5]),
    unicode=st.booleans(),
)
def test_whatever_is_dumped_is_read_as_event_by_event(
    value: Any, flow: bool | None, indent: int, unicode: bool
) -> None:
    natively(yaml.safe_dump(value, default_flow_style=flow, indent=indent, allow_unicode=unicode, width=20))


LINES = st.sampled_from(
    ["routes:", "- a: 1", "  - a: 1", "    b: 2", "  b: 2", "- x", "  # c", "", "b: [1,", " 2]", "a: |", "    - t", "-",
     "  - 'q", "  q'", "- {a: 1}", "  - {a: 1}", "c: ${SET}", "  - ${UNSET}", "---", "a: &x 1", "d: *x", "\tb: 1",
     "? e", ": f", "...", "%YAML 1.1", "g: \"\\x41", "h\"", "<<: {a: 1}", "i: !t 1", "- - j", "k: >2", "\x85", "\r"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(LINES, max_size=12))
def test_whatever_lines_there_are_they_are_read_as_event_by_event(lines: list[str]) -> None:
    natively("\n".join(lines))
