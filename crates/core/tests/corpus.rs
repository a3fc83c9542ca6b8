//! The corpora of the fuzz targets `plan`, `expression` and `hook`, and what they hold with one byte changed, through
//! the checks of the targets.

#[path = "../../../fuzz/src/expression.rs"]
mod expression;
#[path = "../../../fuzz/src/hook.rs"]
mod hook;
#[path = "../../../fuzz/src/plan.rs"]
mod plan;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Not every position: each change that is still a plan is compiled.
const STEP: usize = 2;

#[test]
fn plans() -> io::Result<()> {
    for file in corpus("plan")? {
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

#[test]
fn expressions() -> io::Result<()> {
    for file in corpus("expression")? {
        let seed = fs::read(&file)?;
        expression::check(&seed);
        for place in 0..seed.len() {
            for byte in *b"\"'()[]{}.,&|!?:-0a/\\ " {
                let mut changed = seed.clone();
                changed[place] = byte;
                expression::check(&changed);
            }
            expression::check(&seed[..place]);
        }
    }
    Ok(())
}

#[test]
fn answers_of_hook_hosts() -> io::Result<()> {
    for file in corpus("hook")? {
        let seed = fs::read(&file)?;
        hook::check(&seed);
        for place in 0..seed.len() {
            for byte in [0, 1, 2, 3, 9, 10, 13, 32, 37, 47, 127, 128, 255] {
                let mut changed = seed.clone();
                changed[place] = byte;
                hook::check(&changed);
            }
            hook::check(&seed[..place]);
        }
    }
    Ok(())
}

fn corpus(target: &str) -> io::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    assert!(files.len() >= 12, "{} files", files.len());
    Ok(files)
}
