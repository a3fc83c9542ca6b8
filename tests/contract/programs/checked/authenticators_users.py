"""A user without a password."""

from pylae.settings import Basic

Basic(users={"ada": None})  # Dict entry 0 has incompatible type "str": "None"
# cannot be assigned to parameter "users"
