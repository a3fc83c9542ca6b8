//! Tells the crate which version of rustls it is built with, for bug reports.

use std::fs;
use std::path::Path;

fn main() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    // A lock that is not there is not worth a failure: nothing but a report needs it.
    let text = fs::read_to_string(lock).unwrap_or_default();
    println!("cargo::rustc-env=PYLAE_RUSTLS={}", version_of("rustls", &text).unwrap_or("unknown"));
}

/// The version of a package in a lock file.
fn version_of<'a>(name: &str, lock: &'a str) -> Option<&'a str> {
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{name}\""));
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}
