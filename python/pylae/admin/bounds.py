"""Bounds on connections to the admin API. Whoever has no token cannot keep others out with connections."""

from __future__ import annotations

WAITING = 256
"""Connections on the admin address of which it is not clear yet what they want; beyond it the oldest is closed."""
CONNECTIONS = 1024
"""Open connections; beyond it the one is closed that has waited longest for a request."""
HEAD_TIME = 10.0
"""Seconds that the head of a request may take, from the connection or the end of the answer before it."""
BODY_TIME = 60.0
"""Seconds that its body may take."""
PATIENCE = 5.0
"""Seconds that a connection on the admin address waits to be taken, before it is told that nobody does."""
