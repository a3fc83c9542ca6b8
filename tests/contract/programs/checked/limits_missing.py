"""A limit without the one thing that it needs."""

from pylae.settings import RateLimit

RateLimit(per="1m")  # Missing named argument "limit" for "RateLimit"
# Argument missing for parameter "limit"
