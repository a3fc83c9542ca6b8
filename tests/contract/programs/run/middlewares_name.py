from pylae import Gateway

gateway = Gateway()


@gateway.middleware("http")
async def brand(request, call_next):
    return await call_next(request)
