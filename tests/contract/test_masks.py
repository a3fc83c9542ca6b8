"""What access logs never show `explain` never shows either."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from pylae.cli import main
from pylae.cli.shown import ALWAYS_HIDDEN

SOURCE = Path(__file__).parents[2] / "crates" / "policies" / "src" / "access_log.rs"


def test_both_sides_hide_the_same() -> None:
    listed = re.search(r"const ALWAYS_MASKED: &\[&str\] = &\[(.*?)\];", SOURCE.read_text(encoding="utf-8"), re.DOTALL)
    assert listed
    assert set(re.findall(r'"([^"]+)"', listed[1])) == ALWAYS_HIDDEN


def test_an_explanation_shows_no_more_than_the_logs(tmp_path: Path) -> None:
    file = tmp_path / "pylae.yaml"
    file.write_text(
        "policies: {access_log: {mask: [Pin]}}\n"
        "routes: [{path: /, service_url: 'http://a', auth_required: false, access_log: {mask: [X-Tenant-Key]}}]\n"
    )
    headers = ["-H", "X-Tenant-Key: s3cret", "-H", "Cookie: a=s3cret"]
    target = "/?pin=s3cret&Token=s3cret&a=1"
    for form in ([], ["--json"]):
        result = CliRunner().invoke(main, ["explain", str(file), "GET", target, *headers, *form])
        assert result.exit_code == 0, result.output
        assert "s3cret" not in result.output
    assert json.loads(result.output)["request"]["target"] == "/?pin=…&Token=…&a=1"
