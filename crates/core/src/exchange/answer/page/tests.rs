use std::time::Duration;

use proptest::prelude::*;
use pylae_http::HeadLimits;
use serde_json::{Value, json};

use super::*;
use crate::exchange::Exchange;
use crate::exchange::answer::to_halt;
use crate::exchange::halt::{Halt, Rejection};
use crate::plan::ErrorPage;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";

const VALUES: [PageValue; 7] = [
    PageValue::Status,
    PageValue::Title,
    PageValue::Detail,
    PageValue::Code,
    PageValue::Path,
    PageValue::RequestId,
    PageValue::Timestamp,
];

fn text(text: &str) -> PagePart {
    PagePart::Text(text.to_owned())
}

fn pages(document: Value) -> ErrorPages {
    serde_json::from_value(document).unwrap()
}

fn both() -> ErrorPages {
    pages(json!({"404": {"html": [{"text": "h"}], "json": [{"text": "1"}]}}))
}

fn choice(pages: &ErrorPages, accept: &[&str]) -> ErrorFormat {
    FoundPages::of(404, &[pages]).choose(accept.iter().map(|line| line.as_bytes()))
}

#[test]
fn browsers_get_html_and_programs_get_json() {
    use ErrorFormat::{Html, Json, Text};
    let table: &[(&[&str], ErrorFormat)] = &[
        (&[], Json),
        (&[""], Json),
        (&["*/*"], Json),
        (&[BROWSER], Html),
        (&["text/html, */*"], Html),
        (&["text/html"], Html),
        (&["text/*"], Html),
        (&["TEXT/HTML;charset=utf-8"], Html),
        (&["text/html;q=0.3, application/json;q=0.2"], Html),
        (&["text/html;q=0.2, application/json;q=0.3"], Json),
        (&["text/html, application/json"], Json),
        (&["application/json, text/plain, */*"], Json),
        (&["application/problem+json"], Json),
        (&["application/*"], Json),
        (&["text/html;q=0"], Json),
        (&["*/*;q=0.1", "text/html;q=0.2"], Html),
        (&["*/*, text/html;q=0.5"], Json),
        (&["image/*"], Json),
        (&["text/plain"], Text),
        (&["text/plain, text/html;q=0.1"], Html),
        (&["text/html;q=oops"], Json),
    ];
    for (accept, format) in table {
        assert_eq!(choice(&both(), accept), *format, "{accept:?}");
    }
}

#[test]
fn without_a_page_of_html_json_goes_before_it() {
    use ErrorFormat::{Html, Json, Text};
    for pages in [ErrorPages::default(), pages(json!({"4xx": {"html": null, "json": []}}))] {
        for (accept, format) in [
            (BROWSER, Json),
            ("text/html, application/json;q=0.1", Json),
            ("text/html", Html),
            ("text/plain", Text),
            ("text/html;q=0.1, text/plain", Text),
            ("text/*", Html),
            ("image/png", Json),
        ] {
            assert_eq!(choice(&pages, &[accept]), format, "{accept}");
        }
    }
}

#[test]
fn each_format_has_the_most_precise_page_of_the_first_layer() {
    let route = pages(json!({"4xx": {"html": [{"text": "route 4xx"}], "json": null}}));
    let gateway = pages(json!({
        "404": {"html": [{"text": "404"}], "json": null},
        "4xx": {"html": null, "json": [{"text": "4xx"}]},
        "default": {"html": [{"text": "default"}], "json": [{"text": "default"}]},
    }));
    let found = |status, layers: &[&ErrorPages]| {
        let FoundPages { html, json } = FoundPages::of(status, layers);
        [html, json].map(|page| page.map(|(key, template)| (key.to_string(), template.clone())))
    };
    let page = |key: &str, content: &str| Some((key.to_owned(), vec![text(content)]));
    assert_eq!(found(404, &[&gateway]), [page("404", "404"), page("4xx", "4xx")]);
    assert_eq!(found(410, &[&gateway]), [page("default", "default"), page("4xx", "4xx")]);
    assert_eq!(found(503, &[&gateway]), [page("default", "default"), page("default", "default")]);
    assert_eq!(found(404, &[&route, &gateway]), [page("4xx", "route 4xx"), page("4xx", "4xx")]);
    assert_eq!(found(503, &[&route]), [None, None]);
}

