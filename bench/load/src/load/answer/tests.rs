use super::*;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nX-Served-By: pylae\r\nContent-Length: 5\r\n\r\nhello";

fn expected() -> Expected {
    Expected { status: 200, body: b"hello".to_vec(), headers: vec![Required::parse("x-served-by: pylae")], bare: false }
}

fn check(bytes: &[u8]) -> Result<Progress, String> {
    Answer::default().feed(bytes, &expected())
}

#[test]
fn good_answer_split_anywhere() {
    for cut in 1..GOOD.len() {
        let mut answer = Answer::default();
        for _ in 0..2 {
            assert_eq!(answer.feed(&GOOD[..cut], &expected()), Ok(Progress::More));
            assert!(!answer.is_empty());
            assert_eq!(answer.feed(&GOOD[cut..], &expected()), Ok(Progress::Done { close: false }));
            assert!(answer.is_empty());
        }
    }
}

#[test]
fn close_is_noticed() {
    let answer = b"HTTP/1.1 200 OK\r\nX-Served-By: pylae\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(check(answer), Ok(Progress::Done { close: true }));
}

#[test]
fn wrong_answers() {
    let wrong = [
        ("HTTP/1.1 502 Bad\r\nX-Served-By: pylae\r\nContent-Length: 5\r\n\r\nhello", "status line"),
        ("HTTP/1.1 200 OK\r\nX-Served-By: pylae\r\nContent-Length: 5\r\n\r\nhellO", "from byte 4"),
        ("HTTP/1.1 200 OK\r\nX-Served-By: pylae\r\nContent-Length: 4\r\n\r\nhell", "content-length"),
        ("HTTP/1.1 200 OK\r\nX-Served-By: pylae\r\n\r\nhello", "content-length"),
        ("HTTP/1.1 200 OK\r\nX-Served-By: pylae\r\nContent-Length: 5\r\n\r\nhello!", "1 bytes more"),
        ("HTTP/1.1 200 OK\r\nX-Served-By: pylae\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked"),
        ("HTTP/1.1 200 OK\r\nX-Served-By: other\r\nContent-Length: 5\r\n\r\nhello", "required header"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "required header"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "two content-length"),
    ];
    for (answer, why) in wrong {
        let message = check(answer.as_bytes()).expect_err(answer);
        assert!(message.contains(why), "{answer:?}: {message}");
    }
}
