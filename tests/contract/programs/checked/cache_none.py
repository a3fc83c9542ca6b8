"""None where a cache has to have a time."""

from pylae.settings import Cache

Cache(ttl=None)  # Argument "ttl" to "Cache" has incompatible type "None"
# "None" cannot be assigned to parameter "ttl"
