"""None where a route has to have a time."""

from pylae import Gateway

gateway = Gateway()
gateway.add_route(path="/users", service="users", timeout=None)  # Argument "timeout" to "add_route" of "Gateway"
# "None" cannot be assigned to parameter "timeout"
