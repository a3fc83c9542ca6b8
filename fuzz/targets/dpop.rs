#![no_main]

#[path = "../src/dpop.rs"]
mod dpop;

libfuzzer_sys::fuzz_target!(|data: &[u8]| dpop::check(data));
