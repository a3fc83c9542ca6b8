"""A function that says who it is by a dict."""

from pylae import Gateway, Request

gateway = Gateway()


@gateway.authenticator("session")  # cannot be "Callable[[Request], dict[str, str]]"
# cannot be assigned to parameter
def session(request: Request) -> dict[str, str]:
    return {"id": request.headers["X-Session"]}
