"""Services: their instances, how they are, and what can be done about them."""

from __future__ import annotations

from pylae.dashboard.table import Column, Table
from pylae.dashboard.view import View


async def show(view: View) -> None:
    """Builds the page."""
    table = Table(
        (Column("service", "Service"), Column("node", "Gateway"), Column("up", "Instances up")),
        key="id",
        search="Search services",
        label="Services",
    )

    def update() -> None:
        table.rows = [
            {
                "id": f"{node.name} {one['name']}",
                "service": one["name"],
                "node": node.name,
                "up": f"{sum(each['state'] == 'up' for each in one['instances'])}/{len(one['instances'])}",
            }
            for node in view.nodes
            for one in node.value("services", [])
        ]

    await view.follow(("services",), update)
