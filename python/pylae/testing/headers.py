"""Header fields in tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Fields", "Headers"]


class Headers:
    """Fields in order. Names are case-insensitive; `headers[name]` is the first value of a field."""

    def __init__(self, fields: Fields = ()) -> None:
        self._lines = tuple(fields.items() if isinstance(fields, Mapping | Headers) else fields)

    def __getitem__(self, name: str) -> str:
        for value in self.get_all(name):
            return value
        raise KeyError(name)

    def get(self, name: str, default: str | None = None) -> str | None:
        """Returns the first value of a field, or `default`."""
        return next(iter(self.get_all(name)), default)

    def get_all(self, name: str) -> list[str]:
        """Returns all values of a field, in order."""
        return [value for key, value in self._lines if key.lower() == name.lower()]

    def items(self) -> list[tuple[str, str]]:
        """Returns every line as (name, value), including repeated fields."""
        return list(self._lines)

    def keys(self) -> list[str]:
        """Returns each name once, as it was first written."""
        first: dict[str, str] = {}
        for name, _ in self._lines:
            first.setdefault(name.lower(), name)
        return list(first.values())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __repr__(self) -> str:
        return f"Headers({self.items()!r})"


Fields = Mapping[str, str] | Headers | Iterable[tuple[str, str]]
"""Header fields, as a mapping or as pairs in order."""
