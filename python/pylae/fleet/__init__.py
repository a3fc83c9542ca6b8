"""Several gateways that follow one configuration in a shared store, and how a new one is rolled out to them."""
