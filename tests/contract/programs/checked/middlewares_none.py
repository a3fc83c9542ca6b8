"""No middleware at all."""

from pylae import Gateway

Gateway().add_middleware(None)  # Argument 1 to "add_middleware" of "Gateway" has incompatible type "None"
# "None" cannot be assigned to parameter "function"
