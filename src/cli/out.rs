//! Standard output: all that commands print goes through here.
//!
//! `quell explain ID | head` is no defect: where nobody reads any more, the process ends quietly. Where what a command has to
//! say cannot be written, it has failed, whatever it did before, and whoever reads it later must not take it for whole.

use std::io::{ErrorKind, Write, stdout};

/// Prints a line.
macro_rules! say {
    ($($what:tt)*) => {
        $crate::cli::out::write((format!($($what)*) + "\n").as_bytes())
    };
}

/// Prints text as it is. Ends the process where it cannot.
pub(crate) fn write(text: &[u8]) {
    let mut out = stdout().lock();
    let Err(error) = out.write_all(text).and_then(|()| out.flush()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    eprintln!(
        "quell: cannot write to standard output: {error}; what was done is done, and what was to be said of it is not whole"
    );
    std::process::exit(1);
}
