//! The corpus of the fuzz target `plan`, and what it holds with one byte changed, through the checks of the target.

#[path = "../../../fuzz/src/plan.rs"]
mod plan;

use std::fs;
use std::io;
use std::path::Path;

/// Not every position: each change that is still a plan is compiled.
const STEP: usize = 2;

#[test]
fn plans() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/plan");
    let files = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    assert!(files.len() >= 12, "{} files", files.len());
    for file in files {
        let seed = fs::read(&file)?;
        assert!(serde_json::from_slice::<pylae_core::Plan>(&seed).is_ok(), "{} is no plan", file.display());
        plan::check(&seed);
        for place in (0..seed.len()).step_by(STEP) {
            for byte in *b"\"{}[]:,-0e\x7f/*(|" {
                let mut changed = seed.clone();
                changed[place] = byte;
                plan::check(&changed);
            }
        }
    }
    Ok(())
}
