"""Attacks on what the node keeps from users of its admin API: each is refused, and what differs in one thing is not.

`test_admin_references.py` tells the rules one by one; this is the list of ways around them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from support.admin import Admin
from support.instance import EchoInstance
from support.running import FromFile
from support.tls import Authority

Document = dict[str, Any]
Change = Callable[[Document], object]

VARIABLES = {
    "ATTACK_TOKEN": "the-token-of-the-admin-api",
    "ATTACK_KEY": "value-of-the-key",
    "ATTACK_ALL": "value-for-all-routes",
    "ATTACK_HEALTH": "value-for-health-checks",
    "ATTACK_SIGN": "value-for-the-plugin",
    "ATTACK_SPLIT": "value-for-one-member",
    "ATTACK_PATH": "value-in-a-path",
    "ATTACK_COOKIE": "value-for-cookies-that-is-long-enough-for-it",
    "ATTACK_OUT": "value-for-clients",
    "ATTACK_ELSEWHERE": "value-that-stands-nowhere",
}
LITERAL = "a-literal-key-of-a-service"
PAGE = "value-in-a-file"
THIEF = "http://127.0.0.1:9"

CODE = """
from pydantic import BaseModel
from pylae.hooks import Plugin


def look(request):
    '''Sees every request.'''


def admit(request):
    '''Refuses some requests.'''


def other(request):
    '''Is in no configuration.'''


class Sign(Plugin):
    '''Has a secret.'''

    class Settings(BaseModel):
        secret: str
        url: str

    def on_request(self, request):
        '''Lets everything pass.'''
"""

CONFIG = """
listeners: ["127.0.0.1:0"]
workers: 1
auth: {{jwt: {{secret: "a secret that is quite long enough for HS256"}}}}
services:
  one:
    instances: ["{one}"]
    health_check: {{path: "/health?key=${{ATTACK_HEALTH}}"}}
    sticky: {{secret: "${{ATTACK_COOKIE}}"}}
  two: {{instances: ["{two}"]}}
  secure: {{instances: ["https://127.0.0.1:1"], tls: {{cert: "{cert}", key: "{key}", ca: "{ca}"}}}}
  listed: {{discovery: {{file: instances.yaml}}}}
policies: {{transform: {{request: {{set: {{X-All: "${{ATTACK_ALL}}"}}}}}}}}
errors: {{404: {{html: missing.html}}}}
plugins:
  - {{use: "attack_code:Sign", routes: signed, settings: {{secret: "${{ATTACK_SIGN}}", url: "http://127.0.0.1:8"}}}}
hooks:
  - {{on_request: "attack_code:look", routes: plain}}
  - {{on_request: "attack_code:admit", routes: guarded}}
routes:
  - {{name: plain, path: /plain, service: two, auth_required: false}}
  - name: keyed
    path: /keyed
    host: shop.example
    service: one
    auth_required: false
    transform: {{request: {{set: {{Authorization: "Bearer ${{ATTACK_KEY}}", X-Literal-Token: {literal}}}}}}}
  - {{name: bot, path: "/bot/{{id}}", service: one, auth_required: false, rewrite: "/bot${{ATTACK_PATH}}/{{id}}"}}
  - {{name: signed, path: /signed, service: two, auth_required: false}}
  - name: parted
    path: /parted
    auth_required: false
    split:
      - {{service: one, when: {{header: {{X-Part: "${{ATTACK_SPLIT}}"}}}}}}
      - {{service: two, weight: 1}}
  - {{name: page, path: /page, permissions: "read:page", static_response: "${{file:page.txt}}"}}
  - {{name: moved, path: /moved, permissions: "read:page", redirect: {{to: "https://x.example/${{ATTACK_OUT}}"}}}}
  - {{name: escaped, path: /escaped, auth_required: false, static_response: "$${{ATTACK_KEY}}"}}
  - name: guarded
    path: /guarded
    auth_required: false
    static_response: "${{file:page.txt}}"
    cors: {{origins: "https://x.example", expose: ["X-${{ATTACK_OUT}}"]}}
