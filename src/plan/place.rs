//! Places in a YAML file of the plan: the line on which a key stands, for faults that are found once the file is read. A plan
//! without faults is not read for its lines.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::fault::Fault;

/// What stands in a document, with the line of each key and of each item of a list.
#[derive(Clone, Debug)]
enum Node {
    Branch(Vec<(String, u64, Node)>),
    Leaf,
}

/// The lines of a document, found when the first is asked for.
#[derive(Clone, Debug)]
pub struct Lines {
    text: Box<str>,
    found: OnceLock<Node>,
}

impl Lines {
    /// Those of a text; none where it cannot be read.
    #[must_use]
    pub fn of(text: &str) -> Lines {
        Lines { text: text.into(), found: OnceLock::new() }
    }

    fn root(&self) -> &Node {
        self.found.get_or_init(|| {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(&self.text, options).unwrap_or(Node::Leaf)
        })
    }

    /// Those of a file.
    #[must_use]
    pub fn of_file(file: &Path) -> Lines {
        Lines::of(&super::text::read(file).unwrap_or_default())
    }

    /// Where `path` leads: keys, and numbers of items from 0, outermost first. Where it does not go on, the last that is
    /// there: what lacks something.
    #[must_use]
    pub fn line(&self, path: &[String]) -> Option<u64> {
        let (mut node, mut line) = (self.root(), None);
        for key in path {
            let Node::Branch(below) = node else { break };
            let Some((_, at, next)) = below.iter().find(|(name, _, _)| name == key) else { break };
            (node, line) = (next, Some(*at).filter(|at| *at > 0).or(line));
        }
        line
    }
}

/// A place in a file that faults are told of.
#[derive(Clone)]
pub struct Place<'a> {
    file: &'a Path,
    lines: &'a Lines,
    path: Vec<String>,
}

impl<'a> Place<'a> {
    /// The file as a whole.
    #[must_use]
    pub fn top(file: &'a Path, lines: &'a Lines) -> Place<'a> {
        Place { file, lines, path: Vec::new() }
    }

    /// What `key` leads to from here.
    #[must_use]
    pub fn within(&self, key: &str) -> Place<'a> {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        Place { path, ..self.clone() }
    }

    /// An item of the list that stands here, from 0.
    #[must_use]
    pub fn item(&self, at: usize) -> Place<'a> {
        self.within(&at.to_string())
    }

    /// The key that `what` names first, in backticks: `` `time.formats` is empty ``. Here, where it names none.
    #[must_use]
    pub fn named(&self, what: &str) -> Place<'a> {
        let named = what.split('`').nth(1).unwrap_or_default();
        let keys = named.split('.').filter(|key| !key.is_empty()).map(str::to_owned);
        Place { path: self.path.iter().cloned().chain(keys).collect(), ..self.clone() }
    }

    /// What is wrong here.
    #[must_use]
    pub fn fault(&self, what: impl Into<String>, cure: impl Into<String>) -> Fault {
        Fault { line: self.lines.line(&self.path), ..Fault::of(self.file, what, cure) }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut below = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            below.push((key.value, key.referenced.line(), map.next_value()?));
        }
        Ok(Node::Branch(below))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut below = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Node>>()? {
            below.push((below.len().to_string(), item.referenced.line(), item.value));
        }
        Ok(Node::Branch(below))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_items_stand_on_their_lines() {
        let lines = Lines::of(
            "# a plan\nname: a\nlink:\n  window: 4h\ncontext:\n  assets: [a.csv,\n    b.csv]\nsources:\n  - name: one\n    \
             type: file\n  - {name: two, type: kafka,\n     brokers: ''}\nempty:\nlast: 1\n",
        );
        for (path, line) in [
            ("name", Some(2)),
            ("link window", Some(4)),
            ("context assets 0", Some(6)),
            ("context assets 1", Some(7)),
            ("sources 0 type", Some(10)),
            ("sources 1", Some(11)),
            ("sources 1 brokers", Some(12)),
            ("sources 1 security ca", Some(11)),
            ("empty more", Some(13)),
            ("last", Some(14)),
            ("other", None),
        ] {
            let path: Vec<String> = path.split(' ').map(str::to_owned).collect();
            assert_eq!(lines.line(&path), line, "{path:?}");
        }
        assert_eq!(Lines::of("a: [").line(&["a".to_owned()]), None);
    }
}
