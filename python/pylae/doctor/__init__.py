"""Looks at what a gateway needs of its machine, without starting one: `pylae doctor`."""
