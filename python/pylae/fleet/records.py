"""What the store has of a fleet: the latest roll-out, and what each node reports."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pylae.errors import ConfigError, Problem, StoreError
from pylae.fleet.figures import Figures
from pylae.fleet.judgement import Bounds

ROLLOUTS = "fleet/rollout/"
"""What nodes watch. It has one key, so that they hear of nothing else."""
ROLLOUT = f"{ROLLOUTS}latest"
"""The key of the latest roll-out. Whenever the head changes, this does too, in the same transaction."""
COORDINATOR = "fleet/coordinator"
"""The key that the coordinator of a roll-out holds."""
NODES = "fleet/nodes/"
"""What all keys of nodes begin with."""
LEASE = 10
"""Seconds after which a node without signs of life is gone, and another one becomes coordinator."""
MOST_PROBLEMS = 20
"""Most problems that are kept of a refusal."""
MOST_TEXT = 1000
"""Most characters of a problem or a reason."""
MOST_ADDITIONS = 50
"""Most additions of code that a node tells."""

Stage = Literal["checking", "admitting", "observing", "done", "refused", "taken_back", "cancelled"]
ENDED: frozenset[Stage] = frozenset(("done", "refused", "taken_back", "cancelled"))
"""The stages of a roll-out that is over."""

_Text = Annotated[str, Field(max_length=MOST_TEXT)]
_Name = Annotated[str, Field(max_length=256)]
_Number = Annotated[int, Field(ge=0, lt=10**10)]
_Problems = Annotated[tuple[_Text, ...], Field(max_length=MOST_PROBLEMS)]


class _Record(BaseModel):
    """A value in the store. What later versions add is passed over."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)

    version: Literal[1] = 1

    def encoded(self) -> bytes:
        """Returns it as the store has it."""
        return self.model_dump_json().encode()


R = TypeVar("R", bound=_Record)


class NodeName(BaseModel):
    """A node, by its name for people and by what tells it apart from others of this name."""

    model_config = ConfigDict(frozen=True, strict=True)

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: _Name


class Counted(BaseModel):
    """Figures for people. Durations are in seconds."""

    model_config = ConfigDict(frozen=True, strict=True)

    requests: Annotated[int, Field(ge=0)]
    errors: Annotated[int, Field(ge=0)]
    p99: float | None

    @classmethod
    def of(cls, figures: Figures) -> Counted:
        """Returns what people want to see of them."""
        return cls(requests=figures.requests, errors=figures.errors, p99=figures.p99)


class Rollout(_Record):
    """A configuration on its way to all nodes, or what has become of it."""

    number: Annotated[int, Field(ge=1, lt=10**10)]
    """Its number in the history."""
    previous: _Number
    """What all nodes had when it began, and return to if it is taken back; 0 if that was nothing."""
    author: _Name
    address: _Name | None = None
    reason: _Text | None = None
    started: AwareDatetime
    observe: Annotated[float, Field(gt=0, le=3600)]
    max_errors: Annotated[float, Field(ge=0, le=1)]
    min_requests: Annotated[int, Field(ge=1)]
    now: bool = False
    """Whether nobody is to observe it."""
    stage: Stage = "checking"
    first: NodeName | None = None
    """The node that has it before all others."""
    observed: AwareDatetime | None = None
    """Since when that node has been observed."""
    ended: AwareDatetime | None = None
    verdict: _Text | None = None
    """Why it ended as it did."""
    unobserved: bool = False
    """Whether there were too few requests for a judgement."""
    node: _Name | None = None
    """The node that has refused it."""
    problems: _Problems = ()
    """Why that node has refused it."""
    seen: Counted | None = None
    """What the first node has answered."""
    usual: Counted | None = None
    """What that was compared with."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.stage in ENDED

    @property
    def bounds(self) -> Bounds:
        """How it is judged."""
        return Bounds(self.observe, self.max_errors, self.min_requests)

    def target_of(self, node: str, head: int) -> int:
        """Returns what the node with this id should have, where `head` is what all should have."""
        admitted = self.stage in ("admitting", "observing") and self.first is not None and self.first.id == node
        return self.number if admitted else head

    def over(self, stage: Stage, verdict: str, **fields: object) -> Rollout:
        """Returns it as it ends."""
        told = {"stage": stage, "verdict": verdict[:MOST_TEXT], "ended": datetime.now(UTC), **fields}
        return self.model_copy(update=told)


class Refused(BaseModel):
    """A configuration that a node has refused, or accepted if there is no problem."""

    model_config = ConfigDict(frozen=True, strict=True)

    number: _Number
    problems: _Problems = ()


class Report(_Record):
    """What a node says of itself."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: _Name
    release: Annotated[str, Field(max_length=64)]
    """Version of Pylae."""
    started: AwareDatetime
    age: Annotated[float, Field(ge=0)] = 0.0
    """Seconds from its start to this report, by its own steady clock."""
    in_force: _Number = 0
    """The number of the configuration in force; 0 if there is none."""
    target: _Number = 0
    """What it should have, as far as it knows."""
    checked: Refused | None = None
    """What it has said of a configuration that is rolled out, before that is in force anywhere."""
    failed: Refused | None = None
    """Why it does not have its target."""
    rate: Annotated[float, Field(ge=0)] = 0.0
    """Requests per second lately."""
    requests: Annotated[int, Field(ge=0)] = 0
    errors: Annotated[int, Field(ge=0)] = 0
    durations: Annotated[dict[str, int], Field(max_length=512)] = {}
    """Figures from its start to this report."""
    before: Annotated[dict[str, object], Field(max_length=8)] = {}
    """Figures of the time before it got what it has in force; none if that was at its start."""
    additions: Annotated[tuple[_Name, ...], Field(max_length=MOST_ADDITIONS)] = ()
    """What its code adds."""

    @property
    def figures(self) -> Figures:
        """Figures since its start. Raises ValueError if they are none."""
        return Figures.of({"requests": self.requests, "errors": self.errors, "durations": self.durations})

    @property
    def figures_before(self) -> Figures:
        """Figures of the time before it got what it has in force. Raises ValueError if they are none."""
        return Figures.of(self.before) if self.before else Figures()


def read(kind: type[R], key: str, value: bytes) -> R:
    """Reads a value of the store. Raises StoreError if it is not what this version of Pylae writes there."""
    try:
        found = kind.model_validate_json(value)
        if isinstance(found, Report):
            _ = found.figures, found.figures_before
    except (ValidationError, ValueError, RecursionError) as error:
        why = str(error)
        if isinstance(error, ValidationError):
            wrong = error.errors(include_input=False)[0]
            why = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        raise StoreError(
            f"{key} in the store is not what this version of Pylae writes there: {why}",
            "is a later version of Pylae among the nodes? use the same on all of them",
        ) from None
    return found


def told(error: Exception) -> tuple[str, ...]:
    """Returns why a configuration is refused, as much of it as is kept."""
    problems: Iterable[Problem | Exception] = error.problems if isinstance(error, ConfigError) else (error,)
    found = [str(problem)[:MOST_TEXT] for problem in problems]
    if len(found) > MOST_PROBLEMS:
        found[MOST_PROBLEMS - 1 :] = [f"and {len(found) - MOST_PROBLEMS + 1} more problems"]
    return tuple(found) or ("refused without a reason",)
