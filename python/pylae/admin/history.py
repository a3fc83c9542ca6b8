"""The history: what was put in force, by whom, when and why, and the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from pylae.access.scopes import CONFIGURE, READ
from pylae.admin.body import Body
from pylae.admin.caller import caller_of
from pylae.admin.configuration import (
    BEGUN,
    ETAG,
    IF_MATCH,
    IfMatch,
    Now,
    Outcome,
    Reason,
    keeping,
    revision_of,
    rolled_out,
)
from pylae.admin.document import refusals
from pylae.admin.endpoint import needs, topic_router
from pylae.admin.problems import flaws
from pylae.errors import ConfigError
from pylae.fleet.fleet import Fleet, Wanted
from pylae.history.content import document_of
from pylae.history.entry import Cause, Entry, changes_between
from pylae.history.history import MOST_PAGE

if TYPE_CHECKING:
    from pylae.runtime.runtime import Runtime

TAG = "history"

Number = Annotated[int, Path(ge=1, lt=10**10, description="Number of the entry.")]
_ABSENT = {404: "There is no entry with this number.", 503: "The store does not answer, or the entry is damaged."}


class RecordedChange(Body):
    """A setting that differs."""

    path: str
    """Path of the setting. Routes are identified by name if all of them have one."""
    before: Any
    """What it was; null if it was not there. Secrets are `(hidden)`."""
    after: Any
    """What it is; null if it is not there any more."""
    cut: bool
    """Whether a value was too long, so that only its beginning is here, as a text."""


class RecordedChanges(Body):
    """The differences between two configurations."""

    changes: list[RecordedChange]
    """The differences, or the first 200 of them."""
    count: int | None
    """How many there are. Null if the configuration before could not be read."""


class Recorded(RecordedChanges):
    """A configuration that was put in force."""

    number: int
    """Number of the entry. The next one has the next number."""
    at: datetime
    """When it was put in force."""
    author: str
    """Who did it: the name of a caller of this API, or `file`, `signal` or `program`."""
    how: str
    """What did it: `start`, `file`, `signal`, `reload`, `admin`, `program`, `rollback` or `apply`."""
    reason: str | None
    """What was said about it."""
    node: str | None
    """The node that accepted it, if gateways share the store."""
    returns_to: int | None
    """The number of the entry that a rollback returned to."""
    outcome: str | None
    """How its roll-out to the gateways that share the store has ended: `done`, `refused`, `taken_back` or `cancelled`.
    Null before its end, and on a gateway that is alone."""
    digest: str
    """SHA-256 of the configuration without secrets. Equal if two entries have the same configuration."""


class Unreadable(Body):
    """An entry that is damaged."""

    number: int
    """Number of the entry."""
    damage: str
    """What is wrong with it."""


class Listed(Body):
    """Entries, the latest one first."""

    entries: list[Recorded | Unreadable]
    """The entries. Of each one, only the first changes are listed."""
    more: bool
    """Whether there are older ones: ask with `before`, the last number here."""


_LISTED_CHANGES = 20
"""Changes of an entry in a list of entries."""


def router(runtime: Runtime) -> APIRouter:
    """Returns the paths of this topic."""
    topic = topic_router("/history")

    @topic.get("", responses=refusals({503: "The store does not answer."}))
    @needs(READ)
    def list_history(
        before: Annotated[int | None, Query(ge=1, lt=10**10, description="Only entries before this number.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_PAGE, description="How many entries.")] = 20,
    ) -> Listed:
        """Lists what was put in force, the latest first, or what came before an entry.

        What is in force now is the latest one, unless it could not be recorded.
        """
        history = runtime.recorder.history()
        found = history.entries(before, limit)
        more = len(found) == limit and bool(history.entries(found[-1].number, 1)) if found else False
        entries = [
            _recorded(one, _LISTED_CHANGES) if isinstance(one, Entry) else Unreadable(number=one.number, damage=one.why)
            for one in found
        ]
        return Listed(entries=entries, more=more)

    @topic.get("/{number}", responses=refusals(_ABSENT))
    @needs(READ)
    def get_entry(number: Number) -> Recorded:
        """Shows an entry with what it changed."""
        return _recorded(runtime.recorder.history().entry(number))

    @topic.get(
        "/{number}/config",
        responses={
            200: {"description": "The configuration.", "content": {"application/json": {"schema": {"type": "object"}}}},
            **refusals(_ABSENT),
        },
    )
    @needs(READ)
    def get_entry_config(number: Number) -> Response:
        """Returns the configuration of an entry as it was written. Secrets are `(hidden)`."""
        return JSONResponse(runtime.recorder.history().content(number))

    @topic.get("/{number}/diff", responses=refusals(_ABSENT))
    @needs(READ)
    def diff_entry(
        number: Number,
        other: Annotated[
            int | None, Query(ge=1, lt=10**10, description="Number of the other entry; without it, what is in force.")
        ] = None,
    ) -> RecordedChanges:
        """Compares the configuration of an entry with that of an `other` one, or with the one in force."""
        history = runtime.recorder.history()
        before = history.content(number)
        if other is not None:
            after = history.content(other)
        else:
            with runtime.changing:
                after = document_of(runtime.builder)
        changes, count = changes_between(before, after)
        return RecordedChanges(changes=[RecordedChange(**vars(one)) for one in changes], count=count)

    @topic.post(
        "/{number}/rollback",
        openapi_extra=IF_MATCH,
        responses={
            200: {"headers": ETAG},
            **BEGUN,
            **refusals(
                _ABSENT
                | {
                    409: "Another revision is in force by now.",
                    422: "The configuration cannot be used any more. `problems` has all of its problems.",
                    428: "`If-Match` is missing.",
                    500: "The configuration cannot be written into the state folder; or another error of the gateway.",
                }
            ),
        },
    )
    @needs(CONFIGURE)
    def roll_back(
        request: Request,
        response: Response,
        number: Number,
        if_match: IfMatch = None,
        reason: Reason = None,
        now: Now = False,
    ) -> Outcome:
        """Puts the configuration of an entry in force again, completely or not at all. This makes a new entry.

        `If-Match` is as for `PUT /config`, and so is how long it stays in force. The history has no secrets: those at
        the same places count that are in force now. If there is none, or if it would be sent elsewhere than now,
        nothing changes, and the answer says which one it is.

        If gateways share a store, this begins a roll-out, as `PUT /config` does.
        """
        revision = revision_of(if_match)
        document = runtime.recorder.history().content(number)
        caller = caller_of(request)
        cause = Cause("rollback", caller.name, reason, number)
        try:
            if isinstance(fleet := runtime.fleet, Fleet):
                return rolled_out(fleet, Wanted(json.dumps(document), cause, caller.address, revision, now), response)
            with keeping():
                applied, warnings = runtime.roll_back(
                    document, revision, cause, unlimited=caller.bearer.scopes.unlimited
                )
        except ConfigError as error:
            # Nobody has seen the text in which the lines are counted.
            problems = [one if one.in_code else replace(one, line=None, column=None) for one in error.problems]
            raise ConfigError(problems, error.files) from None
        response.headers["ETag"] = f'"{applied}"'
        return Outcome(revision=applied, warnings=flaws(warnings))

    return topic


def _recorded(entry: Entry, most: int | None = None) -> Recorded:
    same = ("number", "at", "author", "how", "reason", "node", "returns_to", "outcome", "digest", "count")
    changes = [RecordedChange(**vars(one)) for one in entry.changes[:most]]
    return Recorded(changes=changes, **{name: getattr(entry, name) for name in same})
