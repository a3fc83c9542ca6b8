from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pylae import Gateway
from pylae.errors import Problem

SECRET = "a-secret-that-is-long-enough-for-hs256"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "page").write_text("for everybody")
    file = tmp_path / "pylae.yaml"
    page = {"path": "/", "static_response": {"body": "${file:page}"}, "auth_required": False}
    file.write_text(yaml.safe_dump({"auth": {"jwt": {"secret": "${file:secret}"}}, "routes": [page]}))
    return file


def warnings(file: Path) -> list[Problem]:
    return Gateway.from_file(file).check()


def test_what_only_its_owner_can_change_and_read_is_not_told(file: Path) -> None:
    assert warnings(file) == []


def test_files_that_everybody_can_change(file: Path) -> None:
    file.chmod(0o666)
    (found,) = warnings(file)
    assert (found.file, found.message) == (
        str(file),
        "every user can change this file, and so what the gateway does",
    )
    assert found.hint == f"chmod o-w {file}"


def test_programs_and_modules_of_hooks(tmp_path: Path) -> None:
    module, program = tmp_path / "rights_hooks.py", tmp_path / "gateway.py"
    module.write_text("def look(request):\n    pass\n")
    hook = '[{"on_request": "rights_hooks:look"}]'
    program.write_text(f"from pylae import Gateway\ngateway = Gateway(hooks={hook})\n")
    for one in (module, program):
        one.chmod(0o646)
    assert {found.file for found in warnings(program)} == {str(module), str(program)}


def test_folders_above_in_which_everybody_can_put_files(file: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (found,) = warnings(file)
    assert (found.file, found.hint) == (str(tmp_path), f"chmod o-w {tmp_path}")
    # As of /tmp: nobody can rename what is another's.
    tmp_path.chmod(0o1777)
    assert warnings(file) == []


def test_the_file_of_the_admin_token(file: Path) -> None:
    file.write_text("admin: {token_file: token}\n")
    (file.parent / "token").touch()
    (file.parent / "token").chmod(0o644)
    (found,) = warnings(file)
    assert (found.path, found.message) == ("admin.token_file", "everybody can read the token in token")


@pytest.mark.parametrize(("mode", "who"), [(0o604, "everybody"), (0o640, "its group")])
def test_secrets_that_others_can_read(file: Path, mode: int, who: str) -> None:
    (file.parent / "secret").chmod(mode)
    (found,) = warnings(file)
    assert (found.path, found.line) == ("auth.jwt.secret", 3)
    assert found.message == f"{who} can read the secret in secret"
    assert found.hint == "chmod go-rwx secret"
