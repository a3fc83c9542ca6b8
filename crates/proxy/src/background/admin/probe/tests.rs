use super::*;

fn look(request: &str) -> Sighting {
    let hosts = Some(BTreeSet::from(["gate.example".to_owned()]));
    inspect(&mut RequestHead::default(), request.as_bytes(), &hosts, Some([192, 0, 2, 1].into()))
}

fn answered(line: &str, fields: &str) -> Option<String> {
    match look(&format!("{line}\r\n{fields}\r\n")) {
        Sighting::Probe(probe) => Some(probe.answer(&Liveness::default())),
        _ => None,
    }
}

const HOST: &str = "Host: localhost\r\n";

#[test]
fn probes_are_told_a_status_only() {
    for (line, body) in [
        ("GET /live HTTP/1.1", r#"{"status":"live"}"#),
        ("GET /ready HTTP/1.1", r#"{"status":"ready"}"#),
        ("GET /live?x=/status HTTP/1.0", r#"{"status":"live"}"#),
        ("HEAD /ready HTTP/1.1", ""),
    ] {
        let answer = answered(line, HOST).expect(line);
        let (head, rest) = answer.split_once("\r\n\r\n").expect(line);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: close") && head.contains("\r\ncontent-length: 1"), "{head}");
        assert_eq!(rest, body);
    }
    let answer = answered("POST /live HTTP/1.1", HOST).expect("a probe");
    assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && answer.contains("\r\nallow: GET, HEAD\r\n"));
}

#[test]
fn what_probes_are_told_follows_the_gateway() {
    let told = |path: &str, liveness: &Liveness| {
        let Sighting::Probe(probe) = look(&format!("GET {path} HTTP/1.1\r\n{HOST}\r\n")) else { panic!("no probe") };
        let answer = probe.answer(liveness);
        let body = answer.split("\r\n\r\n").nth(1).expect("a body").to_owned();
        (answer[9..12].to_owned(), body)
    };
    let liveness = Liveness::default();
    liveness.set_live(false);
    assert_eq!(told("/live", &liveness), ("503".into(), r#"{"status":"stuck"}"#.into()));
    assert_eq!(told("/ready", &liveness), ("503".into(), r#"{"status":"stuck"}"#.into()));
    liveness.set_live(true);
    assert_eq!(told("/live", &liveness), ("200".into(), r#"{"status":"live"}"#.into()));
    liveness.stop();
    assert_eq!(told("/ready", &liveness), ("503".into(), r#"{"status":"stopping"}"#.into()));
    assert_eq!(told("/live", &liveness), ("200".into(), r#"{"status":"live"}"#.into()));
}

#[test]
fn everything_else_is_for_python() {
    for line in [
        "GET /status HTTP/1.1",
        "GET /live/ HTTP/1.1",
        "GET //live HTTP/1.1",
        "GET /Live HTTP/1.1",
        "GET /%6cive HTTP/1.1",
        "GET http://localhost/live HTTP/1.1",
        "GET live HTTP/1.1",
        "GET /live HTTP/2.0",
        "GET  /live HTTP/1.1",
        "PRI * HTTP/2.0",
        "\u{16}\u{3}\u{1}",
    ] {
        assert!(matches!(look(&format!("{line}\r\n{HOST}\r\n")), Sighting::Other), "{line}");
    }
    for fields in [
        "",
        "Host: \r\n",
        "Host: evil.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: 192.0.2.2\r\n",
        "Host: [::2]\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nOrigin: http://localhost\r\n",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
        "Host: localhost\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: none\r\n",
    ] {
        assert_eq!(answered("GET /live HTTP/1.1", fields), None, "{fields}");
    }
    for host in ["LOCALHOST:1", "127.9.9.9:80", "[::1]:9901", "Gate.example", "gate.example.:1", "192.0.2.1"] {
        assert!(answered("GET /live HTTP/1.1", &format!("Host: {host}\r\n")).is_some(), "{host}");
    }
    assert!(answered("GET /live HTTP/1.1", "Host: localhost\r\nSec-Fetch-Site: none\r\n").is_some());
}

#[test]
fn a_request_is_told_as_soon_as_it_can_be() {
    let whole = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut head = RequestHead::default();
    for end in 0..whole.len() {
        let verdict = inspect(&mut head, &whole.as_bytes()[..end], &None, None);
        assert!(matches!(verdict, Sighting::More), "{end}");
    }
    let behind = format!("{whole}GET /ready");
    let Sighting::Probe(probe) = inspect(&mut head, behind.as_bytes(), &None, None) else { panic!("no probe") };
    assert_eq!(probe.len, whole.len());
    assert!(matches!(look("GET /lives "), Sighting::Other));
    let large = format!("GET /live HTTP/1.1\r\nX: {}", "x".repeat(HEAD));
    assert!(matches!(look(&large[..HEAD - 1]), Sighting::More));
    assert!(matches!(look(&large[..HEAD]), Sighting::Other));
}
