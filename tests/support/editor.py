"""An editor, as far as a language server knows: it opens a text, and asks what it may say about it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Editor:
    """One file, in which `|` is where the cursor stands."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._last = folder, 0
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(
            [Path(sys.executable).with_name("basedpyright-langserver"), "--stdio"], stdin=pipe, stdout=pipe
        )
        asked = {"hover": {"contentFormat": ["plaintext"]}, "signatureHelp": {}, "completion": {}}
        self.ask(
            "initialize",
            {
                "processId": None,
                "rootUri": folder.as_uri(),
                "workspaceFolders": [{"uri": folder.as_uri(), "name": "programs"}],
                "capabilities": {"textDocument": asked, "workspace": {"configuration": True}},
            },
        )
        self._send("initialized", {})

    def at(self, text: str, method: str) -> Any:
        """What a method of `textDocument` answers about the place of `|` in a text."""
        before, _, after = text.partition("|")
        self._last += 1
        uri = (self._folder / f"text_{self._last}.py").as_uri()
        document = {"uri": uri, "languageId": "python", "version": 1, "text": before + after}
        self._send("textDocument/didOpen", {"textDocument": document})
        position = {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}
        return self.ask(f"textDocument/{method}", {"textDocument": {"uri": uri}, "position": position})

    def ask(self, method: str, params: Any) -> Any:
        """A request and its answer."""
        self._last += 1
        number = self._last
        self._send(method, params, number)
        while True:
            said = self._read()
            if said.get("id") == number and "method" not in said:
                assert "error" not in said, said
                return said["result"]
            if "id" in said and "method" in said:
                # What it wants of the editor: settings, of which there are none, or to be told of changes.
                wanted = said["params"].get("items", ()) if said["method"] == "workspace/configuration" else ()
                self._write({"id": said["id"], "result": [self._settings(item) for item in wanted] or None})

    def _settings(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"pythonPath": sys.executable} if item.get("section") == "python" else {}

    def _send(self, method: str, params: Any, number: int | None = None) -> None:
        self._write({"method": method, "params": params, **({} if number is None else {"id": number})})

    def _write(self, message: dict[str, Any]) -> None:
        text = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._server.stdin is not None
        self._server.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
        self._server.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        length = 0
        while line := self._server.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        message: dict[str, Any] = json.loads(self._server.stdout.read(length))
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.kill()
        self._server.communicate()
