"""Error pages as they are written: what they may show, where it may stand, and what is said of a page that is wrong."""

from __future__ import annotations

import html
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pylae import ConfigError, Gateway
from pylae.config.models.config import Config
from pylae.config.models.errors import PageFormat
from pylae.config.pages import MAX_BYTES, MAX_PAGES, MAX_VALUES, VALUES, Part, TemplateError, parse
from pylae.errors import Problem


def parts(template: str, form: PageFormat = "html") -> list[Any]:
    return [{part.text} if part.is_value else part.text for part in parse(template, form)]


def wrong(template: str, form: PageFormat = "html") -> tuple[int, str, str | None]:
    with pytest.raises(TemplateError) as caught:
        parse(template, form)
    return caught.value.at, caught.value.message, caught.value.hint


def test_templates_are_split_at_their_values() -> None:
    assert parts("") == []
    assert parts("<p>no values, { one brace }, }}") == ["<p>no values, { one brace }, }}"]
    assert parts("{{status}} {{ title }}{{\tdetail\t}}.") == [{"status"}, " ", {"title"}, {"detail"}, "."]
    assert parts("".join(f"{{{{{name}}}}}" for name in VALUES)) == [{name} for name in VALUES]
    assert parts("{{{{status}} {{{{ {{{{{{status}}") == ["{{status}} {{ {{", {"status"}]
    assert parts('{"a": {"b": {{status}}}}', "json") == ['{"a": {"b": ', {"status"}, "}}"]


def test_what_is_no_value_has_a_suggestion() -> None:
    there_are = "is not a value for error pages; these are " + ", ".join(VALUES)
    for written, near in (
        ("stauts", "status"),
        ("requestid", "request_id"),
        ("instance", "path"),
        ("Error", "detail"),
        ("type", "code"),
        ("Title", "title"),
        ("status | upper", "status"),
    ):
        assert wrong(f"<p>{{{{ {written} }}}}") == (
            3,
            f"{{{{ {written} }}}} {there_are}",
            f"did you mean {{{{{near}}}}}?",
        )
    for written in ("user.name", "7 * 7", "", "config['x']", "%"):
        at, message, hint = wrong(f"{{{{{written}}}}}")
        assert (at, message) == (0, f"{{{{{written}}}}} {there_are}")
        assert hint == "use one of these, or write {{{{ for the text {{"
    for unfinished in ("{{", "a {{status", "{{status}", "{{sta\ntus}}", "{{a{b}}", "{{" + "x" * 100 + "}}"):
        at, message, hint = wrong(unfinished)
        assert (at, message) == (unfinished.index("{{"), "`{{` without `}}` after it")
        assert hint == "write {{{{ for the text {{"


def test_a_page_has_few_values() -> None:
    assert len(parts("{{path}}" * MAX_VALUES)) == MAX_VALUES
    assert wrong("{{path}}" * (MAX_VALUES + 1)) == (8 * MAX_VALUES, f"has more than {MAX_VALUES} values", None)


def test_values_in_html_stand_where_escaping_holds() -> None:
    for good in (
        "<p>{{path}}</p>",
        "<title>{{title}}</title><textarea>{{path}}</textarea>",
        "<p title='{{detail}}' data-x = \"a {{path}}\">",
        '<a href="/help?id={{request_id}}">',
        '<a href="mailto:help@shop.test?subject={{request_id}}">',
        "<!-- {{path}} <script> --><p>{{path}}",
        "<script>var a = 1 < 2;</script>{{path}}<style>p {color: red}</style>{{path}}",
        "<script src='/x.js' data-id='{{request_id}}'></script>",
        "a < b {{path}} > c",
        "<scripted>{{path}}</scripted>",
    ):
        assert parse(good, "html")
    holds = "where HTML escaping does not protect"
    for bad, message in (
        ("<script>x = '{{path}}'</script>", f"a value cannot stand in <script>, {holds}"),
        ("<SCRIPT type='module'>{{path}}", f"a value cannot stand in <script>, {holds}"),
        ("<style>{{path}}</style>", f"a value cannot stand in <style>, {holds}"),
        ("<p onclick='f(\"{{path}}\")'>", f"a value cannot stand in `onclick`, {holds}"),
        ('<p style="color: {{path}}">', f"a value cannot stand in `style`, {holds}"),
        ("<iframe srcdoc='{{path}}'>", f"a value cannot stand in `srcdoc`, {holds}"),
        ("<p title={{path}}>", "a value in a tag needs quotes around it"),
        ("<p {{path}}>", "a value in a tag needs quotes around it"),
        ("<p{{path}}>", "a value cannot be the name of a tag"),
        ('<p"{{path}}">', "a value cannot be the name of a tag"),
        ('<p a"={{path}}">', "a value in a tag needs quotes around it"),
        ("<p {{path}}='x'>", "a value in a tag needs quotes around it"),
        ("<p a= \"x\"b='{{path}}' c={{path}}>", "a value in a tag needs quotes around it"),
        ("</><p a={{path}}>", "a value in a tag needs quotes around it"),
        ("<!--> <p a={{path}}> -->", "a value in a tag needs quotes around it"),
        ("<{{title}}>", "a value cannot be the name of a tag"),
        ("</{{title}}>", "a value cannot be the name of a tag"),
        ("</p {{path}}>", "a value in a tag needs quotes around it"),
        ('<a href="{{path}}">', "a value cannot begin an address, as it does in `href`"),
        ("<img SRC=' {{path}}'>", "a value cannot begin an address, as it does in `src`"),
        ("<a href=\"JavaScript:f('{{path}}')\">", "a value cannot begin an address, as it does in `href`"),
    ):
        at, said, _ = wrong(bad)
        assert (at in (bad.index("{{"), bad.rindex("{{")), said) == (True, message), bad

    for unclosed in ("<p>a<b", "<p>a<b title='{{path}}> c</b>", "<p>a</b title"):
        assert wrong(unclosed) == (4, "this tag has no end", "write &lt; for the text <")
    assert wrong("<p>a<!-- b {{path}} >") == (4, "this comment has no end", "close it with -->")


