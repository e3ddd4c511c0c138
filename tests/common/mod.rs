//! What the tests that run the binary share.

#![allow(dead_code, reason = "each test needs a part of it")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The repository's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary, run in the repository's folder.
pub fn quell() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quell"));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs to the end; panics with what was said where the exit code is another than 0.
pub fn done(command: &mut Command) -> Output {
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    output
}

/// All that was said.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
