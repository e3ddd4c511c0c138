//! Expressions: `condition` as text, over the rules that a temporal correlation refers to, or a filter's selections.
//!
//! `not` binds closest, then `and`, then `or`; parentheses group. `2 of recon_*` and `all of them` count the names that
//! fit, where a star stands for any letters. A name with other characters than letters, digits and `_-.:*` stands in
//! quotes. Names are those of `rules` as written there.

/// A question about which of up to 64 names hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// The name at that place holds.
    Name(usize),
    /// It does not hold.
    Not(Box<Expression>),
    /// All hold.
    All(Vec<Expression>),
    /// One of them holds at least.
    Any(Vec<Expression>),
    /// At least so many of the names whose bits are set.
    Many(u32, u64),
}

/// Brackets and negations within one another, at most: so that no file can exhaust the stack.
const DEPTH_MAX: usize = 32;

impl Expression {
    /// Reads the text of a condition over `names`; what is wrong with it otherwise.
    pub fn parse(text: &str, names: &[String]) -> Result<Expression, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0, names };
        let parsed = parser.any(DEPTH_MAX)?;
        match parser.tokens.get(parser.at) {
            None => Ok(parsed),
            Some(token) => Err(format!("{:?} stands where `and` or `or` is expected", token.text())),
        }
    }

    /// Whether it holds where the names whose bits are set do.
    #[must_use]
    pub fn holds(&self, names: u64) -> bool {
        match self {
            Expression::Name(place) => names >> place & 1 == 1,
            Expression::Not(inner) => !inner.holds(names),
            Expression::All(parts) => parts.iter().all(|part| part.holds(names)),
            Expression::Any(parts) => parts.iter().any(|part| part.holds(names)),
            Expression::Many(many, of) => (names & of).count_ones() >= *many,
        }
    }

    /// One bit for each name that it refers to.
    #[must_use]
    pub fn names(&self) -> u64 {
        match self {
            Expression::Name(place) => 1 << place,
            Expression::Not(inner) => inner.names(),
            Expression::All(parts) | Expression::Any(parts) => {
                parts.iter().fold(0, |names, part| names | part.names())
            }
            Expression::Many(_, of) => *of,
        }
    }

    /// Where it is a plain conjunction: the names that must hold, and those that must not, one bit each.
    #[must_use]
    pub fn conjunction(&self) -> Option<(u64, u64)> {
        match self {
            Expression::Name(place) => Some((1 << place, 0)),
            Expression::Not(inner) => match &**inner {
                Expression::Name(place) => Some((0, 1 << place)),
                // None of several: each is absent.
                Expression::Many(1, of) => Some((0, *of)),
                Expression::Any(parts) => {
                    let names = parts.iter().try_fold(0, |names, part| match part {
                        Expression::Name(place) => Some(names | 1 << place),
                        Expression::Not(_)
                        | Expression::All(_)
                        | Expression::Any(_)
                        | Expression::Many(..) => None,
                    });
                    names.map(|names| (0, names))
                }
                Expression::Not(_) | Expression::All(_) | Expression::Many(..) => None,
            },
            Expression::All(parts) => parts.iter().try_fold((0, 0), |(with, without), part| {
                let (more, less) = part.conjunction()?;
                Some((with | more, without | less))
            }),
            Expression::Many(many, of) => (*many == of.count_ones()).then_some((*of, 0)),
            Expression::Any(_) => None,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Word(String),
    Quoted(String),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Open => "(",
            Token::Close => ")",
            Token::Word(text) | Token::Quoted(text) => text,
        }
    }

    fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(text) if text.eq_ignore_ascii_case(word))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '(' | ')' => {
                tokens.push(if first == '(' { Token::Open } else { Token::Close });
                1
            }
            '"' | '\'' => {
                let end = rest[1..].find(first).ok_or_else(|| format!("the quote {rest:?} has no end"))?;
                tokens.push(Token::Quoted(rest[1..=end].to_owned()));
                end + 2
            }
            _ => {
                let of_word = |c: char| c.is_alphanumeric() || "_-.:*".contains(c);
                let end = rest.find(|c| !of_word(c)).unwrap_or(rest.len());
                if end == 0 {
                    return Err(format!("{first:?} is no part of a condition"));
                }
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[taken..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    names: &'a [String],
}

impl Parser<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.is(word));
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.all(depth)?];
        while self.next_is("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.one(depth)?];
        while self.next_is("and") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Expression, String> {
        let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
        if self.next_is("not") {
            return Ok(Expression::Not(Box::new(self.one(depth)?)));
        }
        let token = self.tokens.get(self.at).ok_or("it ends where a name is expected")?;
        self.at += 1;
        match token {
            Token::Open => {
                let inner = self.any(depth)?;
                if self.tokens.get(self.at) != Some(&Token::Close) {
                    return Err("a bracket is not closed".to_owned());
                }
                self.at += 1;
                Ok(inner)
            }
            Token::Close => Err("a bracket is closed that was not opened".to_owned()),
            Token::Word(word) if self.next_is("of") => self.many(word),
            Token::Word(word) | Token::Quoted(word) => {
                let place = self.names.iter().position(|name| name == word);
                place.map(Expression::Name).ok_or_else(|| format!("{word:?} is none of {:?}", self.names))
            }
        }
    }

    fn many(&mut self, many: &str) -> Result<Expression, String> {
        let token = self.tokens.get(self.at).ok_or("it ends behind `of`")?;
        self.at += 1;
        let pattern = if token.is("them") { "*" } else { token.text() };
        let fitting = self.names.iter().enumerate().filter(|(_, name)| fits(pattern, name));
        let of = fitting.fold(0u64, |of, (place, _)| of | 1 << place);
        if of == 0 {
            return Err(format!("{pattern:?} fits none of {:?}", self.names));
        }
        let many = match many {
            "all" => of.count_ones(),
            "any" => 1,
            _ => many.parse().map_err(|_| format!("{many:?} is neither a number nor all or any"))?,
        };
        if !(1..=of.count_ones()).contains(&many) {
            return Err(format!("{many} of {pattern:?} cannot be: {} fit", of.count_ones()));
        }
        Ok(Expression::Many(many, of))
    }
}

