from pylae import Gateway
from pylae.settings import Cache

gateway = Gateway()
gateway.add_route(path="/users", service="users", cache=Cache)
