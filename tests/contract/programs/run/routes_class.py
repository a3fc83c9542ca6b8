from pylae import Gateway, Route

gateway = Gateway()
gateway.add_route(Route)
