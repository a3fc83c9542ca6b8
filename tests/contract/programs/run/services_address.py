from pylae import Gateway, Service

gateway = Gateway(services={"users": Service(instances=["127.0.0.1:9001"])})
