//! Runs the checks of the fuzz targets `jwt`, `dpop` and `session` on their corpora, and on each file with one byte
//! changed.

#[path = "../../../fuzz/src/dpop.rs"]
mod dpop;
#[path = "../../../fuzz/src/jwt.rs"]
mod jwt;
#[path = "../../../fuzz/src/session.rs"]
mod session;

use std::fs;
use std::io;
use std::path::Path;

#[test]
fn tokens() -> io::Result<()> {
    run("jwt", b"\n.=\"{}[]:,-0e\x7fA", jwt::check)
}

#[test]
fn proofs() -> io::Result<()> {
    run("dpop", b"\n\"}0", dpop::check)
}

#[test]
fn sessions() -> io::Result<()> {
    run("session", b"\n.=\"{}[]:,-0e\x7fA", session::check)
}

/// Checks every file of the corpus, and what it becomes with one of its first 200 bytes changed, or cut off there.
fn run(corpus: &str, bytes: &[u8], check: fn(&[u8])) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
    let files = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    assert!(files.len() >= 12, "{} files", files.len());
    for file in files {
        let seed = fs::read(&file)?;
        check(&seed);
        for place in 0..seed.len().min(200) {
            for byte in bytes {
                let mut changed = seed.clone();
                changed[place] = *byte;
                check(&changed);
            }
            check(&seed[..place]);
        }
    }
    Ok(())
}
