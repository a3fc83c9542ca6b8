"""The payments service: charges orders. Only other services may POST to it; through the gateway it is read-only."""

from __future__ import annotations

from http import HTTPStatus

from pylae.demo.server import Reply, Request, RequestError, Service, Store, serve

#: Largest amount, in cents, that the bank of the shop approves.
APPROVED_UP_TO = 50_000

service = Service(
    "payments",
    """
    CREATE TABLE IF NOT EXISTS payments (
        id INTEGER PRIMARY KEY,
        order_id INTEGER NOT NULL,
        user_id INTEGER NOT NULL,
        amount INTEGER NOT NULL,
        status TEXT NOT NULL
    )
    """,
)


@service.route("GET", "/payments")
def list_payments(request: Request, store: Store) -> Reply:
    """Lists all payments, or those of `?user_id=`."""
    user = request.number("user_id")
    return Reply(
        {"payments": store.rows("SELECT * FROM payments WHERE ? IS NULL OR user_id = ? ORDER BY id", user, user)},
    )


@service.route("GET", r"/payments/(\d{1,18})")
def get_payment(request: Request, store: Store) -> Reply:
    """Returns a payment."""
    payment = store.row("SELECT * FROM payments WHERE id = ?", int(request.captures[0]))
    if payment is None:
        raise RequestError(HTTPStatus.NOT_FOUND, f"There is no payment {request.captures[0]}.")
    return Reply(payment)


@service.route("POST", "/payments")
def charge(request: Request, store: Store) -> Reply:
    """Charges an amount in cents. An amount above the limit is recorded as declined."""
    order, user, amount = (request.value(name, int) for name in ("order_id", "user_id", "amount"))
    status = "approved" if 0 < amount <= APPROVED_UP_TO else "declined"
    number = store.write(
        "INSERT INTO payments (order_id, user_id, amount, status) VALUES (?, ?, ?, ?)", order, user, amount, status
    )
    payment = store.row("SELECT * FROM payments WHERE id = ?", number)
    return Reply(payment, HTTPStatus.CREATED, {"Location": f"/payments/{number}"})


if __name__ == "__main__":
    serve(service)
