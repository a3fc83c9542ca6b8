from pylae import Gateway
from pylae.settings import Cache

gateway = Gateway(policies={"cache": Cache(ttl="5 minutes")})
