"""The running gateway: its engine, what surrounds it, signals, and the rights that it runs with."""
