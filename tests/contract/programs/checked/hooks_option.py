"""A misspelt option of a hook."""

from pylae import Gateway, Request

gateway = Gateway()


@gateway.on_request(timout="1s")  # Unexpected keyword argument "timout" for overloaded function "on_request"
def check(request: Request) -> None: ...


# No overloads for "on_request" match
