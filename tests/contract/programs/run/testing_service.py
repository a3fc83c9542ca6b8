from pylae import Gateway
from pylae.testing import RunningGateway

gateway = Gateway(services={"orders": {"instances": ["http://127.0.0.1:9001"]}})
RunningGateway(gateway, {"ordrs": "http://127.0.0.1:9002"})
