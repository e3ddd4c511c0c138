//! See `quell_fuzz::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: quell_fuzz::quiet(), |data: &[u8]| quell_fuzz::snapshot(data));
