"""A misspelt keyword of an authenticator, whose value is a secret."""

from pylae.settings import Jwt

Jwt(secrt="not shown to anybody")  # Unexpected keyword argument "secrt" for "Jwt"; did you mean "secret"?
# No parameter named "secrt"
