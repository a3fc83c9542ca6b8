"""The walk itself: a page that is wrong fails, and says where, what, and how to mark what cannot stand alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.pages.blocks import WrongBlockError, blocks
from support.pages.sandbox import Sandbox, shape
from support.pages.walk import Walk

WHOLE = """\
services: {a: {instances: ["http://127.0.0.1:9001"]}}
routes: [{name: a, prefix: /, service: a, auth_required: false}]
"""
WRONG = {
    "part of a configuration": ("yaml", "cors: '*'\n", "is no whole configuration, and has no mark. <!-- fragment -->"),
    "key that there is not": ("yaml", WHOLE.replace("prefix", "prefx"), "did you mean `prefix`"),
    "warning": ("yaml", WHOLE.replace("- ", "").replace("/,", "/a,") + "user: root\nstat: a\n", "unknown key `stat`"),
    "fragment with a mistake": ("yaml", "<!-- fragment -->routes: [{prefx: /}]\n", "did you mean `prefix`"),
    "name that nothing gives": ("python", "print(undefined)\n", "name 'undefined' is not defined; it does not stand"),
    "test that fails": ("python", "def test_sum():\n    assert 1 + 1 == 3\n", "1 failed"),
    "nothing to continue": ("python", "<!-- continues -->print(1)\n", "no program before it"),
    "gateway with a mistake": (
        "python",
        "from pylae import Gateway\ngateway = Gateway(routs=[])\ngateway.run()\n",
        "routs",
    ),
    "command that fails": ("console", "$ pylae check\n", "failed with"),
    "output that is another": ("console", "$ pylae --version\nsomething else\n", "did not say 'something else'"),
    "no prompt": ("console", "pylae check\n", "begins with a prompt"),
    "root's prompt": ("console", "# pylae check\n", "mark the block with <!-- fragment -->"),
    "command of the machine": ("console", "$ pylae check; rm -r /nowhere\n", "calls rm"),
    "command within a command": ("sh", "cat $(touch file)\n", "calls touch"),
    "address elsewhere": ("console", "$ curl https://example.org/\n", "asks https://example.org/"),
    "verb that there is not": ("console", "<!-- fragment -->$ pylae chck\n", "`pylae` has no verb `chck`"),
    "option that there is not": ("console", "<!-- fragment -->$ pylae run --prt 1\n", "`pylae run` has no option"),
    "target that there is not": ("console", "<!-- fragment -->$ make tst\n", "has no target tst"),
    "quote that is not closed": ("console", "<!-- fragment -->$ pylae token --user 'a\n", "unexpected EOF"),
    "bad JSON": ("json", "{'a': 1}\n", "Expecting property name"),
    "language that nobody knows": ("perl", "print 1\n", "nobody knows how to run or check perl"),
    "mark that there is not": ("yaml", f"<!-- part -->{WHOLE}", "no mark is called part. <!-- fragment -->"),
}


def page(folder: Path, language: str, text: str) -> Path:
    """A page with one block, and the mark that its text begins with."""
    mark, arrow, rest = text.partition("-->")
    marked = f"{mark}-->\n```{language}\n{rest}" if arrow else f"```{language}\n{text}"
    file = folder / "page.md"
    file.write_text(f"# A page\n\nText.\n\n{marked}```\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("language, text, words", WRONG.values(), ids=WRONG)
def test_a_wrong_block(tmp_path: Path, language: str, text: str, words: str) -> None:
    written = page(tmp_path, language, text)
    with pytest.raises(Exception) as caught, Sandbox(tmp_path) as sandbox:
        Walk(written, sandbox).run()
    said = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert words in said
    assert "page.md" in said


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("yaml", WHOLE),
        ("yaml", "<!-- fragment -->cors: '*'\n"),
        ("yaml", "<!-- foreign: Prometheus -->scrape_configs: []\n"),
        ("python", "print(1)\n"),
        ("console", "$ pylae new gateway shop   # with a comment\nWrote shop/pylae.yaml\n$ cd shop\n$ pylae check\n"),
        ("console", "<!-- fragment -->$ rm -r /nowhere\n"),
        ("text", "anything\n"),
    ],
)
def test_a_right_block(tmp_path: Path, language: str, text: str) -> None:
    with Sandbox(tmp_path) as sandbox:
        Walk(page(tmp_path, language, text), sandbox).run()


def test_fences_that_do_not_close(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("```yaml\na: 1\n", encoding="utf-8")
    with pytest.raises(WrongBlockError, match=r"page\.md: 1 fences are not 0 blocks"):
        blocks(tmp_path / "page.md")


def test_shapes() -> None:
    line = "10:41:22  the token is in /home/you/token of 3 (api)"
    assert re.search(shape(line), "x\n09:00:00  the token  is in /root/t of 44 (api)\ny")
    assert not re.search(shape(line), "09:00:00  the secret is in /root/t of 44 (api)")