#[test]
fn fields_of_the_cause_stay() {
    let rejection = Rejection {
        status: 404,
        code: "gone_fishing",
        message: "no <fish> & \"chips\"".into(),
        headers: vec![("Retry-After".into(), "7".to_owned())],
    };
    let template = [PageValue::Status, PageValue::Title, PageValue::Detail, PageValue::Code].map(PagePart::Value);
    let page = ErrorPage { html: Some(template.to_vec()), json: None };
    let pages = pages(json!({"default": page}));
    let mut exchange = Exchange::new(100);
    let head = b"GET / HTTP/1.1\r\nAccept: text/html\r\n\r\n";
    exchange.request.buffer.extend_from_slice(head);
    let limits = HeadLimits { head: 1024, target: 256, fields: 16 };
    assert_eq!(exchange.request.head.parse(head, &limits), Ok(true));
    let halt = Halt::Rejected(Box::new(rejection));
    let answer = to_halt(&halt, &exchange, Duration::ZERO, FoundPages::of(404, &[&pages]));
    assert_eq!(&*answer.body, b"404Not Foundno &lt;fish&gt; &amp; &quot;chips&quot;gone_fishing");
    let fields: Vec<_> = answer.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(
        fields,
        [("Retry-After", &b"7"[..]), ("Content-Type", b"text/html; charset=utf-8"), ("Cache-Control", b"no-store"),]
    );
}

#[test]
fn long_values_are_cut_off() {
    let long = "ä".repeat(100_000);
    let template = vec![PagePart::Value(PageValue::Path), PagePart::Value(PageValue::Detail)];
    let values = PageValues { path: long.as_bytes(), detail: &long, ..fixed() };
    let page = fill(&template, ErrorFormat::Json, &values);
    assert_eq!(page, format!("{0}…{0}…", "ä".repeat(MAX_VALUE / 2)));
    let short = PageValues { path: b"/short", detail: "", ..fixed() };
    assert_eq!(fill(&template, ErrorFormat::Html, &short), "/short");
}

fn fixed() -> PageValues<'static> {
    PageValues { status: 404, detail: "", code: "", path: b"", request_id: b"", timestamp: "" }
}

/// A template with every value between marks, and what is between the marks once it is filled in.
fn between_marks(format: ErrorFormat, values: &PageValues<'_>) -> Vec<String> {
    let template: PageTemplate = VALUES.iter().flat_map(|value| [PagePart::Value(*value), text("\0")]).collect();
    let filled = fill(&template, format, values);
    filled.split_terminator('\0').map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn no_value_leaves_its_place_in_html(detail in any::<String>(), path in any::<Vec<u8>>(), id in any::<Vec<u8>>()) {
        let values = PageValues { detail: &detail, path: &path, request_id: &id, ..fixed() };
        let filled = between_marks(ErrorFormat::Html, &values);
        prop_assert_eq!(filled.len(), VALUES.len());
        for part in filled {
            prop_assert!(!part.contains(['<', '>', '"', '\'']), "{}", part);
            let entity = |rest: &str| ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|name| rest.starts_with(name));
            prop_assert!(part.split('&').skip(1).all(entity), "{}", part);
            prop_assert!(!part.chars().any(|letter| letter.is_control() && !"\t\n".contains(letter)));
        }
    }

    #[test]
    fn json_keeps_its_members(detail in any::<String>(), path in any::<Vec<u8>>(), code in "[\"\\\\\u{0}-\u{1f}/{},:]*") {
        let values = PageValues { detail: &detail, path: &path, code: &code, ..fixed() };
        let mut template = vec![text("{\"status\": "), PagePart::Value(PageValue::Status)];
        for (index, value) in VALUES.iter().enumerate() {
            template.extend([text(&format!(", \"{index}\": \"[")), PagePart::Value(*value), text("]\"")]);
        }
        template.push(text("}"));
        let filled: Value = serde_json::from_str(&fill(&template, ErrorFormat::Json, &values)).unwrap();
        let members = filled.as_object().unwrap();
        prop_assert_eq!(members.len(), VALUES.len() + 1);
        prop_assert_eq!(&members["status"], 404);
        prop_assert_eq!(&members["2"], &format!("[{detail}]"));
        prop_assert_eq!(&members["3"], &format!("[{code}]"));
        prop_assert_eq!(&members["4"], &format!("[{}]", String::from_utf8_lossy(&path)));
    }
}
