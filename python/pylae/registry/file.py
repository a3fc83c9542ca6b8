"""Instances from a file that others write."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from pylae.config.document.load import digest, parse, read_bytes
from pylae.config.models.discovery import MOST_INSTANCES, FileDiscovery
from pylae.config.models.service import Instance
from pylae.errors import ConfigError
from pylae.registry.source import Complaint, in_order

_MOST_BYTES = 8 * 1024 * 1024
"""Largest file."""
_INSTANCES = TypeAdapter(tuple[Instance, ...])


class FileSource:
    """Looks every now and then whether the file is another one.

    A file that was put in the place of the old one is whole, so it is taken at once. One that was written into is taken
    when two looks in a row find the same, so that no half of it is.
    """

    kind: Literal["file"] = "file"

    def __init__(self, service: str, settings: FileDiscovery, folder: Path, *, secure: bool) -> None:
        self.instances: tuple[Instance, ...] = ()
        self.due = 0.0
        self._service, self._secure = service, secure
        self._file = folder / Path(settings.path).expanduser()
        self._interval = settings.interval.total_seconds()
        self._complaint = Complaint(service)
        self._inode: int | None = None
        self._seen: str | None = None
        self._read: str | None = None

    @property
    def trouble(self) -> str | None:
        """As `Source.trouble`."""
        return self._complaint.said

    async def look(self, now: float) -> bool:
        """As `Source.look`."""
        self.due = now + self._interval
        try:
            inode = self._file.stat().st_ino
            data = read_bytes(self._file, _MOST_BYTES, {})
        except OSError as error:
            self._complaint.say(f"{self._file} cannot be read ({error.strerror or error})")
            return False
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
            self._complaint.say(f"{first.place or self._file}: {first.message}")
            return False
        except (ValidationError, UnicodeDecodeError, ValueError) as error:
            self._complaint.say(f"{self._file}: {_first(error)}")
            return False
        self._complaint.over()
        changed, self.instances = found != self.instances, found
        return changed

    def _parse(self, data: bytes) -> tuple[Instance, ...]:
        listed = parse(data.decode("utf-8-sig"), str(self._file), refusal=_refusal).root.plain().get(self._service, [])
        found = in_order(_INSTANCES.validate_python(listed))
        if len(found) > MOST_INSTANCES:
            raise ValueError(f"{self._service} has more than {MOST_INSTANCES} instances")
        if not self._secure and any(instance.url.startswith("https:") for instance in found):
            raise ValueError(f"{self._service} has instances with https://, which takes `tls: {{}}` on the service")
        return found


def _refusal(_reference: str) -> tuple[str, None]:
    return "a list of instances has no references", None


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        item = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
    return str(error)
