"""Attacks on logins, and mishaps: each with the section that asks for the defence, and a control that passes.

`ATTACKS` has them by subject. Attack and control are one function, which does the same but for one thing.
"""

from collections.abc import Mapping

from support.login_attacks import bound, callbacks, cross_site, decisions, id_tokens, logouts, redirects, sessions
from support.login_attacks.stage import Attack, Stage, passed

__all__ = ["ATTACKS", "Attack", "Stage", "passed"]

ATTACKS: Mapping[str, tuple[Attack, ...]] = {
    "bound": bound.ATTACKS,
    "callbacks": callbacks.ATTACKS,
    "cross_site": cross_site.ATTACKS,
    "decisions": decisions.ATTACKS,
    "id_tokens": id_tokens.ATTACKS,
    "logouts": logouts.ATTACKS,
    "redirects": redirects.ATTACKS,
    "sessions": sessions.ATTACKS,
}
