"""An algorithm that would sign nothing."""

from pylae.settings import Jwt

Jwt(secret="s" * 40, algorithms=["none"])  # List item 0 has incompatible type "Literal['none']"
# cannot be assigned to parameter "algorithms"