def test_json_is_json_whatever_the_values_are() -> None:
    for good in (
        '{"status": {{status}}, "x{{path}}": "{{detail}} \\" {{title}}", "in": "{{status}}"}',
        "{{status}}",
        '["{{path}}"]\n',
        "null",
    ):
        assert parse(good, "json")
    for bad, at, message in (
        ("", 0, "is not JSON: expecting value"),
        ("<p>", 0, "is not JSON: expecting value"),
        ('{"a": 1,}', None, "is not JSON: "),
        ('{"a": {{path}}}', 6, "{{path}} must be inside a string"),
        ('{"a": {{ request_id }} }', 6, "{{request_id}} must be inside a string"),
        ('{"a": 0{{status}}}', 7, "is not JSON here"),
        ('{"a": "{{path}}}', 6, "is not JSON: "),
        ('{"a": "\\{{path}}, "b": 1}', None, "is not JSON: "),
        ('{"a": "\\u00{{path}}"}', None, "is not JSON: "),
        ('{"a": NaN}', 0, "is not JSON that all clients can read: NaN is not a JSON number"),
        ("[" * 100_000, 0, "is not JSON that all clients can read: "),
        ("1" * 10_000, 0, "is not JSON that all clients can read: "),
    ):
        where, said, _ = wrong(bad, "json")
        assert said.startswith(message), (bad[:50], said)
        assert at is None or where == at, bad[:50]


# What templates are put together from. Python's parser knows nothing of elements such as <title> and <textarea>.
OF_HTML = (
    *(
        "<p",
        "<a ",
        "</p>",
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "<script",
        "<style>",
        "</style>",
        "<STYLE a='",
        "<svg>",
    ),
    *("title=", "href=", "onload=", "{{path}}", "{{detail}}", "{{{{", "<!", "<?", "</", "]]>", "--"),
    *">= \n\"'/x{}<&!-`",
)
OF_JSON = ("{{path}}", "{{status}}", "true", '"a":', '"x"', '\\"', "\\\\", "\\u", *'{}[]":,\\01a -.e')
HOSTILE = "<script>alert(1)</script>\"' onclick=x href=javascript:1 --> --!> <!-- </style> /> ]]> ?> > `"


