from fastapi import FastAPI

from pylae.primitives import TokenBucket
from pylae.testing import FakeService, Reply

pylae_service = FakeService
app = FastAPI()


@app.get("/api/orders/{number}")
def order(number: int) -> dict[str, int]:
    return {"id": number}
