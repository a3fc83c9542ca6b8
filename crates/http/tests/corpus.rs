//! Runs the corpora of the fuzz targets, also with one byte changed, through the checks of the fuzz targets.

#[path = "../../../fuzz/src/http.rs"]
mod http;
#[path = "../../../fuzz/src/http2.rs"]
mod http2;
#[path = "../../../fuzz/src/websocket.rs"]
mod websocket;

use std::fs;
use std::io;
use std::path::Path;

fn run(target: &str, check: fn(&[u8])) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    assert!(files.len() >= 12, "{target}: {} files", files.len());
    for file in files {
        let seed = fs::read(&file)?;
        check(&seed);
        for place in 0..seed.len().min(600) {
            for byte in *b"\r\n \t:,;%/.-_\0\x7f\xff5aA" {
                let mut changed = seed.clone();
                changed[place] = byte;
                check(&changed);
            }
            check(&seed[..place]);
            check(&[&seed[..place], &seed[place + 1..]].concat());
        }
    }
    Ok(())
}

#[test]
fn heads() -> io::Result<()> {
    run("head", http::head)
}

#[test]
fn chunked_bodies() -> io::Result<()> {
    run("chunked", http::chunked)
}

#[test]
fn targets() -> io::Result<()> {
    run("target", http::target)
}

#[test]
fn websocket_frames() -> io::Result<()> {
    run("websocket", websocket::frames)
}

#[test]
fn blocks_of_fields() -> io::Result<()> {
    run("hpack", http2::hpack)
}

#[test]
fn http2_frames() -> io::Result<()> {
    run("http2_frames", http2::frames)
}

#[test]
fn http2_connections() -> io::Result<()> {
    run("http2_connection", http2::connection)
}
