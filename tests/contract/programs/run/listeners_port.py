from pylae import Gateway

gateway = Gateway(listeners=8080)
