//! Lines: a record a line.

use super::tape::Tape;

/// State: whether a line that is too long is being passed over.
#[derive(Default)]
pub(super) struct Lines {
    skipping: bool,
}

impl Lines {
    pub(super) fn step(&mut self, tape: &mut Tape, done: bool) {
        while let Some(at) = memchr::memchr(b'\n', &tape.buf[tape.scan..]) {
            tape.scan += at;
            if self.skipping {
                self.skipping = false;
                tape.skip();
            } else {
                tape.record();
            }
            tape.scan += 1;
            tape.line += 1;
            tape.begin();
        }
        tape.scan = tape.buf.len();
        if self.skipping {
            tape.skip();
        } else if tape.overlong() {
            tape.too_long();
            self.skipping = true;
        } else if done {
            tape.record();
        }
    }
}
