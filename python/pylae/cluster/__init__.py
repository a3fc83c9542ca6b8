"""Several gateways that are nodes of one cluster."""
