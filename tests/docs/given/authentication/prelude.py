from pylae import Gateway

gateway = Gateway(auth={"jwt": {"secret": "s" * 40}})
