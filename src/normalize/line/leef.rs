//! LEEF, `QRadar`'s Log Event Extended Format: `LEEF:1.0|vendor|product|version|id|key=value<tab>...`; in 2.0 a sixth part
//! says what stands between attributes, as it is or in hex (`^`, `x5E`, `0x5E`).

use super::{Broken, Key, Line};

/// Reads what stands behind `LEEF:`.
pub(super) fn read<'a>(text: &'a str, line: &mut Line<'a>) -> Result<(), Broken> {
    const CUT: Broken = Broken("its LEEF header has fewer than five parts");
    let (version, mut rest) = text.split_once('|').ok_or(CUT)?;
    for name in ["vendor", "product", "productVersion", "eventId"] {
        let (field, behind) = rest.split_once('|').ok_or(CUT)?;
        line.put(Key::Leef(name), field.trim());
        rest = behind;
    }
    let mut delimiter = '\t';
    if version.starts_with('2')
        && let Some((said, behind)) = rest.split_once('|')
        && let Some(said) = separator(said)
    {
        (delimiter, rest) = (said, behind);
    }
    for (key, value) in rest.split(delimiter).filter_map(|attribute| attribute.split_once('=')) {
        line.put(Key::Attribute(key.trim()), value.trim());
    }
    Ok(())
}

/// What a LEEF 2.0 header says stands between attributes; none where this is an attribute.
fn separator(said: &str) -> Option<char> {
    let mut chars = said.chars();
    match (chars.next(), chars.next()) {
        (None, _) => return Some('\t'),
        (Some(one), None) => return Some(one),
        (Some(_), Some(_)) => {}
    }
    let hex = said.strip_prefix("0x").or_else(|| said.strip_prefix('x'))?;
    u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)
}