"""


class Attack(NamedTuple):
    """A change that is refused at a place, and one that is taken and differs in one thing."""

    name: str
    change: Change
    place: str
    """Where the document is refused, or the beginning of that."""
    control: Change


def route(name: str, **settings: Any) -> Change:
    """Changes settings of a route; None removes one."""

    def change(document: Document) -> None:
        found = next(one for one in document["routes"] if one.get("name") == name)
        found.update(settings)
        for key in [key for key, value in settings.items() if value is None]:
            del found[key]

    return change


def service(name: str, **settings: Any) -> Change:
    """Changes settings of a service; None removes one."""

    def change(document: Document) -> None:
        found = document["services"][name]
        found.update(settings)
        for key in [key for key, value in settings.items() if value is None]:
            del found[key]

    return change


def top(**settings: Any) -> Change:
    """Changes settings at the top."""
    return lambda document: document.update(settings)


def both(*changes: Change) -> Change:
    """Makes several changes."""
    return lambda document: [change(document) for change in changes]


def public(body: Any, **more: Any) -> Change:
    """Adds a route that shows a text to anybody."""
    added = {"name": "leak", "path": "/leak", "auth_required": False, "static_response": {"body": body}, **more}
    return lambda document: document["routes"].append(added)


def sent(header: str, value: Any) -> Change:
    """Has the route `keyed` send another header too."""

    def change(document: Document) -> None:
        document["routes"][1]["transform"]["request"]["set"][header] = value

    return change


def renamed(kind: str, before: str, after: str) -> Change:
    """Renames a service, wherever it is named, or a route."""

    def change(document: Document) -> None:
        if kind == "service":
            document["services"][after] = document["services"].pop(before)
        for one in document["routes"]:
            for key in ("service", "name"):
                if one.get(key) == before and (key == "service") == (kind == "service"):
                    one[key] = after

    return change


def literal(document: Document) -> Any:
    """The mark of a secret that the configuration has as a text."""
    return document["routes"][1]["transform"]["request"]["set"]["X-Literal-Token"]


KEYED = "routes[1].transform.request.set."
NEW_PLUGIN = {"use": "attack_code:Sign", "routes": "keyed", "settings": {"secret": "mine", "url": "http://127.0.0.1:8"}}

OPENED = both(
    route("page", static_response="open"),
    route("moved", redirect={"to": "https://x.example/"}),
    route("guarded", static_response="open", cors=None),
)
"""Has pages without secrets in place of those that only some may read."""
ATTACKS = [
    # A reference that goes to another place.
    Attack("to a page", public("${ATTACK_KEY}"), "routes[9].static_response.body", public("a key")),
    Attack(
        "deep in a page",
        public({"a": [{"b": "${ATTACK_KEY}"}]}),
        "routes[9].static_response.body",
        public({"a": [{"b": "x"}]}),
    ),
    Attack("within a text", sent("X-More", "see ${ATTACK_KEY}!"), f"{KEYED}X-More", sent("X-More", "see it!")),
    Attack(
        "to another field",
        sent("X-More", "Bearer ${ATTACK_KEY}"),
        f"{KEYED}X-More",
        sent("Authorization", "Bearer ${ATTACK_KEY}"),
    ),
    Attack(
        "without its text",
        sent("Authorization", "${ATTACK_KEY}"),
        f"{KEYED}Authorization",
        sent("Authorization", "Bearer ${ATTACK_KEY}"),
    ),
    Attack(
        "with a default",
        sent("Authorization", "Bearer ${ATTACK_KEY:-x}"),
        f"{KEYED}Authorization",
        sent("Authorization", "Bearer x"),
    ),
    Attack("a default of its own", public("${NO_SUCH:-x}"), "routes[9].static_response.body", public("x")),
    Attack(
        "within a default",
        public("${NO_SUCH:-${ATTACK_KEY}}"),
        "routes[9].static_response.body",
        public("$${NO_SUCH:-$${ATTACK_KEY}}"),
    ),
    Attack(
        "after an escape",
        public("$$${ATTACK_KEY} ${ATTACK_KEY}"),
        "routes[9].static_response.body",
        public("$$${ATTACK_KEY}"),
    ),
    Attack(
        "unescaped",
        route("escaped", static_response="${ATTACK_KEY}"),
        "routes[7].static_response",
        route("escaped", static_response="$${ATTACK_KEY}"),
    ),
    Attack("with a space", public("${ATTACK_KEY }"), "routes[9].static_response.body", public("$${ATTACK_KEY }")),
    Attack("in small letters", public("${attack_key}"), "routes[9].static_response.body", public("$${attack_key}")),
    Attack(
        "a variable that stands nowhere",
        public("${ATTACK_ELSEWHERE}"),
        "routes[9].static_response.body",
        public("ATTACK_ELSEWHERE"),
    ),
    Attack(
        "a file that stands nowhere",
        public("${file:/etc/hostname}"),
        "routes[9].static_response.body",
        public("file:/etc/hostname"),
    ),
    Attack("a file by another way", public("${file:./page.txt}"), "routes[9].static_response.body", public("page.txt")),
    Attack("the same file elsewhere", public("${file:page.txt}"), "routes[9].static_response.body", public("page.txt")),
    Attack("in a name", top(hosts=["${ATTACK_KEY}.example"]), "hosts[0]", top(hosts=["shop.example"])),
    Attack(
        "to another item of a list",
        lambda it: it["services"]["two"]["instances"].append("http://${ATTACK_KEY}.example"),
        "services.two.instances[1]",
        route("plain", timeout="5s"),
    ),
    # A place that gets the name of another.
    Attack(
        "by the name of a route",
        both(renamed("route", "keyed", "other"), renamed("route", "bot", "keyed")),
        KEYED,
        route("keyed", timeout="5s"),
    ),
    Attack("of a renamed route", renamed("route", "keyed", "other"), KEYED, renamed("route", "escaped", "other")),
    Attack(
        "of a renamed service",
        renamed("service", "one", "other"),
        "services.other.health_check.path",
        renamed("service", "secure", "other") and service("two", max_idle=3),
    ),
    Attack(
        "by a name in another list",
        lambda it: it["plugins"].append({**it["plugins"][0], "routes": "plain"}),
        "plugins[1].settings.secret",
        lambda it: it["plugins"].append({**NEW_PLUGIN, "routes": "plain"}),
    ),
    # Marks of secrets that the configuration has as texts.
    Attack(
        "a mark elsewhere",
        lambda it: sent("X-More", literal(it))(it),
        f"{KEYED}X-More",
        lambda it: sent("X-Literal-Token", literal(it))(it),
    ),
    Attack(
        "a mark in a page", lambda it: public(literal(it))(it), "routes[9].static_response.body", public("(hidden)")
    ),
    Attack(
        "a mark within a text",
        lambda it: sent("X-Literal-Token", f"x {literal(it)}")(it),
        f"{KEYED}X-Literal-Token",
        sent("X-Literal-Token", "x"),
    ),
    Attack(
        "a mark that is guessed",
        sent("X-Literal-Token", f"(hidden:{'0' * 24})"),
        f"{KEYED}X-Literal-Token",
        sent("X-Literal-Token", "(hidden:0)"),
    ),
    Attack(
        "a mark that is void",
        lambda it: route("keyed", service="two")(it),
        f"{KEYED}X-Literal-Token",
        both(route("keyed", service="two", transform=None)),
    ),
    # Where a secret is sent.
    Attack(
        "another instance",
        service("one", instances=[THIEF]),
        "services.one.health_check.path",
        service("two", max_in_flight=9),
    ),
    Attack(
        "one more instance",
        lambda it: it["services"]["one"]["instances"].append(THIEF),
        "services.one.health_check.path",
        service("one", connect_timeout="1s"),
    ),
    Attack(
        "a discovery",
        service("one", discovery={"dns": "thief.example:80"}),
        "services.one.health_check.path",
        service("one", slow_start="1s"),
    ),
    Attack(
        "registrations",
        service("one", discovery={"heartbeat": {}}),
        "services.one.health_check.path",
        service("one", max_idle=3),
    ),
    Attack(
        "another service",
        route("keyed", service="two"),
        f"{KEYED}Authorization",
        route("keyed", service="two", transform=None),
    ),
    Attack(
        "an address of its own",
        route("keyed", service=None, service_url=THIEF),
        f"{KEYED}Authorization",
        route("keyed", retries=0),
    ),
    Attack(
        "several services",
        route("keyed", service=None, split=[{"service": "one", "weight": 1}, {"service": "two", "weight": 1}]),
        f"{KEYED}Authorization",
        route("keyed", service=None, split=[{"service": "one", "weight": 1}]),
    ),
    Attack(
        "a member of a split",
        lambda it: it["routes"][4]["split"][0].update(service="two"),
        "routes[4].split[0].when.header.X-Part",
        lambda it: it["routes"][4]["split"][1].update(weight=7),
    ),
    Attack(
        "a mirror",
        route("keyed", mirror="two"),
        f"{KEYED}Authorization",
        both(route("keyed", mirror="two", transform=None), top(policies={})),
    ),
    Attack(
        "a mirror of all",
        lambda it: it["policies"].update(mirror="two"),
        f"{KEYED}Authorization",
        lambda it: it["policies"].update(compression={}),
    ),
    Attack("a path", route("keyed", path="/other"), f"{KEYED}Authorization", route("plain", path="/other")),
    Attack(
        "a prefix", route("keyed", path=None, prefix="/keyed"), f"{KEYED}Authorization", route("keyed", method="GET")
    ),
    Attack(
        "a rewrite",
        route("bot", rewrite="/send${ATTACK_PATH}/{id}"),
        "routes[2].rewrite",
        route("bot", rewrite="/bot/{id}"),
    ),
    Attack(
        "a path that is rewritten", route("bot", path="/bot/{id:path}"), "routes[2].rewrite", route("bot", timeout="5s")
    ),
    Attack(
        "another Host",
        route("keyed", host="thief.example"),
        f"{KEYED}Authorization",
        route("plain", host="thief.example"),
    ),
    Attack("any Host", route("keyed", host=None), f"{KEYED}Authorization", route("keyed", host=None, transform=None)),
    Attack(
        "a hook",
        lambda it: it["hooks"][0].update(routes=["plain", "keyed"]),
        f"{KEYED}Authorization",
        lambda it: it["hooks"][0].update(routes=["plain", "escaped"]),
    ),
    Attack(
        "a hook of all", lambda it: it["hooks"][0].pop("routes"), f"{KEYED}Authorization", lambda it: it["hooks"].pop(0)
    ),
    Attack(
        "a plugin",
        lambda it: it["plugins"].append(NEW_PLUGIN),
        f"{KEYED}Authorization",
        lambda it: it["plugins"].append({**NEW_PLUGIN, "routes": "escaped"}),
    ),
    Attack(
        "the settings of a plugin",
        lambda it: it["plugins"][0]["settings"].update(url=THIEF),
        "plugins[0].settings.secret",
        lambda it: it["plugins"][0]["settings"].update(url=THIEF, secret="mine"),
    ),
    Attack(
        "the routes of a plugin",
        lambda it: it["plugins"][0].update(routes=["signed", "plain"]),
        "plugins[0].settings.secret",
        lambda it: it["plugins"].pop(),
    ),
    Attack("the service of a plugin's route", route("signed", service="one"), "", route("signed", timeout="5s")),
    Attack(
        "whom it trusts",
        service("secure", tls={"cert": "CERT", "key": "KEY", "ca": "CA", "verify": False}),
        "services.secure.tls",
        service("secure", tls={"cert": "CERT", "key": "KEY", "ca": "CA", "min_version": "1.3"}),
    ),
    Attack(
        "which name it trusts",
        service("secure", tls={"cert": "CERT", "key": "KEY", "ca": "CA", "server_name": "thief"}),
        "services.secure.tls",
        service("secure", slow_start="1s"),
    ),
    Attack(
        "whoever has a certificate",
        service("secure", instances=["https://127.0.0.2:1"]),
        "services.secure.tls",
        service("secure", instances=["https://127.0.0.2:1"], tls={}),
    ),
    # Who can read it.
    Attack(
        "without permissions", route("page", permissions=None), "routes[5].static_response", route("page", timeout="5s")
    ),
    Attack(
        "without a token",
        route("page", permissions=None, auth_required=False),
        "routes[5].static_response",
        route("page", permissions=None, auth_required=False, static_response="open"),
    ),
    Attack("by another path", route("page", path="/open"), "routes[5].static_response", route("page", priority=3)),
    Attack(
        "a redirect that is open",
        route("moved", permissions=None),
        "routes[6].redirect.to",
        route("moved", redirect={"to": "https://x.example/"}, permissions=None),
    ),
    Attack(
        "another issuer",
        lambda it: it["auth"]["jwt"].update(secret="a secret that whoever wrote it here knows well"),
        "routes[5].static_response",
        both(lambda it: it["auth"]["jwt"].update(secret="a secret that whoever wrote it here knows well"), OPENED),
    ),
    Attack(
        "another listener",
        lambda it: it["listeners"].append("127.0.0.2:0"),
        "routes[5].static_response",
        both(
            lambda it: it["listeners"].append("127.0.0.2:0"),
            OPENED,
            top(errors={}),
        ),
    ),
    Attack(
        "a proxy in front",
        lambda it: it.update(listeners=[{"address": "127.0.0.1:0", "proxy_protocol": ["127.0.0.1"]}]),
        "routes[5].static_response",
        lambda it: it.update(listeners=[{"address": "127.0.0.1:0"}]),
    ),
    Attack(
        "a client's address that is believed",
        top(trusted_proxies=["127.0.0.1"]),
        "routes[5].static_response",
        both(top(trusted_proxies=["127.0.0.1"]), OPENED),
    ),
    Attack(
        "what guards it",
        lambda it: it["hooks"][1].update(routes="plain"),
        "routes[8].static_response",
        both(lambda it: it["hooks"][1].update(routes="plain"), route("guarded", static_response="open")),
    ),
    Attack(
        "the settings of what guards it",
        lambda it: it["plugins"].append({**NEW_PLUGIN, "routes": "guarded"}),
        "routes[8].static_response",
        lambda it: it["plugins"].append({**NEW_PLUGIN, "routes": "escaped"}),
    ),
    Attack(
        "whom a page is shared with",
        lambda it: it["listeners"].append("127.0.0.2:0"),
        "routes[8].cors.expose[0]",
        both(
            lambda it: it["listeners"].append("127.0.0.2:0"),
            OPENED,
            top(errors={}),
        ),
    ),
    Attack(
        "the token of the admin API, off loopback",
        lambda it: it["admin"].update(address="0.0.0.0:0", tls="auto"),
        "admin.token",
        lambda it: it["admin"].update(hosts=["gate.internal"]),
    ),
    Attack(
        "another address of the admin API",
        lambda it: it["admin"].update(address="127.0.0.2:0"),
        "admin.token",
        lambda it: it["admin"].update(hosts=["gate.internal"]),
    ),
    # Files.
    Attack(
        "a page of errors",
        lambda it: it["errors"].update({"500": {"html": "/etc/passwd"}}),
        "errors.500.html",
        lambda it: it["errors"].update({"404": {"html": "missing.html"}}),
    ),
    Attack(
        "a page of errors of a route",
        route("plain", errors={"404": {"html": "page.txt"}}),
        "routes[0].errors.404.html",
        route("plain", errors={}),
    ),
    Attack(
        "a file of instances",
        service("listed", discovery={"file": "/etc/passwd"}),
        "services.listed.discovery.file",
        service("listed", discovery={"file": {"path": "instances.yaml", "interval": "9s"}}),
    ),
    Attack(
        "a file of instances elsewhere",
        service("two", instances=None, discovery={"file": "instances.yaml"}),
        "services.two.discovery.file",
        service("two", max_idle=3),
    ),
    Attack(
        "a key of a listener",
        lambda it: it.update(listeners=[{"address": "127.0.0.1:0", "tls": {"cert": "CERT", "key": "KEY"}}]),
        "listeners[0].tls",
        lambda it: it.update(listeners=[{"address": "127.0.0.1:0"}]),
    ),
    Attack(
        "an access log",
        route("plain", access_log={"output": "/tmp/never-written"}),
        "routes[0].access_log.output",
        route("plain", access_log={"output": "stderr"}),
    ),
    Attack(
        "a file of the token",
        lambda it: it.update(admin={"address": "127.0.0.1:0", "token_file": "page.txt"}),
        "admin.token_file",
        lambda it: it["admin"].update(hosts=["gate.internal"]),
    ),
    Attack("a file that is included", top(include="page.txt"), "include", top(workers=1)),
    Attack("files that are included", top(include=["*.txt"]), "include", top(workers=1)),
    # Code.
    Attack(
        "another hook",
        lambda it: it["hooks"].append({"on_request": "attack_code:other", "routes": "plain"}),
        "hooks[2]",
        lambda it: it["hooks"].append({"on_request": "attack_code:look", "routes": "escaped"}),
    ),
    Attack(
        "a hook of the library",
        lambda it: it["hooks"].append({"on_request": "os:system", "routes": "plain"}),
        "hooks[2]",
        lambda it: it["hooks"].append({"on_request": "attack_code:look", "routes": "escaped"}),
    ),
    Attack(
        "another plugin",
        lambda it: it["plugins"].append({"use": "attack_code:Other"}),
        "plugins[1].use",
        lambda it: it["plugins"].pop(),
    ),
    Attack(
        "an application",
        service("two", instances=None, app="attack_code:look"),
        "services.two.app",
        service("two", max_idle=3),
    ),
    Attack(
        "code that says who it is",
        lambda it: it["auth"].update(functions={"mine": {"function": "attack_code:other"}}),
        "auth",
        lambda it: it.update(limits={"max_requests": 9}),
    ),
    # What only the node's own file may say.
    Attack(
        "its list of references",
        lambda it: it["admin"].update(references=["ATTACK_KEY"]),
        "admin.references",
        lambda it: it["admin"].update(references=["ATTACK_FREE"]),
    ),
    Attack(
        "its list and a use of it",
        both(lambda it: it["admin"].update(references=["ATTACK_KEY"]), public("${ATTACK_KEY}")),
        "",
        both(lambda it: it["admin"].pop("references"), public("${ATTACK_FREE}")),
    ),
    Attack(
        "its list of code",
        lambda it: it["admin"].update(code=["os:system"]),
        "admin.code",
        lambda it: it["admin"].update(code=[]),
    ),
]


class Node:
    """A gateway that was read from a file, and what a user of its admin API knows."""

    def __init__(self, folder: Path, one: EchoInstance, two: EchoInstance) -> None:
        authority = Authority(folder)
        self.files = {**authority.issue("own", "gateway"), "ca": str(authority.file)}
        text = CONFIG.format(one=one.url, two=two.url, literal=LITERAL, **self.files)
        admin = {"address": "127.0.0.1:0", "token": "${ATTACK_TOKEN}", "references": ["ATTACK_FREE"]}
        config = {**yaml.safe_load(text), "admin": admin, "state": str(folder / "state")}
        (folder / "attack_code.py").write_text(CODE)
        (folder / "page.txt").write_text(PAGE)
        (folder / "missing.html").write_text("nothing here")
        (folder / "instances.yaml").write_text(json.dumps([two.url]))
        self.file = folder / "pylae.yaml"
        self.file.write_text(yaml.safe_dump(config), encoding="utf-8")
        self.running = FromFile(self.file)
        self.api = Admin(self.running)
        self.document: Document = self.api.get("/config")

    def changed(self, *changes: Change) -> str:
        """The configuration of the file with changes."""
        document = copy.deepcopy(self.document)
        for change in changes:
            change(document)
        text = json.dumps(document)
        for name in ("cert", "key", "ca"):
            text = text.replace(f'"{name.upper()}"', json.dumps(self.files[name]))
        return text

    def put(self, text: str) -> httpx.Response:
        """Applies a configuration."""
        return self.api.http.put("/config", content=text, headers={"If-Match": "*"})

    def stop(self) -> None:
        """Ends it."""
        self.api.http.close()
        self.running.stop()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("attacks")
    with pytest.MonkeyPatch.context() as patch, EchoInstance("one") as one, EchoInstance("two") as two:
        for name, value in {**VARIABLES, "ATTACK_FREE": "free for all"}.items():
            patch.setenv(name, value)
        patch.syspath_prepend(folder)
        made = Node(folder, one, two)
        yield made
        made.stop()


def tells_nothing(answer: httpx.Response) -> None:
    for secret in (*VARIABLES.values(), LITERAL, PAGE, "root:x:0:0"):
        assert secret not in answer.text


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_it_is_refused_and_what_differs_in_one_thing_is_not(node: Node, attack: Attack) -> None:
    text = node.changed(attack.change)
    refused = node.put(text)
    assert refused.status_code == 422, refused.text
    places = [problem["path"] for problem in refused.json()["problems"]]
    assert any(place.startswith(attack.place) for place in places), refused.text
    verdict, difference = (node.api.http.post(f"/config/{verb}", content=text) for verb in ("validate", "diff"))
    assert (verdict.json()["valid"], difference.status_code) == (False, 422)
    for answer in (refused, verdict, difference):
        tells_nothing(answer)
    try:
        taken = node.put(node.changed(attack.control))
        assert taken.status_code == 200, taken.text
        tells_nothing(taken)
    finally:
        assert node.api.http.post("/config/reload").status_code == 200


def text_with(node: Node, value: str) -> str:
    """The document with a page for anybody that shows this YAML."""
    return node.changed(public("@")).replace('"@"', value)


@pytest.mark.parametrize(
    ("value", "control"),
    [
        (r'"\x24{ATTACK_KEY}"', r'"\x25{ATTACK_KEY}"'),
        (r'"\u0024\x7bATTACK_KEY}"', r'"\u0024\x7cATTACK_KEY}"'),
        ('"${ATTACK_\\\n  KEY}"', '"${ATTACK_\\\n  FREE}"'),
        ("'${ATTACK_KEY}'", "'$${ATTACK_KEY}'"),
        ('"a ${ATTACK_FREE} b ${ATTACK_KEY}"', '"a ${ATTACK_FREE} b ${ATTACK_FREE}"'),
        ('["${ATTACK_KEY}"]', '["${ATTACK_FREE}"]'),
        ('{"a": {"<<": {"b": "${ATTACK_KEY}"}}}', '{"a": {"<<": {"b": "${ATTACK_FREE}"}}}'),
    ],
)
def test_however_it_is_written(node: Node, value: str, control: str) -> None:
    refused = node.put(node.changed(public("@")).replace('"@"', value))
    assert refused.status_code == 422, refused.text
    assert "is allowed only where" in refused.text
    tells_nothing(refused)
    try:
        taken = node.put(node.changed(public("@")).replace('"@"', control))
        assert taken.status_code == 200, taken.text
    finally:
        node.api.http.post("/config/reload")


def test_keys_refer_to_nothing(node: Node) -> None:
    try:
        assert node.put(node.changed(public({"${ATTACK_KEY}": "${ATTACK_FREE}"}))).status_code == 200
        shown = httpx.get(f"{node.running.url}/leak", trust_env=False).json()
        assert shown == {"${ATTACK_KEY}": "free for all"}
    finally:
        node.api.http.post("/config/reload")


def test_not_in_two_steps_either(node: Node) -> None:
    """What was given up stays given up, until it is as the node's own file has it."""
    move = service("one", instances=[THIEF], health_check=None)
    drop = both(route("keyed", transform=None), route("bot", rewrite=None), top(policies={}))
    alone = lambda it: it["routes"][4].update(split=[{"service": "two", "weight": 1}])  # noqa: E731
    first = node.put(node.changed(move, drop, alone))
    assert first.status_code == 200, first.text
    try:
        for back in (both(move, route("bot", rewrite=None), top(policies={}), alone), both(move, drop)):
            second = node.put(node.changed(back))
            assert second.status_code == 422, second.text
            tells_nothing(second)
        # The mark of a secret counts only as long as the secret is in force; references count where the file has them.
        assert node.put(
            node.changed(lambda it: it["routes"][1]["transform"]["request"]["set"].pop("X-Literal-Token"))
        ).is_success
        assert node.put(node.changed(move, drop, alone)).status_code == 200
        assert node.api.http.post("/config/reload").status_code == 200
        after = node.put(node.changed(move))
        assert after.status_code == 422, after.text
    finally:
        node.api.http.post("/config/reload")


