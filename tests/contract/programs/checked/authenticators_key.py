"""The key itself, which does not belong into a configuration."""

from pylae.settings import Consumer

Consumer(key="k-123456")  # Unexpected keyword argument "key" for "Consumer"; did you mean "keys"?
# No parameter named "key"
