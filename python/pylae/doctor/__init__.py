"""Checks what a gateway needs from its machine, without starting one: `pylae doctor`."""
