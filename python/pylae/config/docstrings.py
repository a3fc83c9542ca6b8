"""The docstrings of settings, read from the source when somebody asks for them.

Pydantic can read them while it makes a model (`use_attribute_docstrings`). For all models together that takes longer
than everything else that `pylae check` does, which needs none of them.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache


@cache
def docstrings(model: type) -> dict[str, str]:
    """The docstrings of the fields of a model by the names of the fields, those that it inherits included.

    What the model's `described` says comes first.
    """
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if "__annotations__" in vars(one) and one.__module__.partition(".")[0] == "pylae":
            found |= _own(one)
    return found | getattr(model, "described", {})


def _own(model: type) -> dict[str, str]:
    (defined,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    found = {}
    if isinstance(defined, ast.ClassDef):
        for before, after in zip(defined.body, defined.body[1:], strict=False):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text)
    return found
