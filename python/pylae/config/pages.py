"""Reads error pages: templates for HTML or JSON with values in double braces.

The checks ensure that no value can break out of its place in the page.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from pylae.config.document.nodes import Step, show_path
from pylae.config.models.errors import ErrorPages, PageFormat
from pylae.config.models.tls import Texts
from pylae.errors import Problem

VALUES = ("status", "title", "detail", "code", "path", "request_id", "timestamp")
"""Values that a page can show."""
MAX_BYTES = 64 * 1024
"""Largest page, in bytes."""
MAX_PAGES = 256
"""Most pages of a gateway, including those of its routes."""
MAX_VALUES = 64
"""Most values in a page."""

_MEMBERS = {
    "type": "code",
    "instance": "path",
    "error": "detail",
    "message": "detail",
    "reason": "title",
    "id": "request_id",
    "time": "timestamp",
    "uri": "path",
    "url": "path",
}
"""Other names by which people may ask for a value, such as the members of problem documents."""
_BRACES = re.compile(r"\{\{\{\{|\{\{([^{}\n]{0,80})\}\}|\{\{")
_COMMENT = re.compile(r"<!--(?:-?>|.*?--!?>)|</>|<(?:!(?!--)|\?|/[^a-zA-Z])[^>]*(?:>|\Z)", re.DOTALL)
_TAG = re.compile(r"<(/?)([a-zA-Z][^\t\n\f\r />]*)")
_ATTRIBUTE = re.compile(
    r"""[\t\n\f\r /]*(?:(?P<end>>)|(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*)
    (?:[\t\n\f\r ]*=[\t\n\f\r ]*(?:"(?P<double>[^"]*)(?:"|\Z)|'(?P<single>[^']*)(?:'|\Z)|[^\t\n\f\r >]*))?)""",
    re.VERBOSE,
)
"""An attribute as HTML tokenizers read it (HTML section 13.2.5): quotes have a meaning only after `=`."""
_RAW = ("script", "style", "xmp", "iframe", "noembed", "noframes", "textarea", "title")
"""Elements whose content is plain text up to their end tag."""
_ADDRESSES = ("href", "src", "action", "formaction", "data", "poster", "srcset", "ping", "xlink:href")


class Part(NamedTuple):
    """A piece of a template, and where it begins: a text, or the name of a value."""

    at: int
    text: str
    is_value: bool

    def plan(self) -> dict[str, str]:
        """Returns its form in the plan."""
        return {"value" if self.is_value else "text": self.text}


class TemplateError(Exception):
    """A mistake in a template, and its place."""

    def __init__(self, at: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.at, self.message, self.hint = at, message, hint


def parse(template: str, form: PageFormat) -> list[Part]:
    """Returns the parts of a template. Raises TemplateError."""
    parts = list(_parts(template))
    if sum(part.is_value for part in parts) > MAX_VALUES:
        last = [part for part in parts if part.is_value][MAX_VALUES]
        raise TemplateError(last.at, f"has more than {MAX_VALUES} values")
    if form == "html":
        _check_html(template, parts)
    else:
        _check_json(parts)
    return parts


def _parts(template: str) -> Iterator[Part]:
    """Yields the texts and values. `{{{{` in a text means `{{`."""
    text, begin, end = "", 0, 0
    for found in _BRACES.finditer(template):
        text += template[end : found.start()]
        end = found.end()
        if found[0] == "{{{{":
            text += "{{"
            continue
        name = _value(found)
        if text:
            yield Part(begin, text, False)
        yield Part(found.start(), name, True)
        text, begin = "", end
    text += template[end:]
    if text:
        yield Part(begin, text, False)


def _value(found: re.Match[str]) -> str:
    if found[1] is None:
        raise TemplateError(found.start(), "`{{` without `}}` after it", "write {{{{ for the text {{")
    name = found[1].strip()
    if name in VALUES:
        return name
    near = _MEMBERS.get(name.lower()) or next(iter(difflib.get_close_matches(name.lower(), VALUES, 1, 0.6)), None)
    hint = f"did you mean {{{{{near}}}}}?" if near else "use one of these, or write {{{{ for the text {{"
    raise TemplateError(
        found.start(), f"{found[0]} is not a value for error pages; these are {', '.join(VALUES)}", hint
    )


def _check_html(template: str, parts: list[Part]) -> None:
    """Checks the places of all values: escaping works only in the content of elements and in quoted attributes."""
    values = [part.at for part in parts if part.is_value]
    for at in values:
        if template.endswith(("<", "</"), 0, at):
            raise TemplateError(at, "a value cannot be the name of a tag", "write &lt; for the text <")
    at = 0
    while (begin := template.find("<", at)) >= 0:
        if comment := _COMMENT.match(template, begin):
            at = comment.end()
        elif template.startswith("<!--", begin):
            raise TemplateError(begin, "this comment has no end", "close it with -->")
        elif tag := _TAG.match(template, begin):
            at = _check_tag(template, tag, values)
        else:
            at = begin + 1


def _check_tag(template: str, tag: re.Match[str], values: list[int]) -> int:
    """Checks the values in a tag and, if its content is not HTML, in its element. Returns the end of both."""
    _refuse_in(tag.span(), values, "a value cannot be the name of a tag")
    end = tag.end()
    while (attribute := _ATTRIBUTE.match(template, end)) and not attribute["end"]:
        end = attribute.end()
        for at in values:
            if attribute.start() <= at < end:
                _check_attribute(attribute, at)
    if attribute is None:
        raise TemplateError(tag.start(), "this tag has no end", "write &lt; for the text <")
    end = attribute.end()
    name = tag[2].lower()
    if tag[1] or name not in _RAW:
        return end
    close = re.compile(rf"</{name}[\t\n\f\r />]", re.IGNORECASE).search(template, end)
    behind = close.start() if close else len(template)
    if name in ("script", "style"):
        message = f"a value cannot stand in <{name}>, where HTML escaping does not protect"
        _refuse_in((end, behind), values, message, 'put it into an attribute, e.g. <body data-id="{{request_id}}">')
    return behind


def _refuse_in(span: tuple[int, int], values: list[int], message: str, hint: str | None = None) -> None:
    if inside := [at for at in values if span[0] <= at < span[1]]:
        raise TemplateError(inside[0], message, hint)


def _check_attribute(attribute: re.Match[str], at: int) -> None:
    name, value = attribute["name"].lower(), attribute["double"] or attribute["single"]
    if value is None or at < max(attribute.start("double"), attribute.start("single")):
        raise TemplateError(at, "a value in a tag needs quotes around it", 'write it like title="{{title}}"')
    if name.startswith("on") or name in ("style", "srcdoc"):
        message = f"a value cannot stand in `{name}`, where HTML escaping does not protect"
        hint = 'put it into another attribute, e.g. data-id="{{request_id}}"'
        raise TemplateError(at, message, hint)
    if name in _ADDRESSES and value.strip().lower().startswith(("{{", "javascript:", "data:")):
        message = f"a value cannot begin an address, as it does in `{name}`"
        raise TemplateError(at, message, "begin with a fixed path")


def _check_json(parts: list[Part]) -> None:
    """Checks that the page is JSON for any values.

    A backslash is not valid JSON outside a string, and `\\x` is not valid inside one. So the two samples prove that
    each value is in a string.
    """
    for sample in ("x", '\\"'):
        rendered, places = "", []
        for part in parts:
            places.append((len(rendered), part))
            rendered += part.text if not part.is_value else "404" if part.text == "status" else sample
        try:
            json.loads(rendered, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            begin, part = next((item for item in reversed(places) if item[0] <= error.pos), (0, Part(0, "", False)))
            if part.is_value:
                raise TemplateError(
                    part.at,
                    f"{{{{{part.text}}}}} must be inside a string" if part.text != "status" else "is not JSON here",
                    f'write "{{{{{part.text}}}}}"; only the status is a number',
                ) from None
            message = f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
            raise TemplateError(part.at + error.pos - begin, message) from None
        except (ValueError, RecursionError) as error:
            raise TemplateError(0, f"is not JSON that all clients can read: {str(error)[:100]}") from None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


@dataclass
class Pages:
    """The error pages of one configuration. Each file is read once."""

    texts: Texts

    def __post_init__(self) -> None:
        self._read: dict[tuple[str, PageFormat], list[dict[str, str]]] = {}
        self._count = 0

    def plan(self, pages: ErrorPages, path: tuple[Step, ...]) -> dict[str, Any]:
        """Returns their form in the plan. `path` is their place in the model."""
        return {
            status: {"html": None, "json": None}
            | {form: self._page(file, form, (*path, status, form)) for form, file in page.items()}
            for status, page in pages.items()
        }

    def _page(self, file: str, form: PageFormat, path: tuple[Step, ...]) -> list[dict[str, str]]:
        self._count += 1
        if self._count > MAX_PAGES:
            if self._count == MAX_PAGES + 1:
                self.texts.find(path, f"there are more than {MAX_PAGES} error pages, including those of routes")
            return []
        if (file, form) not in self._read:
            text = self.texts.read_utf8(file, path, MAX_BYTES)
            self._read[file, form] = [] if text is None else self._parsed(text, file, form, path)
        return self._read[file, form]

    def _parsed(self, text: str, file: str, form: PageFormat, path: tuple[Step, ...]) -> list[dict[str, str]]:
        try:
            return [part.plan() for part in parse(text, form)]
        except TemplateError as error:
            line = text.count("\n", 0, error.at) + 1
            column = error.at - text.rfind("\n", 0, error.at)
            place = (str(self.texts.file(file)), line, column)
            self.texts.problems.append(Problem(*place, show_path(path), error.message, error.hint))
            return []
