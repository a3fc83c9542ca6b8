"""Who may do what over the admin API of a running gateway, and what they did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pylae.access.audit import AuditLog
from pylae.access.tokens import Tokens
from pylae.store.kept import Kept


@dataclass(slots=True)
class Access:
    """The tokens and the audit of a gateway. `node` is its name in the audit."""

    tokens: Tokens
    audit: AuditLog
    node: str

    @classmethod
    def of(
        cls, kept: Kept, folder: Path, node: str, most_lines: Callable[[], int], is_shown: Callable[[], bool]
    ) -> Access:
        """Returns those of a gateway with this store and state folder. For the last two, see `AuditLog`."""
        return cls(Tokens(kept, folder), AuditLog(kept, folder, most_lines, is_shown), node)

    def start(self) -> None:
        """Follows the store, if several gateways share it."""
        self.tokens.start()
        self.audit.start()

    def metrics(self) -> str:
        """Its figures as a part of the page for Prometheus."""
        figures = (
            ("pylae_admin_refused_tokens_total", "Requests with a token that is wrong or over.", self.tokens.refused),
            ("pylae_audit_unkept_total", "Lines of the audit that are in the log alone.", self.audit.unkept),
        )
        return "".join(f"# HELP {name} {what}\n# TYPE {name} counter\n{name} {n}\n" for name, what, n in figures)

    def stop(self) -> None:
        """Writes what is left, and ends. May be called again."""
        self.tokens.stop()
        self.audit.stop()
