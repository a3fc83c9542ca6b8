"""Commands that measure several gateways with one store."""
