"""A request hook that wants a response, which there is not yet."""

from pylae import Gateway, Request, Response

gateway = Gateway()


@gateway.on_request(routes="users")  # Value of type variable "OnRequest" of function cannot be
def check(request: Request, response: Response) -> None: ...


# cannot be assigned to parameter of type "OnRequest@on_request"
