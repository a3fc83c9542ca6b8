"""Instances from a file that another program writes."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Unpack

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from pylae.config.document.files import digest, read_bytes
from pylae.config.document.load import parse
from pylae.config.models.instance import MOST_INSTANCES, Instance
from pylae.errors import ConfigError
from pylae.registry.sharing import AWAY, RegistryStore, why
from pylae.registry.source import Source, SourceContext, SourceSettings, in_order
from pylae.units import Duration

if TYPE_CHECKING:
    from pylae.settings.fields import FileDiscoveryFields

_MOST_BYTES = 8 * 1024 * 1024
"""Largest file."""
_UNKNOWN = "what other nodes know of the file cannot be read"
_INSTANCES = TypeAdapter(tuple[Instance, ...])


class FileDiscovery(SourceSettings):
    """A file, YAML or JSON, with the instances of each service. Its name is short for `path`."""

    short = {"type": "string"}
    files = ("path",)
    private = ("path", "interval", "scope")

    path: Annotated[str, Field(min_length=1)]
    """The file, relative to the folder of the configuration. It maps names of services to lists of instances."""
    interval: Duration = timedelta(seconds=1)
    """Time between two looks at the file. A replaced file is read at once. A file that is written in place is read once
    it no longer changes between two looks."""

    scope: Literal["node", "cluster"] = "node"
    """Whose file counts. `node`: each node has its own. `cluster`: of the files of all nodes, the one that was modified
    last counts for all of them. By the clocks of the nodes, so keep these right."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[FileDiscoveryFields]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class _Version(NamedTuple):
    """What a file says about the service. Of two, the later one counts."""

    modified: int
    """Microseconds."""
    digest: str
    instances: tuple[Instance, ...]


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
        self._read: tuple[str, int] | None = None
        self._missing: str | None = None
        """Why the file cannot be read."""
        self._wrong: str | None = None
        """What is wrong with what is in it."""
        self._latest: _Version | None = None
        """The one that counts: its own, or with `scope: cluster` that of another node."""
        self._store = context.store if settings.scope == "cluster" else None
        self._answered: float | None = None

    @property
    def joins(self) -> bool:
        """As `Source.joins`."""
        return self._store is not None

    async def look(self, now: float) -> bool:
        """As `Source.look`."""
        self.due = now + self.settings.interval.total_seconds()
        before = self._latest
        self._look_at_file()
        if self._store is None:
            if trouble := self._missing or self._wrong:
                return self.failed(trouble)
            if self._latest is None or (self._latest is before and self.trouble is None):
                return False
            return self.found(self._latest.instances)
        away = await self._look_at_store(self._store, now)
        if self._latest is None:
            trouble = self._wrong or away or self._missing
            # At the start, another node may have the file.
            return self.failed(trouble) if trouble and self._store.attached else False
        if self._latest is before and self._wrong is None and away is None and self.trouble is None:
            return False
        return self.found(self._latest.instances, self._wrong or away)

    def _look_at_file(self) -> None:
        try:
            status = self._file.stat()
            data = read_bytes(self._file, _MOST_BYTES, {})
        except OSError as error:
            self._missing = f"{self._file} cannot be read ({error.strerror or error})"
            return
        self._missing = None
        content, modified = digest(data), status.st_mtime_ns // 1000
        rests = status.st_ino != self._inode or content == self._seen
        self._inode, self._seen = status.st_ino, content
        if not rests or self._read == (content, modified):
            return
        self._read = content, modified
        try:
            instances = self._parse(data)
        except ConfigError as error:
            first = error.problems[0]
            self._wrong = f"{first.place or self._file}: {first.message}"
        except (ValidationError, UnicodeDecodeError, ValueError) as error:
            self._wrong = f"{self._file}: {_first(error)}"
        else:
            self._wrong = None
            self._take(_Version(modified, hashlib.sha256(_INSTANCES.dump_json(instances)).hexdigest(), instances))

    def _take(self, version: _Version) -> None:
        """Takes a version of its own file, or with other nodes the later one."""
        if self._store is None or self._latest is None or version[:2] > self._latest[:2]:
            self._latest = version

    async def _look_at_store(self, store: RegistryStore, now: float) -> str | None:
        """Tells other nodes of the latest version, or takes theirs. Returns why it has not been able to for a while."""
        content = ""
        # The second time with the content, if that is needed.
        for _ in range(2):
            mark = self._latest[:2] if self._latest else (0, "0")
            match await store.call("latest", self.context.service, *mark, content):
                case 2 if self._latest:
                    content = _INSTANCES.dump_json(self._latest.instances).decode()
                case [bytes() as modified, bytes() as mark_of_it, bytes() as told]:
                    self._answered = now
                    return self._told(modified, mark_of_it, told)
                case str() as answer:
                    self._answered = now if self._answered is None else self._answered
                    return f"{_UNKNOWN}: {why(answer)}" if now - self._answered >= AWAY else None
                case _:
                    break
        self._answered = now
        return None

    def _told(self, modified: bytes, mark: bytes, content: bytes) -> str | None:
        """Takes what another node has told. Returns what is wrong with it."""
        try:
            if not (re.fullmatch(rb"[0-9]{1,18}", modified) and re.fullmatch(rb"[0-9a-f]{64}", mark)):
                raise ValueError("that is no version of a file")
            if len(content) > _MOST_BYTES:
                raise ValueError("it is too long")
            instances = in_order(_INSTANCES.validate_json(content))
            if len(instances) > MOST_INSTANCES:
                raise ValueError(f"{self.context.service} has more than {MOST_INSTANCES} instances")
        except ValueError as error:
            return f"{_UNKNOWN}: {_first(error)}"
        self._take(_Version(int(modified), mark.decode(), instances))
        return None

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