def test_a_wider_place_is_no_step_to_another(node: Node) -> None:
    """A place that is allowed more by one document is not what the next one starts from, where a secret is in it."""
    try:
        # Any Host may ask for a route without a secret.
        wider = both(route("keyed", host=None, transform=None), top(policies={}))
        assert node.put(node.changed(wider)).status_code == 200
        refused = node.put(node.changed(route("keyed", host=None)))
        assert (refused.status_code, refused.json()["problems"][0]["path"][:9]) == (422, "routes[1]")
        kept = {"request": {"set": {"Authorization": "Bearer ${ATTACK_KEY}"}}}
        assert node.put(node.changed(route("keyed", transform=kept))).status_code == 200
    finally:
        node.api.http.post("/config/reload")


def test_whether_a_file_exists_is_not_told(node: Node) -> None:
    """A file that is there is refused in the same words as one that is not, whatever else is wrong."""
    for change in (
        lambda name: lambda it: it["errors"].update({"500": {"html": name}}),
        lambda name: service("listed", discovery={"file": name}),
        lambda name: route("plain", access_log={"output": name}),
        lambda name: service("secure", tls={"cert": name, "key": name, "ca": name}),
        lambda name: lambda it: it.update(listeners=[{"address": "127.0.0.1:0", "tls": {"cert": name, "key": name}}]),
        lambda name: public(f"${{file:{name}}}"),
        lambda name: top(include=name),
    ):
        for more in (route("plain"), route("plain", timeout="never"), route("plain", service="nowhere")):
            said = []
            for name in ("/etc/passwd", "/etc/shadow", "/etc/nothing", "/etc/ssl/xx"):
                text = node.changed(both(change(name), more))
                answers = [node.put(text), node.api.http.post("/config/validate", content=text)]
                said.append([answer.text.replace(name, "NAME").replace("(hidden", "") for answer in answers])
            # Columns are those of the document, which is as long as the name.
            assert len({json.dumps(_without_places(one)) for one in said}) == 1, said


def _without_places(answers: list[str]) -> list[Any]:
    return [[(one["path"], one["message"]) for one in json.loads(text)["problems"]] for text in answers]


def test_no_path_shows_a_secret(node: Node) -> None:
    paths: dict[str, Any] = node.api.get("/openapi.json")["paths"]
    for path in ("/keyed", "/bot/7", "/parted", "/signed", "/nowhere"):
        httpx.get(f"{node.running.url}{path}", headers={"Host": "shop.example"}, trust_env=False)
    # What is open until the client goes is no answer.
    lasting = ("/exchanges/tail", "/traces/watch")
    asked = [path for path, methods in paths.items() if "get" in methods and "{" not in path and path not in lasting]
    for path in (*asked, "/config?effective=true", "/services/one", "/", "/nothing"):
        tells_nothing(node.api.http.get(path))
    tells_nothing(node.api.http.post("/config/diff", content=node.changed(public("x"), route("plain", timeout="5s"))))
