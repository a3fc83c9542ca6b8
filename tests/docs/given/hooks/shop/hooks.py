def check(request): ...


def brand(request, response): ...


async def timing(request, call_next):
    return await call_next(request)
