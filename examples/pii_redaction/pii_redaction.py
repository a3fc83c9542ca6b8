"""Takes personal data out of JSON responses: fields by name, mail addresses and card numbers wherever they stand."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict

from pylae import Plugin, Request, Response
from pylae.hooks import on_response

_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


class Settings(BaseModel):
    """What a configuration says about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: frozenset[str] = frozenset({"ssn", "iban", "date_of_birth"})
    """Names of members whose values are replaced, at any depth."""
    roles: frozenset[str] = frozenset({"admin"})
    """Roles that see everything."""
    mask: str = "***"
    """What stands in their place."""


class PiiRedaction(Plugin):
    """Redacts. What is not JSON, or cannot be read, passes; a larger body than it takes fails, and is not sent."""

    Settings = Settings

    @on_response(body="1MB")
    def redact(self, request: Request, response: Response) -> None:
        """Replaces the body if anything in it has to go."""
        if request.user is not None and request.user.role in self.settings.roles:
            return
        if "json" not in response.headers.get("Content-Type", ""):
            return
        try:
            value = json.loads(response.body)
        except ValueError:
            return
        clean = self.clean(value)
        if clean != value:
            response.body = json.dumps(clean)
            # They speak of what the service has sent.
            for name in ("ETag", "Last-Modified", "Digest", "Content-MD5"):
                response.headers.pop(name, None)

    def clean(self, value: Any) -> Any:
        """The same without personal data."""
        if isinstance(value, dict):
            return {
                name: self.settings.mask if name.lower() in self.settings.fields else self.clean(item)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        if isinstance(value, str):
            return _CARD.sub(self._card, _MAIL.sub(self.settings.mask, value))
        return value

    def _card(self, found: re.Match[str]) -> str:
        digits = [int(letter) for letter in reversed(found[0]) if letter.isdigit()]
        # Luhn's check digit tells card numbers from other long numbers (ISO/IEC 7812-1, annex B).
        odd, even = digits[::2], digits[1::2]
        total = sum(odd) + sum(sum(divmod(2 * digit, 10)) for digit in even)
        return self.settings.mask if total % 10 == 0 else found[0]
