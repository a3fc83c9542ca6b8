from pylae import Gateway

gateway = Gateway()


@gateway.on_request
def check(request, response): ...
