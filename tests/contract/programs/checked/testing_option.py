"""A misspelt option of a request."""

from pylae.testing import StartGateway


def test_users(pylae_gateway: StartGateway) -> None:
    assert pylae_gateway("gateway.yaml").post("/users", jsn={"name": "ada"}).status == 201  # argument "jsn" for "post"
    # No parameter named "jsn"
