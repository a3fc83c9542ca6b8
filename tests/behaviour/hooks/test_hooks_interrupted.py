"""What is left in the interpreter by a hook that was interrupted: nothing."""

from __future__ import annotations

import pytest

from support.programs import run_python

# A request that was to raise an exception in a thread stays noted in the interpreter until one is raised. While it is
# noted, CPython 3.11 looks for it at each call of a function, and never goes on where calls are traced.
PROGRAM = """
import socket, sys
from pylae import Gateway, Route

gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
gateway.add_route(Route(name="one", path="/", service_url="http://127.0.0.1:1", auth_required=False))

@gateway.on_request(timeout="100ms", blocking=sys.argv[1] == "pool", budget=None)
def busy(request):
    while True:
        pass

(address,) = gateway.start()
host, _, port = address.rpartition(":")
with socket.create_connection((host, int(port))) as client:
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    assert client.recv(100).startswith(b"HTTP/1.1 500")

def traced():
    return "traced"

sys.settrace(lambda *event: None)
result = traced()
sys.settrace(None)
gateway.stop(drain=False)
print(result)
"""


@pytest.mark.parametrize("kind", ["worker", "pool"])
def test_calls_can_be_traced_after_a_hook_was_interrupted(kind: str) -> None:
    found = run_python(PROGRAM, kind)
    assert found.stdout.strip() == "traced", found.stderr
