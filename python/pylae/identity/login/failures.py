"""Why a login, a session or a logout fails. The log says it in one word; whoever asks is only told that it did."""

from __future__ import annotations

from typing import Final

LOGIN: Final = "the login has failed"
"""What is said about a login that has failed, whatever the reason is."""

OF_TOKENS: Final = {
    "the token was signed with a key that is not known": "key_unknown",
    "the token's signature does not match": "signature",
    "the token's algorithm is not accepted": "algorithm",
    "the token has expired": "expired",
    "the token is not valid yet": "not_yet_valid",
    "the token is from another issuer": "issuer",
    "the token is for another audience": "audience",
    "the token names no audience": "audience",
    "the token lacks a claim that is required": "claim_missing",
    "the token does not say who the user is": "subject",
    "the token is too large": "too_large",
    "the token needs an extension that is not known here": "critical",
}
"""What follows `id_token_` and `logout_token_`, by what the verifier says; `invalid` stands for all others."""
_OF_TOKENS = ("invalid", "type", *dict.fromkeys(OF_TOKENS.values()))

REASONS: Final = (
    # The callback, and who comes there.
    *("parameter_repeated", "parameters_too_long", "state_missing", "attempt_missing", "attempt_invalid"),
    *("attempt_expired", "attempt_used", "state_mismatch", "issuer_changed", "iss_missing", "iss_mismatch"),
    *("host_missing", "code_missing", "access_denied", "provider_error", "provider_unavailable"),
    # The provider.
    *("discovery_failed", "discovery_invalid", "discovery_issuer", "keys_failed", "par_failed", "token_failed"),
    *("code_refused", "client_refused", "token_response_invalid", "userinfo_failed", "userinfo_subject"),
    # ID tokens, and who the user is.
    *("id_token_missing", "nonce_missing", "nonce_mismatch", "azp_mismatch", "issued_in_future", "at_hash_mismatch"),
    *("subject_changed", "user_invalid", "user_failed", "no_access", *(f"id_token_{one}" for one in _OF_TOKENS)),
    # Sessions.
    *("refresh_refused", "refresh_failed", "revocation_failed", "session_too_large", "store_unavailable", "too_slow"),
    # Back-channel logout.
    *("logout_token_missing", "logout_token_event", "logout_token_nonce", "logout_token_replayed"),
    *("logout_token_issued_in_future", *(f"logout_token_{one}" for one in _OF_TOKENS)),
)
"""All reasons, as the log and `pylae_login_failures_total` have them."""


class IdentityError(Exception):
    """A login, a session or a logout fails.

    Attributes:
        reason: One of `REASONS`. In the log and in metrics it begins with `oidc_`.
        detail: More about it, for the log alone. No secret is in it.
        status: The status of the answer.
    """

    def __init__(self, reason: str, detail: str = "", status: int = 400) -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason, self.detail, self.status = reason, detail, status


class ProviderError(IdentityError):
    """The provider cannot be asked, or answers with what cannot be used: it is to be asked again later."""

    def __init__(self, reason: str, detail: str = "", status: int = 503) -> None:
        super().__init__(reason, detail, status)
