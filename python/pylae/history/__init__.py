"""Every configuration that was put in force: what it was, who did it, when, why and how.

`history.py` reads and writes it in a store. The journal is where entries wait until something opens the store.
"""
