"""Header fields as tests look at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Fields", "Headers"]

Fields = Mapping[str, str] | Iterable[tuple[str, str]]
"""Header fields, as a mapping or as pairs in order."""


class Headers(Mapping[str, str]):
    """Fields in order. Names have no case; a name that is repeated stands for its values joined by commas."""

    def __init__(self, fields: Fields = ()) -> None:
        self.pairs: tuple[tuple[str, str], ...] = tuple(fields.items() if isinstance(fields, Mapping) else fields)
        """Every field line, as it came."""

    def all(self, name: str) -> list[str]:
        """Every value of a field, in order."""
        return [value for key, value in self.pairs if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.all(name))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self.pairs))

    def __len__(self) -> int:
        return len(set(self))

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs)!r})"
