"""An OpenID provider: what it offers (OpenID Connect Discovery 1.0), its keys, and calls of its endpoints."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote_plus, urlencode, urlsplit

from pylae.config.models.address import is_this_machine
from pylae.config.models.authenticators.jwt import Algorithm, ClaimNames, Jwt
from pylae.engine import NativeTokenVerifier
from pylae.identity.claims import parsed
from pylae.identity.client import ServiceClient
from pylae.identity.failures import AnswerError
from pylae.identity.flights import Flights
from pylae.identity.login.failures import OF_TOKENS, IdentityError, ProviderError
from pylae.registry.client import ApiError, Reply

if TYPE_CHECKING:
    from pylae.config.models.authenticators.oidc import Oidc

log = logging.getLogger("pylae.auth")

PATIENCE = 5.0
"""Seconds that a provider has for an answer."""
FRESH = 3600.0
"""Seconds after which it is discovered anew."""
KEYS_FRESH = 600.0
"""Seconds after which its keys are fetched anew."""
KEYS_AGAIN = 30.0
"""Seconds between two fetches because of keys that are not known."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds for which a provider is not asked that was silent twice: they double with each further time."""
MOST_DOCUMENT = 1024 * 1024
"""Bytes of a document of a provider."""
MOST_TOKENS = 256 * 1024
"""Bytes of the answer of a token endpoint."""
MOST_TOKEN = 64 * 1024
"""Bytes of a token."""
_MOST_URL = 2048
_MOST_PLACES = 4 * 7
"""Endpoints of which something is known: each document of discovery may have others."""
ALGORITHMS: tuple[Algorithm, ...] = tuple(name for name in get_args(Algorithm) if not name.startswith("HS"))
"""Those by which ID tokens may be signed. One with a secret is not among them."""
METHODS = {"client_secret_basic": "basic", "client_secret_post": "post", "none": "none"}
_OTHER_KEY = ("key_unknown", "signature", "algorithm")
"""What is wrong with a token if newer keys might help."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider offers. Endpoints that it has not are None."""

    authorization: str
    token: str
    jwks: str
    userinfo: str | None
    end_session: str | None
    revocation: str | None
    par: str | None
    requires_par: bool
    names_issuer: bool
    """Whether answers to requests for authorization have `iss` (RFC 9207)."""
    methods: tuple[str, ...]
    """How clients authenticate: of `basic`, `post` and `none`."""
    algorithms: tuple[Algorithm, ...]


def endpoint(document: Mapping[str, Any], name: str, *, plain: bool) -> str | None:
    """Returns an endpoint in a document of discovery, or None. Over http only with `plain`, and on this machine.

    Raises ProviderError.
    """
    url = document.get(name)
    if url is None:
        return None
    wrong = ProviderError("discovery_invalid", f"`{name}` is no https:// address that can be used")
    if (
        not isinstance(url, str)
        or len(url) > _MOST_URL
        or not url.isascii()
        or any(c <= " " or c in '"\\<>' for c in url)
    ):
        raise wrong
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise wrong from None
    host = parts.hostname or ""
    fitting = parts.scheme == "https" or (parts.scheme == "http" and plain and is_this_machine(host))
    if not fitting or not host or "@" in parts.netloc or parts.fragment:
        raise wrong
    return url


