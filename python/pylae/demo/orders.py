"""The orders service. It calls the payments service to charge an order, and the notifications service to tell the
user.
"""

from __future__ import annotations

import json
import os
from http import HTTPStatus
from typing import Any

from pylae.demo.server import Reply, Request, RequestError, Service, Store, ask_peer, serve

#: The items of the shop, with their prices in cents.
PRICES = {"cup": 900, "kettle": 3_900, "teapot": 5_200}

service = Service(
    "orders",
    """
    CREATE TABLE IF NOT EXISTS orders (
        id INTEGER PRIMARY KEY,
        user_id INTEGER NOT NULL,
        items TEXT NOT NULL,
        total INTEGER NOT NULL,
        status TEXT NOT NULL,
        payment_id INTEGER
    );
    INSERT OR IGNORE INTO orders VALUES (1, 2, '[{"sku": "cup", "quantity": 4}]', 3600, 'shipped', NULL)
    """,
)


@service.route("GET", "/api/orders")
def list_orders(request: Request, store: Store) -> Reply:
    """Lists all orders, or those of `?user_id=`."""
    user = request.number("user_id")
    rows = store.rows("SELECT * FROM orders WHERE ? IS NULL OR user_id = ? ORDER BY id", user, user)
    return Reply({"orders": [shown(row) for row in rows]})


@service.route("GET", r"/api/orders/(\d{1,18})")
def get_order(request: Request, store: Store) -> Reply:
    """Returns an order."""
    return Reply(shown(existing(request, store)))


@service.route("POST", "/api/orders")
def create_order(request: Request, store: Store) -> Reply:
    """Places an order, charges it and notifies the user. Answers 402 if the payment is declined."""
    user, items = request.value("user_id", int), request.value("items", list)
    total = price_of(items)
    number = store.write(
        "INSERT INTO orders (user_id, items, total, status) VALUES (?, ?, ?, 'placed')", user, json.dumps(items), total
    )
    charge = {"order_id": number, "user_id": user, "amount": total}
    _, payment = ask_peer(os.environ["PAYMENTS_URL"], "/payments", charge, request)
    paid = payment.get("status") == "approved"
    status = "paid" if paid else "declined"
    store.write("UPDATE orders SET status = ?, payment_id = ? WHERE id = ?", status, payment.get("id"), number)
    if not paid:
        raise RequestError(
            HTTPStatus.PAYMENT_REQUIRED, f"The payment of {total / 100:.2f} for order {number} was declined."
        )
    message = {"user_id": user, "text": f"Thank you: order {number} over {total / 100:.2f} is paid."}
    _, notification = ask_peer(os.environ["NOTIFICATIONS_URL"], "/notifications", message, request)
    order = shown(store.row("SELECT * FROM orders WHERE id = ?", number) or {})
    return Reply(
        {**order, "payment": payment, "notification": notification},
        HTTPStatus.CREATED,
        {"Location": f"/api/orders/{number}"},
    )


@service.route("PUT", r"/api/orders/(\d{1,18})")
def change_order(request: Request, store: Store) -> Reply:
    """Sets the status of an order."""
    order, status = existing(request, store), request.value("status", str)
    if status not in ("placed", "paid", "shipped", "cancelled"):
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "The status is one of placed, paid, shipped, cancelled.")
    store.write("UPDATE orders SET status = ? WHERE id = ?", status, order["id"])
    return Reply(shown({**order, "status": status}))


@service.route("DELETE", r"/api/orders/(\d{1,18})")
def cancel_order(request: Request, store: Store) -> Reply:
    """Cancels an order that is not shipped yet."""
    order = existing(request, store)
    if order["status"] == "shipped":
        raise RequestError(HTTPStatus.CONFLICT, f"Order {order['id']} is shipped already.")
    store.write("UPDATE orders SET status = 'cancelled' WHERE id = ?", order["id"])
    return Reply(shown({**order, "status": "cancelled"}))


def existing(request: Request, store: Store) -> dict[str, Any]:
    """Returns the order in the path."""
    order = store.row("SELECT * FROM orders WHERE id = ?", int(request.captures[0]))
    if order is None:
        raise RequestError(HTTPStatus.NOT_FOUND, f"There is no order {request.captures[0]}.")
    return order


def shown(order: dict[str, Any]) -> dict[str, Any]:
    """Returns an order as clients see it."""
    return {**order, "items": json.loads(order["items"])}


def price_of(items: list[Any]) -> int:
    """Returns the price of the items in cents. Refuses items that the shop does not sell."""
    if not items:
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "An order needs items.")
    total = 0
    for item in items:
        sku, quantity = (item.get("sku"), item.get("quantity", 1)) if isinstance(item, dict) else (item, 1)
        if not isinstance(sku, str) or sku not in PRICES:
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"The shop sells {', '.join(PRICES)}; not {sku!r}.")
        if type(quantity) is not int or not 0 < quantity <= 1000:
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "The quantity of an item is a number from 1 to 1000.")
        total += PRICES[sku] * quantity
    return total


if __name__ == "__main__":
    serve(service)
