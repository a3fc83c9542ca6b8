from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "pylae_program", None)


def said(tmp_path: Path, text: str) -> list[str]:
    program = tmp_path / "gateway.py"
    program.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(program)
    assert program in caught.value.files
    return [str(problem).removeprefix(str(program)) for problem in caught.value.problems]


IMPORTS = "from pylae import Gateway, Route\n"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("x = (\n", ":1:5: not Python: '(' was never closed"),
        ("\n1 / 0\n", ":2: the program raised ZeroDivisionError: division by zero"),
        ("raise SystemExit\n", ":1: the program raised SystemExit"),
        ("import no_such_module\n", ":1: the program raised ModuleNotFoundError: No module named 'no_such_module'"),
        ("", ": the program needs a module-level `gateway` that is a Gateway; there is none"),
        ("gateway = 5\n", ": the program needs a module-level `gateway` that is a Gateway; this one is 5"),
        (f"{IMPORTS}Route(path='/a', methd='GET')\n", ":2: methd: unknown key `methd` (did you mean `method`?)"),
        (f"{IMPORTS}\ngateway = Gateway(worker=1)\n", ":3: worker: unknown key `worker`"),
        ("x = '\x00'\n", ""),
    ],
)
def test_wrong_programs(tmp_path: Path, text: str, start: str) -> None:
    found = said(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(start)


def test_a_secret_that_a_program_gives_is_not_shown(tmp_path: Path) -> None:
    assert "s3cret" not in said(tmp_path, f"{IMPORTS}Route(path='/a', service_url='http://u:s3cret@x')\n")[0]


def test_modules_beside_the_program_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside_the_program.py").write_text("PATH = '/x'\n")
    program = tmp_path / "gateway.py"
    program.write_text(
        f"{IMPORTS}from beside_the_program import PATH\n"
        "gateway = Gateway(routes=[Route(path=PATH, service_url='http://x')])\n"
        "if __name__ == '__main__':\n    raise AssertionError\n"
    )
    gateway = Gateway.from_file(program)
    assert gateway.config.routes[0].path == "/x"
    assert str(gateway.builder.locate(gateway.plan(), "routes[0]")) == f"{program}:3"
