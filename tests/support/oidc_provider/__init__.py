"""A real OpenID provider for tests: npm's certified `oidc-provider`, behind a front that can lie for it.

Nothing is on the network but loopback. `OidcProvider` is all that most tests need:

    with OidcProvider() as provider:
        running = gateway({"auth": {"oidc": provider.settings()}, …})
        provider.register(running.url)
        with provider.browser() as browser:
            answer = provider.login(browser, f"{running.url}/orders?page=2")
"""

from support.oidc_provider.browser import Login, follow
from support.oidc_provider.front import Answer, Call
from support.oidc_provider.keys import Keys, decoded
from support.oidc_provider.provider import CLIENT, SECRET, OidcProvider

__all__ = ["CLIENT", "SECRET", "Answer", "Call", "Keys", "Login", "OidcProvider", "decoded", "follow"]
