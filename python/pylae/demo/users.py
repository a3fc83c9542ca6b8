"""The users service: the customers of the shop."""

from __future__ import annotations

import sqlite3
from http import HTTPStatus

from pylae.demo.server import Reply, Request, RequestError, Service, Store, serve

service = Service(
    "users",
    """
    CREATE TABLE IF NOT EXISTS users (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        email TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL DEFAULT 'customer'
    );
    INSERT OR IGNORE INTO users VALUES
        (1, 'Ada', 'ada@example.com', 'customer'),
        (2, 'Grace', 'grace@example.com', 'customer'),
        (3, 'Root', 'root@example.com', 'admin')
    """,
)


@service.route("GET", "/api/users")
def list_users(_: Request, store: Store) -> Reply:
    """Lists all users."""
    return Reply({"users": store.rows("SELECT * FROM users ORDER BY id")})


@service.route("GET", r"/api/users/(\d{1,18})")
def get_user(request: Request, store: Store) -> Reply:
    """Returns a user."""
    user = store.row("SELECT * FROM users WHERE id = ?", int(request.captures[0]))
    if user is None:
        raise RequestError(HTTPStatus.NOT_FOUND, f"There is no user {request.captures[0]}.")
    return Reply(user)


@service.route("POST", "/api/users")
def register(request: Request, store: Store) -> Reply:
    """Registers a user. Each address can be registered once."""
    name, email = request.value("name", str), request.value("email", str)
    if "@" not in email:
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "The field 'email' must be an e-mail address.")
    try:
        number = store.write("INSERT INTO users (name, email) VALUES (?, ?)", name, email)
    except sqlite3.IntegrityError as error:
        raise RequestError(HTTPStatus.CONFLICT, f"{email} is registered already.") from error
    user = store.row("SELECT * FROM users WHERE id = ?", number)
    return Reply(user, HTTPStatus.CREATED, {"Location": f"/api/users/{number}"})


if __name__ == "__main__":
    serve(service)
