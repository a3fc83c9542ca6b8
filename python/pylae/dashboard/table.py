"""Tables. Only the rows on the page that is shown are sent to the browser; sorting and searching happen here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nicegui import events, ui

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: The key of its values in rows.
        label: Its heading.
        kind: `number` is at the right; `link` leads to the row's `NAME_to`; `state` is a pill in the tone of the row's
            `NAME_tone` (good, bad, warn, or faint); `mono` is text in a font of fixed width; `pick` is a button that
            picks the row (`Table.on_pick`). All are shown as text.
        show: The text for a value; the value itself is what rows are sorted by.
    """

    name: str
    label: str
    kind: Literal["text", "number", "link", "state", "mono", "pick"] = "text"
    show: Callable[[Any], str] = lambda value: "" if value is None else str(value)


# Templates of Vue: what is in rows is only ever bound as text or as an attribute.
_CELLS = {
    "link": '<q-td :props="props"><a v-if="props.row.{n}_to" :href="props.row.{n}_to">{{{{ props.value }}}}</a>'
    "<template v-else>{{{{ props.value }}}}</template></q-td>",
    "state": '<q-td :props="props"><span v-if="props.value" class="pill" :class="props.row.{n}_tone || \'faint\'">'
    "{{{{ props.value }}}}</span></q-td>",
    "pick": '<q-td :props="props"><button type="button" class="link pick" '
    "@click=\"$parent.$emit('pick', props.key)\">{{{{ props.value }}}}</button></q-td>",
    "mono": '<q-td :props="props"><span class="mono" :title="props.value">{{{{ props.value }}}}</span></q-td>',
}

# Quasar sorts by clicks alone.
_HEADING = '<q-th :props="props" tabindex="0" @keydown.enter="props.sort(props.col)">{{ props.col.label }}</q-th>'


class Table:
    """A table with a search field. Give `rows` anew whenever something has changed."""

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        key: str,
        sort: str | None = None,
        descending: bool = False,
        search: str | None = None,
        size: int = 25,
        empty: str = "There is nothing.",
        label: str = "",
    ) -> None:
        """`key` names the values that tell rows apart; `search` is the label of the search field; `size` are the rows
        of a page; `label` says to screen readers what it is.
        """
        self._columns, self._key, self._text = columns, key, ""
        self._by_name = {column.name: column for column in columns}
        self._rows: Sequence[Row] = []
        self._pagination: dict[str, Any] = {
            "page": 1, "rowsPerPage": size, "sortBy": sort, "descending": descending, "rowsNumber": 0,
        }  # fmt: skip
        if search is not None:
            with ui.element("div").classes("bar"):
                self.search = ui.input(search, on_change=self._search).props(
                    "type=search dense outlined clearable debounce=300"
                )
        self.table = ui.table(
            columns=[_described(column) for column in columns], rows=[], row_key=key, pagination=dict(self._pagination)
        ).props(f'dense flat binary-state-sort hide-no-data no-data-label="{empty}" role=group aria-label="{label}"')
        self.table.add_slot("header-cell", _HEADING)
        self.table.on("request", self._request)
        # What a browser says of it when it has built the table is older than what was found meanwhile.
        self.table.on_pagination_change(lambda _: self._update())
        for column in columns:
            if column.kind in _CELLS:
                self.table.add_slot(f"body-cell-{column.name}", _CELLS[column.kind].format(n=column.name))
        self._empty = ui.label(empty).classes("faint")

    def on_pick(self, picked: Callable[[str], Awaitable[None]]) -> None:
        """Calls `picked` with the key of a row when its button is pressed."""

        async def heard(event: events.GenericEventArguments) -> None:
            await picked(str(event.args))

        self.table.on("pick", heard)

    @property
    def rows(self) -> Sequence[Row]:
        """All rows."""
        return self._rows

    @rows.setter
    def rows(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._update()

    def _search(self, event: events.ValueChangeEventArguments[Any]) -> None:
        self._text = str(event.value or "").strip().lower()
        self._pagination["page"] = 1
        self._update()

    def _request(self, event: events.GenericEventArguments) -> None:
        wanted = event.args.get("pagination", {})
        name, size = wanted.get("sortBy"), wanted.get("rowsPerPage")
        self._pagination["sortBy"] = name if name in self._by_name else None
        self._pagination["descending"] = bool(wanted.get("descending"))
        self._pagination["page"] = max(1, int(wanted.get("page") or 1))
        self._pagination["rowsPerPage"] = size if size in (10, 25, 50, 100) else 25
        self._update()

    def _update(self) -> None:
        found = [row for row in self._rows if self._matches(row)] if self._text else list(self._rows)
        if name := self._pagination["sortBy"]:
            found.sort(key=lambda row: _order(row.get(name)), reverse=self._pagination["descending"])
        size = self._pagination["rowsPerPage"]
        pages = max(1, -(-len(found) // size))
        page = self._pagination["page"] = min(self._pagination["page"], pages)
        self._pagination["rowsNumber"] = len(found)
        shown = [self._shown(row) for row in found[(page - 1) * size : page * size]]
        if shown != self.table.rows:
            self.table.rows = shown
        if self.table.props.get("pagination") != self._pagination:
            self.table.props["pagination"] = dict(self._pagination)
        self._empty.set_visibility(not found)

    def _matches(self, row: Row) -> bool:
        return any(self._text in column.show(row.get(column.name)).lower() for column in self._columns)

    def _shown(self, row: Row) -> dict[str, Any]:
        told = {column.name: column.show(row.get(column.name)) for column in self._columns}
        more = {key: row[key] for key in row if key.endswith(("_to", "_tone"))}
        return {**told, **more, self._key: row[self._key] if self._key not in told else told[self._key]}


def _described(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "label": column.label,
        "field": column.name,
        "sortable": True,
        "align": "right" if column.kind == "number" else "left",
    }


def _order(value: Any) -> tuple[int, Any]:
    """Numbers before texts, and what is missing first."""
    if value is None:
        return 0, 0
    return (1, value) if isinstance(value, int | float) else (2, str(value).lower())
