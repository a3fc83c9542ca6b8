use proptest::prelude::*;

use super::*;

fn edit(rewrite: Option<&str>, strip: Option<&str>, params: &[&str]) -> Result<Option<PathEdit>, Vec<Problem>> {
    let params: Vec<Box<str>> = params.iter().map(|p| (*p).into()).collect();
    PathEdit::build(rewrite, strip, &params)
}

fn target(path: &str) -> Target {
    let mut target = Target::default();
    target.path.extend_from_slice(path.as_bytes());
    target
}

fn apply(edit: &PathEdit, target: &Target, params: &[&str]) -> String {
    let path = String::from_utf8(target.routing_path().to_vec()).unwrap();
    let span = |text: &&str| {
        let start = path.find(text).unwrap();
        Span::new(start, start + text.len())
    };
    let spans: Vec<Span> = params.iter().map(span).collect();
    let mut out = b"old".to_vec();
    edit.apply(target, &spans, &mut out);
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
        assert_eq!(apply(&edit, &target(path), &[]), wanted, "{prefix} off {path}");
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
        assert_eq!(apply(&edit, &target(path), params), wanted, "{template}");
    }
    let two = edit(Some("/{2}/{1}/{2}"), None, &["1", "2"]).unwrap().unwrap();
    assert_eq!(apply(&two, &target("/a/b"), &["a", "b"]), "/b/a/b");
}

#[test]
fn segments_that_are_replaced_lose_their_parameters() {
    let read = |path: &str| {
        let mut target = Target::default();
        target.read(path.as_bytes(), pylae_http::Method::Get).unwrap();
        target
    };
    for (prefix, path, wanted) in [
        ("/api", "/api;a/x;b/y", "/x;b/y"),
        ("/api", "/api;a", "/"),
        ("/api", "/api/;a", "/;a"),
        ("/api", "/apix;a/b", "/apix;a/b"),
        ("/api", "/x/api;a", "/x/api;a"),
        ("/a/b", "/a;x/b;y/c;z", "/c;z"),
        ("/", "/x;a", "/x;a"),
    ] {
        let edit = edit(None, Some(prefix), &[]).unwrap().unwrap();
        assert_eq!(apply(&edit, &read(path), &[]), wanted, "{prefix} off {path}");
    }
    for (template, path, captured, wanted) in [
        ("/v2/{x}", "/users;a/7;b", "7", "/v2/7;b"),
        ("/v2/{x}.json", "/users;a/7;b", "7", "/v2/7.json"),
        ("/v2/{x}/all", "/users;a/7;b", "7", "/v2/7/all"),
        ("/v2-{x}", "/users/7;b", "7", "/v2-7"),
        ("/v2/{x}", "/users/n7;b", "7", "/v2/7"),
        ("/v2/{x}", "/users/7n;b", "7", "/v2/7"),
        ("/v2{x}", "/users;a/7;b/c;d", "/7/c", "/v2/7;b/c;d"),
        ("/v2/{x}", "/users;a/7;b/c;d", "7/c", "/v2/7;b/c;d"),
        ("/v2/{x}", "/users;a/7;b/c;d", "7", "/v2/7"),
        ("{x}", "/users;a/7;b", "/7", "/7;b"),
        ("/fixed", "/users;a/7;b", "7", "/fixed"),
        ("/fixed;v=2/{x}", "/users;a/7;b", "7", "/fixed;v=2/7;b"),
    ] {
        let edit = edit(Some(template), None, &["x"]).unwrap().unwrap();
        assert_eq!(apply(&edit, &read(path), &[captured]), wanted, "{template} for {path}");
    }
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
        (None, Some("/x;v"), &[], "strip_prefix", "parameters of segments"),
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
        edit.apply(&target(&path), &[Span::new(cut.min(path.len()), path.len())], &mut out);
        let out = String::from_utf8(out).unwrap();
        prop_assert!(out.starts_with('/') && !out.contains("//"), "{}", out);
        prop_assert!(out.split('/').all(|segment| segment != "." && segment != ".."), "{}", out);
        prop_assert!(!template.starts_with("/data/") || out.starts_with("/data/"), "{}", out);
    }
}
