"""A misspelt key of a rate limit."""

from pylae import Route

Route(path="/users", service="users", rate_limit={"limt": 5, "per": "1m"})  # Argument "rate_limit" to "Route" has
# cannot be assigned to parameter "rate_limit"
