//! Fingerprint: tells whether a file is what it was, at a cost that does not grow with it.
//!
//! BLAKE3 over the size and over [`PIECES`] pieces of [`PIECE`] bytes, the first at its beginning, the last at its end, the others
//! spread evenly between them; over the whole of a file that is no larger than these. A change between two pieces that leaves the
//! size as it was is not seen.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const PIECES: u64 = 64;
const PIECE: u64 = 16 << 10;

/// A file's fingerprint; none of what is no regular file, as a pipe, which is read once.
pub fn fingerprint(path: &Path) -> io::Result<Option<String>> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size.to_le_bytes());
    if size <= PIECES * PIECE {
        io::copy(&mut file, &mut hasher)?;
    } else {
        for piece in 0..PIECES {
            let at = u128::from(size - PIECE) * u128::from(piece) / u128::from(PIECES - 1);
            file.seek(SeekFrom::Start(u64::try_from(at).unwrap_or(size)))?;
            io::copy(&mut Read::by_ref(&mut file).take(PIECE), &mut hasher)?;
        }
    }
    Ok(Some(hasher.finalize().to_hex()[..16].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_at_once_in_a_small_file_and_at_either_end_of_a_large_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("room");
            fingerprint(&path).expect("it can be read").expect("a file has one")
        };
        for size in [0, 1, 1000, 1 << 20, (1 << 20) + 1, 3 << 20] {
            let mut bytes: Vec<u8> = (0..251).cycle().take(size).collect();
            let before = of(&bytes);
            assert_eq!(of(&bytes), before, "{size}");
            for at in [0, size / 2, size.saturating_sub(1)].into_iter().filter(|at| *at < size) {
                if at == size / 2 && size > 1 << 20 {
                    continue;
                }
                bytes[at] ^= 1;
                assert_ne!(of(&bytes), before, "{size}, changed at {at}");
                bytes[at] ^= 1;
            }
            bytes.push(0);
            assert_ne!(of(&bytes), before, "{size} and one more");
        }
        assert_eq!(fingerprint(Path::new("/dev/null")).expect("it is there"), None);
        assert!(fingerprint(&folder.path().join("no such")).is_err());
    }
}
