from pylae import Gateway

gateway = Gateway()


@gateway.authenticator("session", cache="1m")
def session(request):
    return None
