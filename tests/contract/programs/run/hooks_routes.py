from pylae import Gateway

gateway = Gateway()


@gateway.on_request(routes=5)
def check(request): ...
