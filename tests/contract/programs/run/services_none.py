from pylae import Gateway

gateway = Gateway()
gateway.add_service("users", None)
