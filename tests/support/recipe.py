"""`deploy/cluster`: its secrets, and a store that runs its configuration."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

from support.valkey import Valkey

RECIPE = Path(__file__).parents[2] / "deploy/cluster"


def make_secrets(folder: Path) -> Path:
    """Has `make-secrets` write its files to a folder."""
    folder.mkdir()
    subprocess.run([RECIPE / "make-secrets"], cwd=folder, check=True, timeout=60)
    return folder


def variables(file: Path) -> dict[str, str]:
    """What a file of variables sets, as systemd and containers read it."""
    return dict(re.findall(r"^(\w+)=(.*)$", file.read_text(), re.MULTILINE))


class RecipeStore(Valkey):
    """A server with the configuration and the user of the recipe, and these secrets."""

    def __init__(self, secrets: Path) -> None:
        self._password = variables(secrets / "cluster.env")["STORE_PASSWORD"]
        text = (RECIPE / "store.conf").read_text().replace("/etc/pylae", str(secrets))
        options = []
        for line in text.splitlines():
            key, _, values = line.partition(" ")
            # These two are the test's.
            if key and key not in ("#", "bind", "port"):
                options += [f"--{key}", *(value.strip('"') for value in values.split())]
        super().__init__(secrets, *options)

    def say(self, *words: str, known: bool = True) -> str:
        """The first line of the answer to a command, on a connection of its own, as the user of the gateways."""
        login = ("AUTH", "gateway", self._password) if known else ()
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            answers, answer = connection.makefile("rb"), ""
            for command in filter(None, (login, words)):
                parts = [word.encode() for word in command]
                sizes = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
                connection.sendall(b"*%d\r\n%s" % (len(parts), sizes))
                answer = answers.readline().decode().strip()
            return answer

    def permits(self, *words: str) -> bool:
        """Whether the user may send a command, with as many further keys as it takes."""
        for count in range(8):
            answer = self.say(*words, *["pylae:a"] * count)
            if "wrong number of arguments" not in answer and "unknown subcommand" not in answer:
                return not answer.startswith("-NOPERM")
        raise AssertionError(f"{words}: {answer}")
