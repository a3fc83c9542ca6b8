from pylae import Gateway
from pylae.settings import ApiKey

gateway = Gateway(auth={"api_key": ApiKey(consumers=None)})
