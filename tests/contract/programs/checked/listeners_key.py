"""A misspelt key of a mapping in the place of a listener."""

from pylae import Gateway

Gateway(listeners=[{"adress": "127.0.0.1:8080"}])  # List item 0 has incompatible type
# cannot be assigned to parameter "listeners"