/// Whether a name fits a pattern with stars.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["a", "b", "recon_x", "recon_y", "Sign-in failed"].map(str::to_owned).to_vec()
    }

    /// For which of the 32 combinations of names it holds.
    fn table(text: &str) -> u64 {
        let parsed = Expression::parse(text, &names()).unwrap();
        (0..32).filter(|names| parsed.holds(*names)).fold(0, |all, n| all | 1 << n)
    }

    fn by(holds: impl Fn(bool, bool, bool, bool, bool) -> bool) -> u64 {
        let bit = |n: u64, at: u64| n >> at & 1 == 1;
        let all = (0..32u64).filter(|n| holds(bit(*n, 0), bit(*n, 1), bit(*n, 2), bit(*n, 3), bit(*n, 4)));
        all.fold(0, |all, n| all | 1 << n)
    }

    #[test]
    fn expressions_mean_what_they_say() {
        assert_eq!(table("a"), by(|a, _, _, _, _| a));
        assert_eq!(table("a and not b"), by(|a, b, _, _, _| a && !b));
        assert_eq!(table("a or b and recon_x"), by(|a, b, x, _, _| a || b && x));
        assert_eq!(table("(a or b) AND NOT (recon_x or recon_y)"), by(|a, b, x, y, _| (a || b) && !(x || y)));
        assert_eq!(table("not a and b"), by(|a, b, _, _, _| !a && b));
        assert_eq!(table("1 of recon_*"), by(|_, _, x, y, _| x || y));
        assert_eq!(table("all of recon_* and 'Sign-in failed'"), by(|_, _, x, y, s| x && y && s));
        assert_eq!(
            table("3 of them"),
            by(|a, b, x, y, s| [a, b, x, y, s].into_iter().filter(|holds| *holds).count() >= 3)
        );
        assert_eq!(table("any of *x"), by(|_, _, x, _, _| x));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (text, what) in [
            ("", "ends where a name"),
            ("a and and b", "\"and\" is none of"),
            ("a b", "where `and` or `or`"),
            ("(a", "not closed"),
            ("a)", "where `and` or `or`"),
            (")", "not opened"),
            ("c", "is none of"),
            ("2 of b*", "cannot be"),
            ("1 of z*", "fits none"),
            ("x of them", "neither a number"),
            ("1 of", "behind `of`"),
            ("a & b", "no part of a condition"),
            ("'a", "has no end"),
            (&"not ".repeat(100), "too deeply"),
        ] {
            let said = Expression::parse(text, &names()).unwrap_err();
            assert!(said.contains(what), "{text}: {said}");
        }
    }

    #[test]
    fn conjunctions_are_known() {
        let of = |text| Expression::parse(text, &names()).unwrap().conjunction();
        assert_eq!(of("a and not b and recon_x"), Some((0b101, 0b10)));
        assert_eq!(of("all of recon_* and not (a or b)"), Some((0b1100, 0b11)));
        assert_eq!(of("a and not 1 of recon_*"), Some((0b1, 0b1100)));
        assert_eq!(of("a or b"), None);
        assert_eq!(of("not (a and b)"), None);
        assert_eq!(of("1 of recon_*"), None);
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fit) in [
            ("a*c", "abc", true),
            ("a*c", "abd", false),
            ("*", "", true),
            ("a", "ab", false),
            ("*b*", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }
}
