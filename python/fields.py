"""Writes python/pylae/settings/fields.py: what may be written for each setting, as types for editors and type checkers.

And settings/sources.py, which has the models of all kinds of sources of instances. The models are the truth: this reads
their fields, second names, short forms and docstrings. Run it after a change of one of them; a test compares.

python python/fields.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, BeforeValidator, PlainValidator, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pylae.config.checks.advice import fields
from pylae.config.docstrings import docstrings
from pylae.config.document.nodes import ALIASES
from pylae.config.models.authenticators.function import AuthenticatorOptions, FunctionAuthenticator
from pylae.config.models.base import Switch
from pylae.config.models.config import Config
from pylae.config.models.hooks import CallOptions, HookOptions, HookSet
from pylae.config.models.service import BalancerKind, LoadBalancer, Service
from pylae.config.models.tls import CertifiedKey, ListenerTls
from pylae.policies.address_limit import AddressLimit, AddressLimits
from pylae.policies.cache import Cache
from pylae.policies.rate_limit import RateLimit, RateLimits
from pylae.policies.static_response import StaticResponse
from pylae.registry import kinds
from pylae.units import ByteSize, Duration, Rate, RequestRate, Wait

FILE = Path(__file__).parent / "pylae" / "settings" / "fields.py"
SOURCES = FILE.with_name("sources.py")
WIDTH = 120
ROOTS = (Config, CallOptions, HookOptions, AuthenticatorOptions)

_HEAD = '''\
"""What may be written for each setting, short forms included: the keywords of the models, and mappings in their place.

`RouteFields` are the keywords of `Route`; `RouteLike` is whatever stands for one. Written by python/fields.py from the
models, whose docstrings are what is to be edited.
"""

from __future__ import annotations

'''
_UNITS = {
    unit.__metadata__[0].func: name
    for unit, name in ((Duration, "DurationLike"), (Wait, "DurationLike"), (ByteSize, "SizeLike"), (Rate, "RateLike"))
}
"""What is written for a unit, by the function that reads it."""
_SWITCH = Switch[Any].__metadata__[0]
_LITERALS: dict[Any, str] = {BalancerKind: "BalancerKind"}
"""Words that have a name here, because code needs them too."""
_NAMES = {NoneType: "None", Any: "Any", timedelta: "timedelta", SecretStr: "SecretStr", RequestRate: "RequestRate"}
_JSON = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None", "array": "Texts"}

SHORT: dict[type[BaseModel], tuple[str, ...]] = {
    Cache: ("DurationLike",),
    HookSet: ("Sequence[HookSettingsLike]",),
    LoadBalancer: ("BalancerKind",),
    RateLimits: ("RateLimitLike", "Sequence[RateLimitLike]"),
    AddressLimits: ("AddressLimitLike", "Sequence[AddressLimitLike]"),
}
"""Short forms that say more in Python than the JSON schema of the model does."""
INLINE: dict[type[BaseModel], type[BaseModel]] = {
    ListenerTls: CertifiedKey,
    RateLimits: RateLimit,
    AddressLimits: AddressLimit,
}
"""Models that take the fields of one of their parts, which is then the only one."""
WIDER = {
    (Service, "app"): ("Callable[[Any, Any, Any], Awaitable[None]]", "str", "None"),
    (FunctionAuthenticator, "function"): ("Callable[..., Any]", "str"),
    (StaticResponse, "body"): ("str", "Mapping[str, Any]", "list[Any]"),
}
"""Fields whose validator is the model's own, and what it takes that JSON does not have."""


def text() -> str:
    """The file."""
    models = list(dict.fromkeys(model for root in ROOTS for model in _reachable(root)))
    names = [model.__name__ for model in models]
    if len(set(names)) < len(names):
        raise ValueError(f"two models have one name: {sorted(names)}")
    modules: dict[str, list[str]] = {}
    for model in models:
        modules.setdefault(model.__module__, []).append(model.__name__)
    imports = [f"from {module} import {', '.join(sorted(modules[module]))}" for module in sorted(modules)]
    parts = [
        _HEAD + "from collections.abc import Awaitable, Callable, Mapping, Sequence",
        "from typing import Any, Literal, Required, TypeAlias, TypedDict\n",
        "from pydantic import SecretStr\n",
        *imports,
        "from pylae.units import DurationLike, RateLike, SizeLike\n",
        "Texts: TypeAlias = list[str] | tuple[str, ...]",
        '"""Several texts. A text alone is not meant, although to a type checker it is a sequence of texts."""\n',
        *(f"{name}: TypeAlias = {_literal(get_args(kind))[0]}" for kind, name in _LITERALS.items()),
        *(_fields(model) for model in models),
        *(_like(model) for model in models),
    ]
    return _formatted("\n".join(parts))


def sources() -> str:
    """The module that has the settings of every kind of source, and what they are made of."""
    models = dict.fromkeys(model for name in kinds.KINDS for model in _reachable(kinds.kind(name).Settings))
    known = sorted(model.__name__ for model in models if model.__module__.startswith("pylae.registry."))
    imports = sorted(f"from {model.__module__} import {model.__name__}" for model in models if model.__name__ in known)
    lines = (
        '"""The settings of sources of instances. Written by python/fields.py from the table of kinds."""\n',
        "from __future__ import annotations\n",
        *imports,
        "",
        f"__all__ = {json.dumps(known)}",
    )
    return _formatted("\n".join(lines))


