from pylae import Gateway, Route

gateway = Gateway()
gateway.add_route(Route(path="/users", service="users", rate_limit="10 per fortnight"))
