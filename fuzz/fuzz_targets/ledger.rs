//! See `quell_fuzz::ledger`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: quell_fuzz::quiet(), |data: &[u8]| quell_fuzz::ledger(data));
