from pylae import Plugin
from pylae.settings import Settings


class Audit(Plugin):
    def on_response(self, request, response): ...


class Signing(Plugin):
    class Settings(Settings):
        secret: str

    def on_request(self, request): ...
