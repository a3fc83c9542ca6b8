"""Pylae itself, as a user starts it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bench.identity import auth
from bench.peers.base import Peer, Setup
from bench.processes import BenchError
from bench.scenarios import ADMIN_TOKEN, ORIGIN, PER_SECOND, PLAIN, SECRET, TRACES, Route, Scenario

_POLICIES: dict[str, Any] = {
    "auth": {"jwt": {"secret": SECRET}},
    "policies": {
        "rate_limit": {"limit": PER_SECOND, "per": "1s"},
        "cors": {"origins": [ORIGIN]},
        "security_headers": {"hsts": "always"},
    },
}
_ROOT = Path(__file__).resolve().parents[2]


class Pylae(Peer):
    """One worker, control plane included in what is measured."""

    features = frozenset(
        {"auth", "cache", "cluster", "grpc", "h2", "hooks", "limit", "policies", "tls", "traces", "validation"}
        | {"websocket"}
    )

    @classmethod
    def find(cls) -> Path:
        """From the environment that `make` builds, or from the path."""
        made = _ROOT / ".venv" / "bin" / "pylae"
        if made.exists():
            return made
        found = shutil.which("pylae")
        if not found:
            raise BenchError("pylae is not installed in .venv: make demo builds it; or name one with --pylae NAME=PATH")
        return Path(found)

    def command(self, setup: Setup) -> list[str | Path]:
        """A YAML file (JSON is YAML) with one route per route of the scenario."""
        routes = [_route(f"r{index}", route) for index, route in enumerate(setup.scenario.routes)]
        if "cache" in setup.scenario.features:
            routes = [{**route, "cache": True} for route in routes]
        listener: dict[str, Any] = {"address": f"127.0.0.1:{setup.port}"}
        if setup.tls:
            files = setup.certificate
            listener["tls"] = {"cert": str(files.cert), "key": str(files.key), "min_version": "1.3"}
            listener["http2"] = "h2" in setup.scenario.features
        config: dict[str, Any] = {
            "listeners": [listener],
            "workers": 1,
            # Each of several gateways side by side has all of the control plane.
            "admin": {"address": f"127.0.0.1:{setup.admin}", "token": ADMIN_TOKEN},
            "state": str(setup.folder / f"state-{self.name}"),
            "services": {"origin": {"instances": [f"http://127.0.0.1:{setup.origin}"]}},
            "routes": routes,
        }
        if "websocket" in setup.scenario.features:
            routes[:] = [{**route, "websocket": True} for route in routes]
        if "grpc" in setup.scenario.features:
            listener["http2"] = True
            config["services"]["origin"]["protocol"] = "http2"
        if setup.scenario.sends:
            routes[:] = [{**route, "method": "POST"} for route in routes]
        _add_policies(config, setup)
        if traces := setup.scenario.traces:
            # Any body is skipped there, and the answer is an empty 200.
            sink = {"endpoint": f"http://127.0.0.1:{setup.origin}/body/0"}
            config["telemetry"] = {"traces": {**sink, **TRACES[traces]}}
        if hook := setup.scenario.hook:
            hooks = [_hook(hook, setup.folder)]
            config["hooks"] = {"processes": hosts, "use": hooks} if (hosts := setup.scenario.hosts) else hooks
            routes.append(_route("unasked", Route(prefix="/unasked")))
        file = setup.folder / f"{self.name}.yaml"
        file.write_text(json.dumps(config, indent=1))
        return [self.program, "run", _with_consumers(file, setup.scenario) if setup.scenario.consumers else file]


def _add_policies(config: dict[str, Any], setup: Setup) -> None:
    """What the scenario asks of every request, in the configuration."""
    scenario, more = setup.scenario, dict[str, Any]()
    if "limit" in scenario.features or scenario.clients:
        more["rate_limit"] = {"limit": PER_SECOND, "per": "1s", "key": "header:X-Client"}
    if scenario.clients:
        config["cluster"] = {"name": "bench", **setup.store}
    if scenario.validation is not None:
        more["validation"] = scenario.validation
    if "policies" in scenario.features:
        config |= _POLICIES
    if scenario.auth:
        config["auth"] = auth(scenario.auth, setup.identity)
    if "policies" in scenario.features or scenario.auth or scenario.consumers:
        more["auth_required"] = True
    config["routes"][:] = [{**route, **more} for route in config["routes"]]


_PROGRAM = """\
from hashlib import sha256
from json import loads
from pathlib import Path

from pylae import Gateway

settings = loads(Path({file!r}).read_text())
consumers = {{f"program-{{number}}": sha256(b"%08d" % number).hexdigest() for number in range({count})}}
gateway = Gateway(**settings, auth={{"api_key": {{"consumers": consumers}}}})

if __name__ == "__main__":
    gateway.run()
"""
# A file may not be as large as a million of them make it.


def _with_consumers(file: Path, scenario: Scenario) -> Path:
    """A program that reads the configuration and adds consumers, whose keys are their numbers."""
    program = file.with_suffix(".py")
    program.write_text(_PROGRAM.format(file=str(file), count=scenario.consumers))
    return program


class Plain(Pylae):
    """One that gets the scenario without the hook, authenticator or whatever it is about, measured in turn with it:
    what that costs is the difference.
    """

    def __init__(self, whole: Pylae) -> None:
        super().__init__(f"{whole.name}{PLAIN}", whole.program)


def _hook(name: str, folder: Path) -> dict[str, Any]:
    """A hook of `bench/hooks.py`, which is put beside the configuration."""
    module = folder / "bench_hooks.py"
    source = (_ROOT / "bench" / "hooks.py").read_text()
    module.write_text(f"{source}\n\nbegin_burning()\n" if name == "burning" else source)
    elsewhere = {"routes": "unasked"}
    more = {"burning": elsewhere, "beside": elsewhere, "early": {"stage": "early"}}.get(name, {})
    return {"on_request": f"bench_hooks:{name}", "blocking": name == "blocking", "budget": None, **more}


def _route(name: str, route: Route) -> dict[str, Any]:
    match = {"pattern": route.pattern} if route.pattern is not None else {"prefix": route.prefix}
    return {"name": name, **match, "method": "GET", "service": "origin", "auth_required": False}
