"""A misspelt keyword of a route; the nearest one is named."""

from pylae import Route

Route(path="/users", servce="users")  # Unexpected keyword argument "servce" for "Route"; did you mean "service"?
# No parameter named "servce"
