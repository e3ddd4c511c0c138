//! Text: a file of the plan as text. What is no regular file is never opened: whoever opens a pipe waits for who writes to it.

use std::fs;
use std::io;
use std::path::Path;

/// The text of `file`.
pub(super) fn read(file: &Path) -> io::Result<String> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    fs::read_to_string(file)
}
