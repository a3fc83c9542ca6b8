use proptest::prelude::*;

use super::*;

fn edit(rewrite: Option<&str>, strip: Option<&str>, params: &[&str]) -> Result<Option<PathEdit>, Vec<Problem>> {
    let params: Vec<Box<str>> = params.iter().map(|p| (*p).into()).collect();
    PathEdit::build(rewrite, strip, &params)
}

fn apply(edit: &PathEdit, path: &str, params: &[&str]) -> String {
    let span = |text: &&str| {
        let start = path.find(text).unwrap();
        Span::new(start, start + text.len())
    };
    let spans: Vec<Span> = params.iter().map(span).collect();
    let mut out = b"old".to_vec();
    edit.apply(path.as_bytes(), &spans, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn nothing_to_do() {
    assert_eq!(edit(None, None, &[]), Ok(None));
}

#[test]
fn strip_prefix() {
    for (prefix, path, wanted) in [
        ("/api", "/api/x", "/x"),
        ("/api", "/api", "/"),
        ("/api", "/api/", "/"),
        ("/api", "/apix", "/apix"),
        ("/api", "/x/api", "/x/api"),
        ("/api/", "/api/x/", "/x/"),
        ("/api/", "/apix", "/apix"),
        ("/", "/x", "/x"),
        ("/a/b", "/a/b/c", "/c"),
    ] {
        let edit = edit(None, Some(prefix), &[]).unwrap().unwrap();
        assert_eq!(apply(&edit, path, &[]), wanted, "{prefix} off {path}");
    }
}

#[test]
fn rewrite() {
    for (template, path, params, wanted) in [
        ("/v2/{id}", "/users/7", &["7"][..], "/v2/7"),
        ("/v2/{id}.json", "/users/7", &["7"], "/v2/7.json"),
        ("/fixed", "/users/7", &["7"], "/fixed"),
        ("{id}", "/users/7", &["7"], "/7"),
        ("/v2{id}", "/users/7", &["/7"], "/v2/7"),
        ("/v2/{id}", "/users/7", &["/7"], "/v2/7"),
        ("/v2/{id}", "/users/", &[""], "/v2/"),
        ("/v2/{id}/x", "/users/", &[""], "/v2/x"),
        ("/data/{id}", "/x../secret", &["../secret"], "/data/secret"),
        ("/data/.{id}", "/x./.", &["."], "/data/"),
        ("/data/{id}", "/x..", &[".."], "/data/"),
        ("/data/{id}", "/x.well/.known", &[".well/.known"], "/data/.well/.known"),
    ] {
        let edit = edit(Some(template), None, &["id"]).unwrap().unwrap();
        assert_eq!(apply(&edit, path, params), wanted, "{template}");
    }
    let two = edit(Some("/{2}/{1}/{2}"), None, &["1", "2"]).unwrap().unwrap();
    assert_eq!(apply(&two, "/a/b", &["a", "b"]), "/b/a/b");
}

#[test]
fn mistakes() {
    for (rewrite, strip, params, path, text) in [
        (Some("/{nme}"), None, &["name", "id"][..], "rewrite", "there are `{name}`, `{id}`"),
        (Some("/{x}"), None, &[], "rewrite", "captures nothing"),
        (Some("/{x"), None, &["x"], "rewrite", "`{` without `}`"),
        (Some("/x}"), None, &["x"], "rewrite", "`}` without `{`"),
        (Some("/x}/{x}"), None, &["x"], "rewrite", "`}` without `{`"),
        (Some("x"), None, &[], "rewrite", "starts with `/`"),
        (Some("/a?b"), None, &[], "rewrite", "not part of a path"),
        (Some("/%{x}"), None, &["x"], "rewrite", "hexadecimal"),
        (None, Some("x"), &[], "strip_prefix", "does not start with `/`"),
        (Some("/a"), Some("/b"), &[], "rewrite", "keep one"),
    ] {
        let problems = edit(rewrite, strip, params).unwrap_err();
        assert_eq!(problems[0].path, path);
        assert!(problems[0].message.contains(text), "{}", problems[0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_parameter_leads_out_of_the_template(
        template in "(/data/|/data|/d\\.|)\\{x\\}(/y|/|\\.|)",
        path in "[/.a]{0,12}",
        cut in 0usize..12,
    ) {
        let edit = edit(Some(&template), None, &["x"]).unwrap().unwrap();
        let mut out = Vec::new();
        edit.apply(path.as_bytes(), &[Span::new(cut.min(path.len()), path.len())], &mut out);
        let out = String::from_utf8(out).unwrap();
        prop_assert!(out.starts_with('/') && !out.contains("//"), "{}", out);
        prop_assert!(out.split('/').all(|segment| segment != "." && segment != ".."), "{}", out);
        prop_assert!(!template.starts_with("/data/") || out.starts_with("/data/"), "{}", out);
    }
}
