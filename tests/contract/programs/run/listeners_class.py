from pylae import Gateway
from pylae.settings import Listener

gateway = Gateway(listeners=[Listener])
