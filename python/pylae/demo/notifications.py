"""The notifications service: messages to users."""

from __future__ import annotations

from http import HTTPStatus

from pylae.demo.server import Reply, Request, Service, Store, serve

service = Service(
    "notifications",
    """
    CREATE TABLE IF NOT EXISTS notifications (
        id INTEGER PRIMARY KEY,
        user_id INTEGER NOT NULL,
        text TEXT NOT NULL,
        sent_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
    )
    """,
)


@service.route("GET", "/notifications")
def list_notifications(request: Request, store: Store) -> Reply:
    """Lists all notifications, or those of `?user_id=`."""
    user = request.number("user_id")
    rows = store.rows("SELECT * FROM notifications WHERE ? IS NULL OR user_id = ? ORDER BY id", user, user)
    return Reply({"notifications": rows})


@service.route("POST", "/notifications")
def notify(request: Request, store: Store) -> Reply:
    """Sends a message to a user."""
    user, text = request.value("user_id", int), request.value("text", str)
    number = store.write("INSERT INTO notifications (user_id, text) VALUES (?, ?)", user, text)
    return Reply(store.row("SELECT * FROM notifications WHERE id = ?", number), HTTPStatus.CREATED)


if __name__ == "__main__":
    serve(service)
