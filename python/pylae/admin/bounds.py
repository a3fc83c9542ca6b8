"""Limits on connections to the admin API, so that clients without a token cannot block others."""

from __future__ import annotations

WAITING = 256
"""Most connections to the admin address that have not sent a request yet. Beyond this, the oldest one is closed."""
CONNECTIONS = 1024
"""Most open connections. Beyond this, the one that has been idle longest is closed."""
HEAD_TIME = 10.0
"""Seconds in which the head of a request must arrive, from the start of the connection or the end of the last
response."""
BODY_TIME = 60.0
"""Seconds in which the body of a request must arrive."""
PATIENCE = 15.0
"""Seconds that a connection to the admin address waits for the admin API before it gets an error. The first one waits
for what serves it to be imported, which takes seconds on a slow machine."""
