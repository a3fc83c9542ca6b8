"""Instances from a file that another program writes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from pylae.config.document.load import digest, parse, read_bytes
from pylae.config.models.instance import MOST_INSTANCES, Instance
from pylae.errors import ConfigError
from pylae.registry.source import Source, SourceContext, SourceSettings, in_order
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import FileDiscoveryFields

_MOST_BYTES = 8 * 1024 * 1024
"""Largest file."""
_INSTANCES = TypeAdapter(tuple[Instance, ...])


class FileDiscovery(SourceSettings):
    """A file, YAML or JSON, with the instances of each service. Its name is short for `path`."""

    short = {"type": "string"}
    files = ("path",)
    private = ("path", "interval")

    path: Annotated[str, Field(min_length=1)]
    """The file, relative to the folder of the configuration. It maps names of services to lists of instances."""
    interval: Duration = timedelta(seconds=1)
    """Time between two looks at the file. A replaced file is read at once. A file that is written in place is read once
    it no longer changes between two looks."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[FileDiscoveryFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class FileSource(Source[FileDiscovery]):
    """Looks every now and then whether the file is another one.

    A file that was put in the place of the old one is whole, so it is taken at once. One that was written into is taken
    when two looks in a row find the same, so that no half of it is.
    """

    Settings = FileDiscovery

    def __init__(self, settings: FileDiscovery, context: SourceContext) -> None:
        super().__init__(settings, context)
        self._file = context.folder / Path(settings.path).expanduser()
        self._inode: int | None = None
        self._seen: str | None = None
        self._read: str | None = None

    async def look(self, now: float) -> bool:
        """As `Source.look`."""
        self.due = now + self.settings.interval.total_seconds()
        try:
            inode = self._file.stat().st_ino
            data = read_bytes(self._file, _MOST_BYTES, {})
        except OSError as error:
            return self.failed(f"{self._file} cannot be read ({error.strerror or error})")
        content = digest(data)
        rests = inode != self._inode or content == self._seen
        self._inode, self._seen = inode, content
        if content == self._read or not rests:
            return False
        self._read = content
        try:
            found = self._parse(data)
        except ConfigError as error:
            first = error.problems[0]
            return self.failed(f"{first.place or self._file}: {first.message}")
        except (ValidationError, UnicodeDecodeError, ValueError) as error:
            return self.failed(f"{self._file}: {_first(error)}")
        return self.found(found)

    def _parse(self, data: bytes) -> tuple[Instance, ...]:
        document = parse(data.decode("utf-8-sig"), str(self._file), refusal=_refusal)
        found = in_order(_INSTANCES.validate_python(document.root.plain().get(self.context.service, [])))
        if len(found) > MOST_INSTANCES:
            raise ValueError(f"{self.context.service} has more than {MOST_INSTANCES} instances")
        return found


def _refusal(_reference: str) -> tuple[str, None]:
    return "a list of instances has no references", None


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        item = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
    return str(error)
