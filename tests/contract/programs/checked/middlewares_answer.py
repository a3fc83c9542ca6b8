"""A middleware that answers with what is no answer."""

from pylae import Gateway, Request
from pylae.hooks import CallNext

gateway = Gateway()


async def refuse(request: Request, call_next: CallNext) -> dict[str, str]:
    return {"error": "no"}


gateway.add_middleware(refuse)  # Argument 1 to "add_middleware" of "Gateway" has incompatible type
# cannot be assigned to parameter "function"
