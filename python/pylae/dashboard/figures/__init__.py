"""What gateways count, over time and by route, and what is wrong."""
