from pylae import Gateway

gateway = Gateway()
gateway.add_middleware(None)
