"""A port alone."""

from pylae import Gateway

Gateway(listeners=8080)  # Argument "listeners" to "Gateway" has incompatible type "int"
# cannot be assigned to parameter "listeners"
