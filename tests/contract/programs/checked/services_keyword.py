"""A misspelt keyword of a service."""

from pylae import Service

Service(instances=["http://127.0.0.1:9001"], load_balencer="random")  # Unexpected keyword argument "load_balencer"
# No parameter named "load_balencer"
