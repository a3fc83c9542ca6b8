from pylae.testing import RunningGateway

gateway = RunningGateway({"routs": []})
