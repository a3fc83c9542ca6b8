"""A keyword that a cache does not have."""

from pylae.settings import Cache

Cache(max_age="5m")  # Unexpected keyword argument "max_age" for "Cache"
# No parameter named "max_age"
