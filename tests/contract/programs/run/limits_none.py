from pylae import Gateway
from pylae.settings import Limits

gateway = Gateway(limits=Limits(max_body=None))
