//! Runs the checks of the fuzz target `jwt` on its corpus, and on each file with one byte changed.

#[path = "../../../fuzz/src/jwt.rs"]
mod jwt;

use std::fs;
use std::io;
use std::path::Path;

#[test]
fn tokens() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/jwt");
    let files = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    assert!(files.len() >= 12, "{} files", files.len());
    for file in files {
        let seed = fs::read(&file)?;
        jwt::check(&seed);
        for place in 0..seed.len().min(200) {
            for byte in *b"\n.=\"{}[]:,-0e\x7fA" {
                let mut changed = seed.clone();
                changed[place] = byte;
                jwt::check(&changed);
            }
            jwt::check(&seed[..place]);
        }
    }
    Ok(())
}
