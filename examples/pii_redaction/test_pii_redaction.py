from __future__ import annotations

from pathlib import Path

from pylae.testing import Reply

FILE = Path(__file__).parent / "pylae.yaml"
PERSON = {
    "name": "Ada",
    "SSN": "078-05-1120",
    "notes": ["write to ada.l@example.org soon", {"phone": ["1", "2"]}],
    "paid_with": "4111 1111 1111 1111",
    "order": "4111111111111112",
    "age": 36,
}


def test_personal_data_stays_inside(pylae_gateway, pylae_service):
    people = pylae_service(Reply.json(PERSON, headers={"ETag": '"1"', "X-Kept": "yes"}))
    response = pylae_gateway(FILE, people=people).get("/people/1", user="7")
    assert response.json() == {
        "name": "Ada",
        "SSN": "***",
        "notes": ["write to *** soon", {"phone": "***"}],
        "paid_with": "***",
        "order": "4111111111111112",
        "age": 36,
    }
    assert "ETag" not in response.headers
    assert response.headers["X-Kept"] == "yes"
    assert int(response.headers["Content-Length"]) == len(response.body)


def test_administrators_see_everything(pylae_gateway, pylae_service):
    gateway = pylae_gateway(FILE, people=pylae_service(PERSON))
    assert gateway.get("/people/1", user={"id": "1", "role": "admin"}).json() == PERSON


def test_the_rest_passes_as_it_is(pylae_gateway, pylae_service):
    people = pylae_service()
    gateway = pylae_gateway(FILE, people=people)
    for reply in (
        Reply(body="ada@example.org"),
        Reply(headers={"Content-Type": "application/json"}, body="{broken ada@example.org"),
        Reply.json({"name": "Ada"}, headers={"ETag": '"1"'}),
    ):
        people.answer = reply
        response = gateway.get("/people/1", user="7")
        assert response.body == (reply.body.encode() if isinstance(reply.body, str) else reply.body)
    assert response.headers["ETag"] == '"1"'


def test_what_is_too_large_to_look_at_is_not_sent(pylae_gateway, pylae_service):
    people = pylae_service(["ada@example.org " * 100_000])
    assert pylae_gateway(FILE, people=people).get("/people", user="7").status >= 500