def read_metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Reads a document of discovery (OpenID Connect Discovery 1.0, sections 3 and 4.3). Raises ProviderError."""
    if document.get("issuer") != issuer:
        said = document.get("issuer")
        raise ProviderError("discovery_issuer", f"it says {said[:200]!r}" if isinstance(said, str) else "it names none")
    plain = urlsplit(issuer).scheme == "http"
    found = {name: endpoint(document, name, plain=plain) for name in _ENDPOINTS}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if found[name] is None:
            raise ProviderError("discovery_invalid", f"`{name}` is missing")
    if "S256" not in _words(document, "code_challenge_methods_supported", ("S256",)):
        raise ProviderError("discovery_invalid", "it does not support PKCE with S256")
    if "code" not in _words(document, "response_types_supported", ("code",)):
        raise ProviderError("discovery_invalid", "it does not support `response_type=code`")
    signing = _words(document, "id_token_signing_alg_values_supported", ("RS256",))
    algorithms = tuple(name for name in ALGORITHMS if name in signing)
    if not algorithms:
        raise ProviderError("discovery_invalid", "it signs ID tokens with none of the algorithms that are accepted")
    # What RFC 8414 has as the default.
    methods = _words(document, "token_endpoint_auth_methods_supported", ("client_secret_basic",))
    return Metadata(
        authorization=found["authorization_endpoint"] or "",
        token=found["token_endpoint"] or "",
        jwks=found["jwks_uri"] or "",
        userinfo=found["userinfo_endpoint"],
        end_session=found["end_session_endpoint"],
        revocation=found["revocation_endpoint"],
        par=found["pushed_authorization_request_endpoint"],
        requires_par=document.get("require_pushed_authorization_requests") is True,
        names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        methods=tuple(METHODS[name] for name in METHODS if name in methods),
        algorithms=algorithms,
    )


_ENDPOINTS = (
    *("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"),
    *("revocation_endpoint", "pushed_authorization_request_endpoint"),
)


def _words(document: Mapping[str, Any], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, list):
        raise ProviderError("discovery_invalid", f"`{name}` is no list")
    return tuple(one for one in value[:200] if isinstance(one, str))


class Provider:
    """One provider, with what is known of it. It is used on the loop of the hooks alone.

    What was discovered stays good while the provider is away. `clock` is in seconds and only goes on.
    """

    def __init__(self, settings: Oidc, folder: Path, clock: Clock = time.monotonic) -> None:
        """`folder` is where the file of `ca` is looked for."""
        self._settings, self._clock = settings, clock
        self._ca = folder / settings.ca if settings.ca else None
        self._clients: dict[str, ServiceClient] = {}
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: float | None = None
        self._keys_asked = -KEYS_AGAIN
        self._verifiers: dict[bool, NativeTokenVerifier] = {}
        """For logout tokens, and for ID tokens."""
        self._flights: Flights[str, Any] = Flights()
        self._failures: dict[str, tuple[int, float]] = {}

    @property
    def issuer(self) -> str:
        """Its identifier."""
        return self._settings.issuer

    async def metadata(self) -> Metadata:
        """What it offers. Raises ProviderError if it has never been discovered, and cannot be now."""
        known = self._metadata
        if known is None:
            found: Metadata = await self._flights.run("discovery", self._discover)
            return found
        if self._clock() - known[0] >= FRESH:
            self._metadata = self._clock() - FRESH + LONGEST_WAIT, known[1]
            self._flights.start("discovery", self._rediscover)
        return known[1]

    async def _rediscover(self) -> None:
        try:
            await self._discover()
        except ProviderError as error:
            log.warning("provider %s is used as it was discovered before: %s", self.issuer, error)

    async def _discover(self) -> Metadata:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        reply = await self._asked("discovery_failed", "GET", url, most=MOST_DOCUMENT)
        found = read_metadata(document_of(reply, "discovery_invalid"), self.issuer)
        self._metadata = self._clock(), found
        return found

    async def claims(self, token: str, *, logout: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
        """Verifies an ID token or a logout token, and returns its header and its claims.

        Signature, issuer, audience and times are good then, and those claims are there that must be. Raises
        ProviderError if there are no keys, and IdentityError if the token is not good.
        """
        await self._fetched(KEYS_FRESH)
        why = self._wrong(token, logout=logout)
        if why in _OTHER_KEY and self._clock() - self._keys_asked >= KEYS_AGAIN:
            self._keys_asked = self._clock()
            await self._fetched(0)
            why = self._wrong(token, logout=logout)
        if why:
            raise IdentityError(f"{'logout' if logout else 'id'}_token_{why}")
        return parts_of(token)

    def _wrong(self, token: str, *, logout: bool) -> str:
        """What is wrong with a token, in one word; empty if nothing is."""
        found, why = self._verifiers[logout].verify(token, time.time_ns())
        return "" if found is not None else OF_TOKENS.get(why, "invalid")

    async def _fetched(self, age: float) -> None:
        """Has keys that are no older than `age` seconds, if the provider gives them; else the last good ones stay."""
        known = self._keys
        if known is not None and self._clock() - known < age:
            return
        try:
            await self._flights.run("keys", self._fetch_keys)
        except ProviderError as error:
            if known is None:
                raise
            log.warning("the last good keys of provider %s are used: %s", self.issuer, error)
            self._keys = self._clock() - KEYS_FRESH + LONGEST_WAIT

    async def _fetch_keys(self) -> None:
        url = (await self.metadata()).jwks
        reply = await self._asked("keys_failed", "GET", url, most=MOST_DOCUMENT)
        keys = document_of(reply, "keys_failed").get("keys")
        if not isinstance(keys, list):
            raise ProviderError("keys_failed", "it is no JWK set")
        # A secret that everybody can read signs nothing.
        text = json.dumps({"keys": [one for one in keys if isinstance(one, dict) and one.get("kty") != "oct"]})
        algorithms = (await self.metadata()).algorithms
        rules = {logout: _rules(self._settings, text, algorithms, logout=logout) for logout in (False, True)}
        try:
            self._verifiers = {logout: NativeTokenVerifier(json.dumps(rule)) for logout, rule in rules.items()}
        except ValueError:
            raise ProviderError("keys_failed", "the JWK set has no key that can be used") from None
        self._keys = self._clock()

    async def form(
        self,
        reason: str,
        url: str,
        parameters: Sequence[tuple[str, str]],
        *,
        most: int = MOST_TOKENS,
    ) -> Reply:
        """Posts a form with the authentication of the client (RFC 6749, section 2.3.1), whatever the answer's status.

        Raises ProviderError with this reason if there is no answer, or one that says that the provider has failed.
        """
        fields, more = self._authenticated(await self.metadata())
        fields |= {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        body = urlencode({**dict(parameters), **more}).encode()
        return await self._asked(reason, "POST", url, fields, body, most=most, refusals=True)

    async def bearer(self, reason: str, url: str, token: str) -> Reply:
        """Gets a document with an access token (RFC 6750). Raises ProviderError with this reason."""
        fields = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        return await self._asked(reason, "GET", url, fields, most=MOST_TOKENS)

    def _authenticated(self, metadata: Metadata) -> tuple[dict[str, str], dict[str, str]]:
        """The fields and the parameters by which the client proves who it is."""
        client_id, secret = self._settings.client_id, self._settings.client_secret
        method = self._settings.client_auth
        if method is None:
            offered = [name for name in ("basic", "post") if name in metadata.methods]
            method = "none" if secret is None else (offered or ["basic"])[0]
        if method == "none" or secret is None:
            return {}, {"client_id": client_id}
        if method == "post":
            return {}, {"client_id": client_id, "client_secret": secret.get_secret_value()}
        pair = f"{quote_plus(client_id)}:{quote_plus(secret.get_secret_value())}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, {}

    async def _asked(
        self,
        reason: str,
        method: str,
        url: str,
        fields: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        most: int,
        refusals: bool = False,
    ) -> Reply:
        """Asks; raises ProviderError. With `refusals`, answers with a status of 4xx are returned."""
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        failures, until = self._failures.get(place, (0, 0.0))
        if self._clock() < until:
            raise ProviderError(reason, f"{place} has failed, and is not asked again yet")
        sent = list((fields or {}).items())
        try:
            # What is sent in a form counts once: codes, and refresh tokens that are rotated.
            once = method == "POST"
            reply = await self._client(url).call(method, sent, body, patience=PATIENCE, most=most, once=once)
        except ApiError as error:
            self._has_failed(place, failures)
            raise ProviderError(reason, str(error)) from None
        except AnswerError as error:
            raise ProviderError(reason, f"{place} {error}") from None
        if reply.status in (429, 503):
            self._has_failed(place, failures)
        else:
            self._failures.pop(place, None)
        if reply.status >= 500 or reply.status == 429:
            raise ProviderError(reason, f"{place} answers with {reply.status}")
        if reply.status not in (200, 201) and not (refusals and 400 <= reply.status < 500):
            raise ProviderError(reason, f"{place} answers with {reply.status}")
        return reply

    def _has_failed(self, place: str, failures: int) -> None:
        # One lost connection says nothing about the next one.
        wait = min(FIRST_WAIT * 2 ** min(failures - 1, 10), LONGEST_WAIT) if failures else 0.0
        if len(self._failures) > _MOST_PLACES:
            self._failures.clear()
        self._failures[place] = failures + 1, self._clock() + wait

    def _client(self, url: str) -> ServiceClient:
        if url not in self._clients:
            if len(self._clients) > _MOST_PLACES:
                self._clients.clear()
            self._clients[url] = ServiceClient(url, self._ca)
        return self._clients[url]


def _rules(settings: Oidc, keys: str, algorithms: tuple[Algorithm, ...], *, logout: bool) -> dict[str, Any]:
    """The plan of an authenticator `jwt` that verifies tokens of a provider."""
    required = ("iss", "aud", "iat", "exp", *(("jti", "events") if logout else ("sub",)))
    jwt = Jwt(
        name=settings.name,
        jwks=keys,
        algorithms=algorithms,
        issuer=(settings.issuer,),
        audience=(settings.client_id,),
        required_claims=required,
        leeway=settings.leeway,
        claims=ClaimNames(id=("sub", "sid") if logout else ("sub",), email=(), role=(), permissions=()),
        max_size=MOST_TOKEN,
    )
    return jwt.plan()


def document_of(reply: Reply, reason: str) -> dict[str, Any]:
    """Returns the JSON object of an answer. Raises ProviderError with this reason if it is none."""
    kind = reply.fields.get_content_type()
    if kind != "application/json" and not kind.endswith("+json"):
        raise ProviderError(reason, f"its type is {kind[:80]!r}, not JSON")
    try:
        return parsed(reply.body)
    except AnswerError as error:
        raise ProviderError(reason, str(error)) from None


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the header and the claims of a token that was verified."""
    header, claims, _ = token.split(".")
    return _part(header), _part(claims)


def _part(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return value
