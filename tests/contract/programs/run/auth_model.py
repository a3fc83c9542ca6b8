from pylae import Gateway
from pylae.settings import Jwt

gateway = Gateway(auth=Jwt(secret="s" * 40))
