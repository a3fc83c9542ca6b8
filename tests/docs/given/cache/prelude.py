from pylae.testing import FakeService, RunningGateway

service = FakeService()
running = RunningGateway({"policies": {"cache": True}}, {"shop": service})
gateway = running.gateway
