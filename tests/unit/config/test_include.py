"""A configuration in several files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pylae import ConfigError, Gateway
from pylae.config.document import include, reader
from pylae.config.watch import Watch

MAIN = """\
include: ["routes/*.yaml"]
listeners: ["127.0.0.1:0"]
services:
  users: {instances: ["http://127.0.0.1:9001"]}
routes:
  - {name: users, prefix: /users, service: users, auth_required: false}
"""
ORDERS = """\
services:
  orders: {instances: ["http://127.0.0.1:9002"]}
routes:
  - name: orders
    prefix: /orders
    service: orders
    auth_required: false
    timeout: 5s
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a main file, and others by their names; gives the main one."""

    def files(main: str = MAIN, **others: str) -> Path:
        (tmp_path / "routes").mkdir(exist_ok=True)
        for name, text in others.items():
            (tmp_path / "routes" / f"{name}.yaml").write_text(text)
        (tmp_path / "pylae.yaml").write_text(main)
        return tmp_path / "pylae.yaml"

    return files


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Gateway.from_file(file).check()
    return [str(problem).replace(f"{file.parent}/", "") for problem in caught.value.problems]


def test_services_and_routes_of_all_files_count(write: Write) -> None:
    other = ORDERS.replace("orders", "invoices")
    gateway = Gateway.from_file(write(b=ORDERS, a=other))
    assert list(gateway.config.services) == ["users", "invoices", "orders"]
    assert [route.name for route in gateway.config.routes] == ["users", "invoices", "orders"]
    assert gateway.check() == []


def test_places_are_those_of_the_file_that_a_setting_stands_in(write: Write, tmp_path: Path) -> None:
    gateway = Gateway.from_file(write(orders=ORDERS))
    orders = tmp_path / "routes" / "orders.yaml"
    assert str(gateway.builder.locate(gateway.plan(), "routes[1].timeout")) == f"{orders}:8:14"
    assert str(gateway.builder.locate(gateway.plan(), "services[1]", key=True)) == f"{orders}:2:3"
    assert str(gateway.builder.locate(gateway.plan(), "routes[0]")) == f"{tmp_path / 'pylae.yaml'}:6:5"
    assert str(gateway.builder.locate(gateway.plan(), "listeners[0].address")) == f"{tmp_path / 'pylae.yaml'}:2:13"


def test_a_main_file_may_have_nothing_else(write: Write) -> None:
    gateway = Gateway.from_file(write("include: routes/*.yaml\n", a=ORDERS))
    assert [route.name for route in gateway.config.routes] == ["orders"]
    assert gateway.check() == []


def test_a_file_that_two_entries_name_counts_once_and_the_main_one_never(write: Write) -> None:
    main = MAIN.replace('["routes/*.yaml"]', '["routes/z.yaml", "routes/*.yaml", "*.yaml"]')
    gateway = Gateway.from_file(write(main, a=ORDERS, z=ORDERS.replace("orders", "invoices")))
    assert [route.name for route in gateway.config.routes] == ["users", "invoices", "orders"]


WRONG = {
    "misspelt key": (
        ORDERS.replace("timeout", "timeoit"),
        ["routes/a.yaml:8:5: routes[1].timeoit: unknown key `timeoit` (did you mean `timeout`?)"],
    ),
    "no service": (
        ORDERS.replace("service: orders", "service: order"),
        [
            (
                'routes/a.yaml:6:14: routes[1].service: there is no service "order"; there are orders, users '
                "(did you mean `orders`?)"
            )
        ],
    ),
    "service twice": (
        ORDERS.replace("  orders: {", "  users: {").replace("service: orders", "service: users"),
        [
            (
                "routes/a.yaml:2:3: services.users: there is already a service with this name "
                "(the other is at pylae.yaml:4:3; rename one of them)"
            )
        ],
    ),
    "route twice": (
        ORDERS.replace("name: orders", "name: users"),
        ['routes/a.yaml:4:11: routes[1].name: two routes have the name "users" (the first is at pylae.yaml:6:12)'],
    ),
    "what is of the gateway": (
        "policies: {cors: {}}\nlisteners: []\n" + ORDERS,
        [
            "routes/a.yaml:1:1: policies: `policies` is allowed only in the main file (write it in pylae.yaml)",
            "routes/a.yaml:2:1: listeners: `listeners` is allowed only in the main file (write it in pylae.yaml)",
        ],
    ),
    "unknown key": (
        "servces: {}\n",
        ["routes/a.yaml:1:1: servces: unknown key `servces` (an included file can have services and routes)"],
    ),
    "includes others": (
        "include: b.yaml\n" + ORDERS,
        ["routes/a.yaml:1:1: include: only the main file can include others (name them in pylae.yaml)"],
    ),
    "no mapping": ("- a\n", ["routes/a.yaml:1:1: a configuration must be a mapping, not a list"]),
    "no list": ("routes: {}\n", ["routes/a.yaml:1:9: routes: must be a list"]),
    "no YAML": ("routes: [\n", ["routes/a.yaml:2:1: not YAML"]),
    "unset variable": (
        ORDERS.replace("http://127.0.0.1:9002", "${NOT_SET_ANYWHERE}"),
        ["routes/a.yaml:2:25: services.orders.instances[0]: the environment variable NOT_SET_ANYWHERE is not set"],
    ),
    "pattern of the data plane": (
        ORDERS.replace("prefix: /orders", "pattern: '^/(?=a)'"),
        ["routes/a.yaml:5:14: routes[1].pattern: "],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_its_file(write: Write, name: str) -> None:
    text, expected = WRONG[name]
    told = problems(write(a=text))
    assert len(told) == len(expected), told
    for one, begins in zip(told, expected, strict=True):
        assert one.startswith(begins)


def test_all_files_are_complained_about_at_once(write: Write) -> None:
    told = problems(write(a="routes: [\n", b="servces: {}\n"))
    assert [line.partition(":")[0] for line in told] == ["routes/a.yaml", "routes/b.yaml"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("more.yaml", "pylae.yaml:1:10: include: the file more.yaml does not exist"),
        ("[5]", "pylae.yaml:1:11: include[0]: must be the name of a file or a pattern of names (e.g. `routes/*.yaml`)"),
        ("{a: b}", "pylae.yaml:1:10: include: must be the name of a file or a pattern of names"),
        ("'routes/**'", "pylae.yaml:1:10: include: `**` is not supported"),
        ("routes", "routes: cannot be read: is a directory"),
    ],
)
def test_what_cannot_be_included(write: Write, entry: str, expected: str) -> None:
    (told,) = problems(write(MAIN.replace('["routes/*.yaml"]', entry)))
    assert told.startswith(expected)


def test_a_pattern_that_names_nothing_is_a_warning(write: Write) -> None:
    file = write()
    (warning,) = Gateway.from_file(file).check()
    assert str(warning) == f"{file}:1:11: include[0]: no file is included: none matches routes/*.yaml"


def test_files_of_secrets_are_relative_to_the_main_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("http://127.0.0.1:9002\n")
    gateway = Gateway.from_file(write(a=ORDERS.replace("http://127.0.0.1:9002", "${file:url}")))
    assert gateway.config.services["orders"].instances[0].url == "http://127.0.0.1:9002"
    assert tmp_path / "url" in gateway.builder.followed


def test_bounds_are_of_all_files_together(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(a=ORDERS, b=ORDERS.replace("orders", "invoices"))
    monkeypatch.setattr(reader, "MAX_VALUES", 30)
    assert any("more than 30 values" in line for line in problems(file))
    monkeypatch.undo()
    monkeypatch.setattr(include, "MOST_FILES", 1)
    assert "more than 1 files are included" in problems(file)[0]


def test_nothing_else_includes() -> None:
    gateway = Gateway(include=["routes/*.yaml"])
    with pytest.raises(ConfigError, match="only the main file, with which a gateway is started, can include others"):
        gateway.check()


def test_a_new_file_is_a_change(write: Write, tmp_path: Path) -> None:
    gateway = Gateway.from_file(write(a=ORDERS))
    watch = Watch(gateway.builder.followed)
    assert [watch.changed(), watch.changed()] == [False, False]
    (tmp_path / "routes" / ".b.yaml.swp").write_text("")
    assert [watch.changed(), watch.changed()] == [False, False]
    (tmp_path / "routes" / "b.yaml").write_text(ORDERS.replace("orders", "invoices"))
    assert [watch.changed(), watch.changed()] == [False, True]
    watch.follow(Gateway.from_file(tmp_path / "pylae.yaml").builder.followed)
    assert [watch.changed(), watch.changed()] == [False, False]
    (tmp_path / "routes" / "a.yaml").unlink()
    assert [watch.changed(), watch.changed()] == [False, True]