def _formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(FILE), "-"]
    return subprocess.run(command, input=source, capture_output=True, check=True, text=True).stdout  # noqa: S603


def _reachable(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model behind all that it is made of."""
    for info in fields(model).values():
        for inner in _models(info.annotation):
            yield from _reachable(inner)
    yield model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _fields(model: type[BaseModel]) -> str:
    lines = [f"class {model.__name__}Fields(TypedDict, total=False):", f'    """Fields of `{model.__name__}`."""', ""]
    for name, info in fields(model).items():
        lines += _field(model, name, info)
    if inlined := INLINE.get(model):
        for name, info in inlined.model_fields.items():
            if name not in model.model_fields:
                lines += _field(inlined, name, info, required=False)
    return "\n".join((*lines, ""))


def _field(model: type[BaseModel], name: str, info: FieldInfo, *, required: bool = True) -> Iterator[str]:
    kind = " | ".join(WIDER.get((model, name)) or _in_order(written(info.annotation, info.metadata)))
    yield f"    {name}: {f'Required[{kind}]' if required and info.is_required() else kind}"
    yield _docstring(docstrings(model).get(name) or info.description or "")
    if isinstance(info.validation_alias, AliasChoices):
        for alias in (alias for alias, of in ALIASES.items() if of == name):
            yield f"    {alias}: {kind}"
            yield _docstring(f"The same as `{name}`.")


def _docstring(said: str) -> str:
    quoted = " ".join(said.split()).replace("\\", "\\\\")
    end = ' """' if quoted.endswith('"') else '"""'
    filled = textwrap.fill(f'"""{quoted}{end}', WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent(filled, "    ")


def _like(model: type[BaseModel]) -> str:
    name = model.__name__
    short = SHORT.get(model) or tuple(_of_schema(getattr(model, "short", None) or {}))
    kinds = _in_order([name, f"{name}Fields", *short])
    return f'{name}Like: TypeAlias = {" | ".join(kinds)}\n"""What stands for `{name}`, and that itself."""'


def written(annotation: Any, marks: Iterable[Any] = ()) -> list[str]:
    """What may be written for an annotation with this metadata, as alternatives."""
    for mark in reversed(list(marks)):
        if mark == _SWITCH:
            return [*written(get_args(annotation)[0]), "bool", "None"]
        if not isinstance(mark, BeforeValidator | PlainValidator):
            continue
        if mark.func in _UNITS:
            return [_UNITS[mark.func]]
        if mark.json_schema_input_type is not PydanticUndefined:
            return _accepted(mark.json_schema_input_type, annotation)
    return _plain(annotation)


def _accepted(said: Any, annotation: Any) -> list[str]:
    """What a validator says that it takes, for a field of this type, which says more about items of lists."""
    found: list[str] = []
    of_items = _items(annotation)
    for kind in _alternatives(said):
        if get_origin(kind) is list:
            found += _several(of_items) if of_items else _plain(kind)
        else:
            found += written(kind)
    # A text alone may be one that is not shown, where the items are.
    return [*found, "SecretStr"] if of_items and "SecretStr" in of_items and "str" in found else found


def _items(annotation: Any) -> list[str] | None:
    for kind in _alternatives(annotation):
        if get_origin(kind) is Annotated:
            if found := _items(get_args(kind)[0]):
                return found
        elif get_origin(kind) is tuple:
            return written(get_args(kind)[0])
    return None


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _plain(kind: Any) -> list[str]:
    if kind in _LITERALS:
        return [_LITERALS[kind]]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return written(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        return [word for part in arguments for word in written(part)]
    if origin is Literal:
        return _literal(arguments)
    if origin in (tuple, list):
        return _several(written(arguments[0]))
    if origin is dict:
        keys, values = (" | ".join(_in_order(written(part))) for part in arguments)
        return [f"Mapping[{keys}, {values}]"]
    if kind is SecretStr:
        return ["str", "SecretStr"]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [f"{kind.__name__}Like"]
    return [_NAMES.get(kind) or kind.__name__]


def _literal(words: tuple[Any, ...]) -> list[str]:
    """Words, and numbers as YAML reads them, which are no literals in Python."""
    shown = [json.dumps(word) if isinstance(word, str) else repr(word) for word in words if not isinstance(word, float)]
    numbers = ["float"] if any(isinstance(word, float) for word in words) else []
    return [f"Literal[{', '.join(shown)}]", *numbers] if shown else numbers


def _several(items: list[str]) -> list[str]:
    return ["Texts"] if items == ["str"] else [f"Sequence[{' | '.join(_in_order(items))}]"]


def _of_schema(schema: dict[str, Any]) -> Iterator[str]:
    """A short form that is given as a JSON schema. Mappings among them are fields already."""
    if "anyOf" in schema:
        for part in schema["anyOf"]:
            yield from _of_schema(part)
    elif words := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        yield from _literal(tuple(words))
    else:
        kinds = schema.get("type", ())
        yield from (_JSON[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "object")


def _in_order(kinds: Iterable[str]) -> list[str]:
    """Each once and None last, without what others hold already."""
    once = dict.fromkeys(kind for kind in kinds if kind != 'Literal[""]')
    if "bool" in once:
        once.pop("Literal[False]", None)
    return sorted(once, key=lambda kind: kind == "None")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    SOURCES.write_text(sources(), encoding="utf-8")
