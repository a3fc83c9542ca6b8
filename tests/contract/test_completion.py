"""What an editor shows while a program is written: keywords, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.editor import Editor

FOLDER = Path(__file__).parent / "programs"

pytestmark = pytest.mark.timeout(300)  # the first one waits for the language server, which reads the whole package


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with Editor(FOLDER) as editor:
        yield editor


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("from pylae import Route\nRoute(path='/', retr|", "retry_count="),
        ("from pylae import Gateway\nGateway(trust|", "trusted_proxies="),
        ("from pylae import Gateway\nGateway().add_route(rate_l|", "rate_limit="),
        ("from pylae import Gateway\nGateway().add_service('a', load_b|", "load_balancer="),
        ("from pylae import Gateway\n@Gateway().on_request(on_e|", "on_error="),
        ("from pylae.settings import RateLimit\nRateLimit(algo|", "algorithm="),
        ("from pylae.settings import Jwt\nJwt(aud|", "audience="),
    ],
)
def test_keywords_are_completed(editor: Editor, text: str, keyword: str) -> None:
    assert keyword in {item["label"] for item in editor.at(text, "completion")["items"]}


@pytest.mark.parametrize(
    ("text", "doc"),
    [
        ("from pylae import Route\nRoute(path='/', time|out=5)", "Time that an instance may take for each attempt"),
        ("from pylae import Gateway\nGateway(trusted_|proxies=[])", "fields the gateway believes"),
        (
            "from pylae import Gateway\nGateway().add_route(rate_|limit=5)",
            "Limits the requests of a client, after authentication.",
        ),
        ("from pylae.settings import Cors\nCors(max_|age=5)", "How long a browser may cache"),
        ("from pylae import Route\nRoute(path='/', cache={'tt|l': 5})", "How long a response is fresh"),
        ("from pylae import Gateway\nGateway().add_middleware(print, time|out=5)", "Longest time of one call"),
    ],
)
def test_what_a_keyword_means_is_shown(editor: Editor, text: str, doc: str) -> None:
    assert doc in " ".join(str(editor.at(text, "hover")).split())
