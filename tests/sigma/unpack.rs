//! What real data is packed in: tar and zip, as far as the tests need them.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::{DeflateDecoder, GzDecoder};

/// Unpacks the files of a `.tar.gz` into a folder.
pub(crate) fn tar_gz(file: &Path, into: &Path) {
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(file).expect("it can be opened")).read_to_end(&mut bytes).expect("gzip");
    let (mut at, mut long_name) = (0, None);
    while at + 512 <= bytes.len() && bytes[at] != 0 {
        let header = &bytes[at..at + 512];
        let field = |from: usize, to: usize| {
            let text = header[from..to].split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).trim().to_owned()
        };
        let size = usize::from_str_radix(&field(124, 136), 8).expect("a size");
        let body = &bytes[at + 512..at + 512 + size];
        match header[156] {
            // An extended header: the next file's long name.
            b'x' => {
                let text = String::from_utf8_lossy(body).into_owned();
                long_name =
                    text.lines().find_map(|line| line.split_once(" path=")).map(|(_, path)| path.to_owned());
            }
            b'0' => {
                let name = long_name.take().unwrap_or_else(|| match field(345, 500) {
                    prefix if prefix.is_empty() => field(0, 100),
                    prefix => format!("{prefix}/{}", field(0, 100)),
                });
                let path = into.join(name);
                fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("room");
                fs::write(path, body).expect("room");
            }
            _ => {}
        }
        at += 512 + size.div_ceil(512) * 512;
    }
}

/// The first file of a zip.
pub(crate) fn zip(file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).expect("it can be read");
    let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    assert_eq!((long(0), number(8)), (0x0403_4b50, 8), "a deflated file comes first");
    let from = 30 + usize::from(number(26)) + usize::from(number(28));
    let mut text = Vec::new();
    DeflateDecoder::new(&bytes[from..]).read_to_end(&mut text).expect("deflate");
    text
}
