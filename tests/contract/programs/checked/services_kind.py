"""A balancer that there is not."""

from pylae import Gateway

gateway = Gateway()
gateway.add_service("users", ["http://127.0.0.1:9001"], load_balancer="randon")  # Argument "load_balancer" to
# cannot be assigned to parameter "load_balancer"
