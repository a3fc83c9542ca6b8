"""Whoever asks the engine waits without the interpreter's lock, which a hook may need to come to its end."""

from __future__ import annotations

import pytest

from support.programs import run_python

# A gateway of one worker that runs a hook, and an apply that waits for the worker: it has bound its new listener, so it
# holds what the question waits for. The hook goes on only if another thread gets the interpreter meanwhile; the long
# interval has nobody get it before the question waits.
PROGRAM = """
import json, socket, sys, threading
from pylae import Gateway, Response, Route
from support.peer import wait_until

entered, asking, go_on = threading.Event(), threading.Event(), threading.Event()
gateway = Gateway(listeners=["127.0.0.1:0"], workers=1)
gateway.add_route(Route(name="one", path="/", service_url="http://127.0.0.1:1", auth_required=False))

@gateway.on_request(timeout=60)
def hold(request):
    entered.set()
    go_on.wait()
    return Response(status_code=204)

(address,) = gateway.start()
host, _, port = address.rpartition(":")
client = socket.create_connection((host, int(port)))
client.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
entered.wait()
with socket.create_server((host, 0)) as unused:
    free = unused.getsockname()
plan = gateway.plan()
plan["listeners"].append({**plan["listeners"][0], "address": "{}:{}".format(*free)})
change = threading.Thread(target=gateway.engine.apply, args=(json.dumps(plan),))
change.start()

def bound():
    with socket.socket() as probe:
        return probe.connect_ex(free) == 0

wait_until(bound)
release = threading.Thread(target=lambda: (asking.wait(), go_on.set()))
release.start()
ask = getattr(gateway.engine, sys.argv[1])
sys.setswitchinterval(600)
asking.set()
ask()
sys.setswitchinterval(0.005)
for thread in (release, change):
    thread.join()
assert client.recv(100).startswith(b"HTTP/1.1 204")
client.close()
gateway.stop(drain=False)
print("answered")
"""


@pytest.mark.parametrize("question", ["addresses", "stats", "metrics", "summary", "count_refusal"])
def test_a_question_during_an_apply_does_not_keep_a_hook_from_ending(question: str) -> None:
    found = run_python(PROGRAM, question)
    assert found.stdout.strip() == "answered", found.stderr
