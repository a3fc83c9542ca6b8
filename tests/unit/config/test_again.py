"""A file that is read again: what has not changed is not parsed, and everything is as if all of it had been."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pylae.config.document import reader
from pylae.config.document.include import read_whole
from pylae.config.document.load import Document
from pylae.config.document.nodes import Tree
from pylae.errors import ConfigError

ROUTES = """\
listeners: [127.0.0.1:8080]
services:
  a: http://127.0.0.1:1
routes:
  - name: one
    path: /one
    service: a
  # A comment belongs to what is before it.

  - {name: two, path: /two,
     service: a}
  - name: three
    path: "/three
      and more"
    headers:
      x: ["1", 2]
  - name: four
    static_response: |
      - name: five
        path: /five

policies: {}
"""


def places(tree: Tree, value: Any = None) -> Iterator[tuple[Any, ...]]:
    """Every entry of a document: key, value and places, and whether it has references."""
    value = tree.data if value is None else value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in entries:
        yield step, repr(item), tree.places(value, step), tree.foreign(value).get(step)
        if isinstance(item, dict | list):
            yield from places(tree, item)


def read_again(path: Path, before: str, after: str) -> tuple[Document, Document]:
    """What a file was, and what it is once its text has changed. It must be as if it had not been read before."""
    path.write_text(before)
    earlier = read_whole(path, {})
    path.write_text(after)
    again, anew = read_whole(path, {}, earlier), read_whole(path, {})
    assert list(places(again.root)) == list(places(anew.root))
    assert (again.counted, again.files, again.root.files) == (anew.counted, anew.files, anew.root.files)
    return earlier, again


def same(earlier: Document, again: Document) -> list[bool]:
    """Of which routes the values are those of the earlier document."""
    known = {id(item) for item in earlier.root.data["routes"]}
    return [id(item) in known for item in again.root.data["routes"]]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", [True, True, True, True]),
        ("name: one", "name: first", [False, True, True, True]),
        ("path: /two", "path: /2", [True, False, True, True]),
        ("  - name: three", "  - name: between\n    path: /x\n\n  - name: three", [True, True, False, True, True]),
        ("  # A comment belongs to what is before it.\n", "", [False, True, True, True]),
        ("  - name: one\n    path: /one\n    service: a\n", "", [True, True, True]),
        ("listeners: [127.0.0.1:8080]\n", "\n\n# more\nlisteners: []\nworkers: 1\n", [True, True, True, True]),
        ("policies: {}\n", "", [True, True, True, True]),
        ("path: /one", "path: ${X:-/one}", [False, True, True, True]),
        ("      and more", "      and less", [True, True, False, True]),
        ("        path: /five\n", "        path: /6\n", [True, True, True, False]),
    ],
)
def test_only_items_that_changed_are_parsed(tmp_path: Path, old: str, new: str, expected: list[bool]) -> None:
    assert same(*read_again(tmp_path / "pylae.yaml", ROUTES, ROUTES.replace(old, new, 1))) == expected


def test_items_may_move_and_what_moved_twice_is_parsed(tmp_path: Path) -> None:
    one, other = "- {name: one}\n", "- {name: two}\n"
    earlier, again = read_again(tmp_path / "a.yaml", f"routes:\n{one}{other}", f"routes:\n{other}{one}{one}")
    assert same(earlier, again) == [True, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "x: &a {b: 1}\nroutes:\n- {name: one}\n- *a\n",
        "routes:\n- {name: one}\n- {<<: {a: 1}, b: 2}\n",
        "routes:\r\n- {name: one}\r\n",
        "routes:\n-\n  name: one\n- {name: two}\n",
        "routes: [{name: one}]\n",
        "'routes':\n- {name: one}\n",
        "x: 'a\nroutes:\n- {name: two}'\n'routes':\n- {name: one}\n",
        'routes:\n- name: "one\n- two"\n',
        "routes: []\n",
        "listeners: []\n",
    ],
)
def test_where_it_is_not_certain_all_is_parsed(tmp_path: Path, text: str) -> None:
    earlier, again = read_again(tmp_path / "a.yaml", text, f"{text}via: true\n")
    assert not any(same(earlier, again)) if "routes" in again.root.data else True


def test_the_text_of_a_list_elsewhere_is_no_list(tmp_path: Path) -> None:
    before = "routes:\n- {name: one}\n- {name: two}\n"
    after = "x: 'a\nroutes:\n- {name: one}\n- {name: two}\n'\n"
    earlier, again = read_again(tmp_path / "a.yaml", before, after)
    assert "routes" not in again.root.data
    assert earlier.root.data["routes"]


def test_a_change_is_read_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(ROUTES)
    document = read_whole(path, {})
    first = document.root.data["routes"][3]
    for turn in range(5):
        path.write_text(ROUTES.replace("path: /one", f"path: /{turn}\n    priority: {turn}" + "\n" * turn))
        document = read_whole(path, {}, document)
        anew = read_whole(path, {})
        assert list(places(document.root)) == list(places(anew.root))
        assert document.root.end == anew.root.end, "nothing is kept of what has gone"
    assert document.root.data["routes"][3] is first


def test_included_files_are_read_again_by_file(tmp_path: Path) -> None:
    main = "include: ['*.part']\nlisteners: []\n"
    (tmp_path / "b.part").write_text("routes:\n- {name: b}\n- {name: c}\n")
    path = tmp_path / "pylae.yaml"
    path.write_text(main)
    earlier = read_whole(path, {})
    # Another one goes before it, so that the numbers of files change.
    (tmp_path / "a.part").write_text("routes:\n- {name: a}\n")
    (tmp_path / "b.part").write_text("routes:\n- {name: b, path: /b}\n\n- {name: c}\n")
    again, anew = read_whole(path, {}, earlier), read_whole(path, {})
    assert list(places(again.root)) == list(places(anew.root))
    assert same(earlier, again) == [False, False, True]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: one", "name: one\n   path: /x"),
        ("path: /one", "path: [/one"),
        ("path: /one", "path: ${NOWHERE}"),
        ("    service: a\n", "    service: a\n    service: b\n"),
        ("policies: {}", "policies: {}\n---\na: 1"),
        ("policies: {}", "policies: {}\npolicies: {}"),
        ("name: one", "name: !tag one"),
    ],
)
def test_mistakes_are_those_of_the_whole(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(ROUTES)
    earlier = read_whole(path, {})
    path.write_text(ROUTES.replace(old, new, 1))
    with pytest.raises(ConfigError) as again:
        read_whole(path, {}, earlier)
    with pytest.raises(ConfigError) as anew:
        read_whole(path, {})
    assert (again.value.problems, again.value.files) == (anew.value.problems, anew.value.files)


def test_the_number_of_values_counts_those_that_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("routes:\n- {name: one}\n- {name: two}\n")
    earlier = read_whole(path, {})
    monkeypatch.setattr(reader, "MAX_VALUES", earlier.counted[0] + 1)
    path.write_text("routes:\n- {name: one}\n- {name: two}\nvia: true\n")
    assert read_whole(path, {}, earlier).root.data["via"] is True
    path.write_text("routes:\n- {name: one}\n- {name: two}\nvia: true\nhosts: a\n")
    with pytest.raises(ConfigError, match=r"a.yaml:5:8: hosts: more than \d+ values"):
        read_whole(path, {}, earlier)


LINES = st.sampled_from(
    ["routes:", "- a: 1", "  - a: 1", "    b: 2", "  b: 2", "- x", "  # c", "", "b: [1,", " 2]", "a: |", "    - t", "-",
     "  - 'q", "  q'", "- {a: 1}", "  - {a: 1}", "c: ${X:-1}", "  - ${X:-1}", "---"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(LINES, max_size=12), edits=st.lists(st.tuples(st.integers(0, 12), LINES), max_size=3))
def test_whatever_changes_it_is_as_if_read_for_the_first_time(
    tmp_path: Path, before: list[str], edits: list[tuple[int, str]]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("\n".join(["routes:", *before]))
    try:
        earlier = read_whole(path, {})
    except ConfigError:
        return
    lines = ["routes:", *before]
    for at, line in edits:
        lines[at : at + 1] = [line, *lines[at : at + 1]]
    path.write_text("\n".join(lines))
    try:
        anew = read_whole(path, {})
    except ConfigError as error:
        with pytest.raises(ConfigError, match=re.escape(str(error))):
            read_whole(path, {}, earlier)
    else:
        again = read_whole(path, {}, earlier)
        assert list(places(again.root)) == list(places(anew.root))
        assert again.counted == anew.counted


def test_of_many_routes_only_the_changed_one_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pylae.yaml"
    text = "routes:\n" + "".join(f"- name: route-{index}\n  path: /{index}\n" for index in range(1000))
    path.write_text(text)
    earlier = read_whole(path, {})
    path.write_text(text.replace("path: /500\n", "path: /other\n"))
    parsed = []

    class Counted(yaml.SafeLoader):
        def get_event(self) -> Any:
            parsed.append(event := super().get_event())
            return event

    monkeypatch.setattr(reader, "_LOADER", Counted)
    again = read_whole(path, {}, earlier)
    assert sum(isinstance(event, yaml.MappingStartEvent) for event in parsed) == 2, "the document and one route"
    assert same(earlier, again).count(False) == 1
