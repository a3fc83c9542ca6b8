from pydantic import SecretStr

from pylae import Gateway, Request

gateway = Gateway()


def sign(secret: SecretStr, request: Request) -> str:
    return str(hash((secret, request.path)))