class Shape(HTMLParser):
    """The tags of a page with the names of their attributes, and where comments are."""

    def __init__(self, parts: list[Part], value: str) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.feed("".join(value if part.is_value else part.text for part in parts))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, *(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(f"/{tag}")

    def handle_comment(self, _data: str) -> None:
        self.seen.append("a comment")


def accepted(template: str, form: PageFormat) -> list[Part]:
    """The parts of a template that is accepted and has values; none of another."""
    try:
        found = parse(template, form)
    except TemplateError:
        return []
    return found if any(part.is_value for part in found) else []


@settings(deadline=None, max_examples=1000)
@given(st.lists(st.sampled_from(OF_HTML), max_size=14).map("".join))
def test_no_template_that_is_accepted_lets_a_value_change_its_tags(template: str) -> None:
    found = accepted(template, "html")
    assert Shape(found, "x").seen == Shape(found, html.escape(HOSTILE)).seen


@settings(deadline=None, max_examples=1000)
@given(st.lists(st.sampled_from(OF_JSON), max_size=12).map("".join), st.text(max_size=5), st.integers(400, 599))
def test_a_template_that_is_accepted_is_json_with_any_value(template: str, value: str, status: int) -> None:
    if found := accepted(template, "json"):
        inside = json.dumps(value)[1:-1]
        filled = (str(status) if part.text == "status" else inside for part in found if part.is_value)
        json.loads("".join(next(filled) if part.is_value else part.text for part in found))


CONFIG = """\
errors:
  404: {html: errors/404.html}
  default: {json: errors/all.json}
routes:
  - {path: /, static_response: hello, auth_required: false}
"""


def write(folder: Path, **files: str) -> Path:
    (folder / "errors").mkdir(exist_ok=True)
    for name, text in {"404.html": "<p>", "all.json": "{}", **files}.items():
        (folder / "errors" / name).write_text(text)
    file = folder / "pylae.yaml"
    file.write_text(CONFIG)
    return file


def problems(file: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file).check()
    assert {file.parent / "errors" / "404.html", file.parent / "errors" / "all.json"} <= caught.value.files.keys()
    return caught.value.problems


def test_a_mistake_is_told_where_it_stands(tmp_path: Path) -> None:
    file = write(tmp_path, **{"404.html": "<p>\n  {{detial}}\n", "all.json": '{"a":\n 1,\n}'})
    page, other = problems(file)
    assert str(page) == (
        f"{tmp_path}/errors/404.html:2:3: errors.404.html: {{{{detial}}}} is not a value for error pages; these are "
        f"{', '.join(VALUES)} (did you mean {{{{detail}}}}?)"
    )
    assert str(other).startswith(f"{tmp_path}/errors/all.json:")
    assert ": errors.default.json: is not JSON: " in str(other)
    assert other.line in (2, 3)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "errors" / "404.html").unlink()
    (tmp_path / "errors" / "all.json").write_bytes(b'"\xff"')
    first, second = problems(file)
    assert str(first) == (
        f"{file}:2:15: errors.404.html: the file errors/404.html cannot be read: no such file or directory "
        f"(looked for it at {tmp_path}/errors/404.html)"
    )
    assert str(second) == f"{file}:3:19: errors.default.json: the file errors/all.json is not UTF-8: byte 1 is 0xff"
    (tmp_path / "errors" / "404.html").write_text("x" * (MAX_BYTES + 1))
    (tmp_path / "errors" / "all.json").write_bytes(b'\xef\xbb\xbf"with a mark of the order of bytes"')
    (first,) = problems(file)
    assert first.message == "the file errors/404.html cannot be read: larger than 64 KB"
    (tmp_path / "errors" / "404.html").write_text("x" * MAX_BYTES)
    assert Gateway.from_file(file).check() == []


def test_a_page_of_many_routes_is_read_once_and_pages_are_few(tmp_path: Path) -> None:
    write(tmp_path)
    page = str(tmp_path / "errors" / "404.html")

    def gateway(count: int) -> Gateway:
        made = Gateway(errors={404: {"html": page}})
        for number in range(count):
            made.add_route(path=f"/{number}", static_response="", auth_required=False, errors={"4xx": {"html": page}})
        return made

    plan = gateway(MAX_PAGES - 1).plan()
    assert plan["errors"] == {"404": {"html": [{"text": "<p>"}], "json": None}}
    assert plan["routes"][-1]["errors"] == {"4xx": {"html": [{"text": "<p>"}], "json": None}}
    with pytest.raises(ConfigError) as caught:
        gateway(MAX_PAGES + 5).check()
    (problem,) = caught.value.problems
    assert problem.message == f"there are more than {MAX_PAGES} error pages, including those of routes"
    assert problem.path == f"routes[{MAX_PAGES - 1}].errors.4xx.html"


def test_keys_are_statuses(tmp_path: Path) -> None:
    page = str(write(tmp_path).parent / "errors" / "404.html")
    for key in (400, "404", 599, "4xx", "5xx", "default"):
        assert list(Gateway(errors={key: {"html": page}}).plan()["errors"]) == [str(key)]
    for wrong_key, hint in ((200, None), ("5XX", "did you mean `5xx`?"), ("defualt", "did you mean `default`?")):
        with pytest.raises(ConfigError) as caught:
            Gateway(errors={wrong_key: {"html": page}})
        (problem,) = caught.value.problems
        assert problem.message.startswith("must be a status from 400 to 599, `4xx`, `5xx` or `default`"), problem
        assert problem.hint == hint
        assert problem.file == __file__
    for wrong_page in ({}, {"htm": page}, {"html": ""}, {"html": 7}, page):
        with pytest.raises(ConfigError):
            Gateway(errors={404: wrong_page})
    many: dict[str | int, Any] = {status: {"html": page} for status in range(400, 465)}
    with pytest.raises(ConfigError, match="has more than 64 entries"):
        Gateway(errors=many)


def test_the_schema_knows_statuses_and_formats() -> None:
    validator = jsonschema.Draft202012Validator(Config.model_json_schema())
    for good in ({"404": {"html": "a", "json": "b"}}, {"4xx": {"html": "a"}, "default": {"json": "b"}}):
        assert validator.is_valid({"errors": good})
        assert validator.is_valid({"routes": [{"path": "/", "service": "a", "errors": good}]})
    for bad in ({"200": {"html": "a"}}, {"6xx": {"html": "a"}}, {"404": {"htm": "a"}}, {"404": "a"}):
        assert not validator.is_valid({"errors": bad})
