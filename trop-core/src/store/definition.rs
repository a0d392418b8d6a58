//! Parses `CREATE TABLE` statements as far as is needed to compare them. Layout and comments are ignored.

/// A table: its columns and table constraints in order. The constraints of each column are sorted, so that
/// their order does not matter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    parts: Vec<Part>,
    /// What follows the closing parenthesis, such as STRICT.
    options: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// A column's name and type; empty for a table constraint.
    column: Vec<String>,
    constraints: Vec<Vec<String>>,
}

impl Table {
    /// Describes the first difference, if there is one.
    pub(super) fn difference(&self, found: Option<&Table>) -> Option<String> {
        let Some(found) = found else { return Some("it is missing or not an ordinary table".to_owned()) };
        if found.options != self.options {
            return Some(format!("it has to be {}", self.options.join(", ").to_uppercase()));
        }
        for (index, part) in self.parts.iter().enumerate() {
            let other = found.parts.get(index);
            if other == Some(part) {
                continue;
            }
            let missing = part
                .constraints
                .iter()
                .find(|constraint| !other.is_some_and(|other| other.constraints.contains(constraint)));
            let name = part.column.first().map_or("the table".to_owned(), |name| format!("column {name}"));
            return Some(match missing {
                Some(constraint) => format!("{name} lacks {}", shown(constraint)),
                None => format!("{name} is not as it has to be"),
            });
        }
        (found.parts.len() > self.parts.len()).then(|| "it has more than it may have".to_owned())
    }
}

fn shown(constraint: &[String]) -> String {
    match constraint {
        [keyword, name, ..] if keyword == "constraint" => format!("the check {name}"),
        _ => constraint.join(" ").to_uppercase(),
    }
}

/// Parses the statement of a table. Returns `None` for another statement, or for syntax that is not supported
/// here.
pub(super) fn parse(sql: &str) -> Option<Table> {
    let tokens = tokens(sql)?;
    let mut rest = tokens.as_slice();
    for keyword in ["create", "table"] {
        rest = rest.strip_prefix(&[keyword.to_owned()])?;
    }
    for keyword in ["if", "not", "exists"] {
        rest = rest.strip_prefix(&[keyword.to_owned()]).unwrap_or(rest);
    }
    let (name, rest) = rest.split_first()?;
    let end = closing(rest)?;
    let body = &rest[1..end];
    let options = rest[end + 1..].iter().filter(|token| *token != ";" && *token != ",").cloned().collect();
    Some(Table { name: name.clone(), parts: split(body).into_iter().map(part).collect(), options })
}

/// The index of the parenthesis that closes the first token.
fn closing(tokens: &[String]) -> Option<usize> {
    let mut depth = 0_u32;
    for (index, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "(" => depth += 1,
            ")" if depth == 1 => return Some(index),
            ")" => depth = depth.checked_sub(1)?,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Splits the tokens at the commas of the outermost level.
fn split(tokens: &[String]) -> Vec<&[String]> {
    let mut depth = 0_i32;
    tokens
        .split(|token| {
            match token.as_str() {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            depth == 0 && token == ","
        })
        .collect()
}

fn part(tokens: &[String]) -> Part {
    let is_table_constraint = matches!(
        tokens.first().map(String::as_str),
        Some("primary" | "unique" | "check" | "foreign" | "constraint")
    );
    let start = if is_table_constraint { 0 } else { tokens.len().min(2) };
    let (column, mut rest) = tokens.split_at(start);
    let mut constraints = Vec::new();
    while !rest.is_empty() {
        // A constraint ends at the next keyword that begins one. `CONSTRAINT name` belongs to the constraint
        // that follows it.
        let mut length = if rest[0] == "constraint" { 3.min(rest.len()) } else { 1 };
        while length < rest.len() {
            match rest[length].as_str() {
                "(" => length += closing(&rest[length..]).map_or(1, |end| end + 1),
                "constraint" | "primary" | "not" | "null" | "unique" | "check" | "default" | "collate"
                | "references" | "generated" | "foreign"
                    if !(rest[length - 1] == "not" && rest[length] == "null") =>
                {
                    break;
                }
                _ => length += 1,
            }
        }
        let (constraint, others) = rest.split_at(length);
        constraints.push(constraint.to_vec());
        rest = others;
    }
    constraints.sort();
    Part { column: column.to_vec(), constraints }
}

/// Splits SQL into tokens: words in lower case, quoted names without their quotes, operators and single
/// characters. White space and comments are dropped. Returns `None` if a quote is not closed.
fn tokens(sql: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if rest.starts_with("--") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if let Some(comment) = rest.strip_prefix("/*") {
            (None, comment.find("*/").map_or(rest.len(), |end| end + 4))
        } else if let Some(closing) = closing_quote(first) {
            let end = rest.char_indices().skip(1).find(|(_, other)| *other == closing)?.0;
            let inner = rest[first.len_utf8()..end].to_lowercase();
            // Text in single quotes is not a name, so it keeps its quotes.
            (Some(if first == '\'' { format!("'{inner}'") } else { inner }), end + closing.len_utf8())
        } else if is_word(first) {
            let end = rest.find(|other| !is_word(other)).unwrap_or(rest.len());
            (Some(rest[..end].to_lowercase()), end)
        } else if let Some(operator) =
            ["<=", ">=", "<>", "!=", "==", "||"].into_iter().find(|o| rest.starts_with(o))
        {
            (Some(operator.to_owned()), 2)
        } else {
            (Some(first.to_string()), first.len_utf8())
        };
        tokens.extend(token);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

fn closing_quote(first: char) -> Option<char> {
    match first {
        '"' | '\'' | '`' => Some(first),
        '[' => Some(']'),
        _ => None,
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE t (a INTEGER NOT NULL UNIQUE CONSTRAINT c CHECK (a BETWEEN 1 AND 9), PRIMARY KEY (a, b)) STRICT";

    fn difference(sql: &str) -> Option<String> {
        parse(TABLE).unwrap().difference(parse(sql).as_ref())
    }

    #[test]
    fn layout_comments_quotes_and_order_do_not_matter() {
        for same in [
            TABLE,
            "create table \"t\"(\n[a] integer -- not a constraint\nUNIQUE not  null constraint `c` check(a between 1 and 9)\
             ,primary key(/* x */a,b))strict",
        ] {
            assert_eq!(difference(same), None, "{same}");
        }
    }

    /// Trap 115 (a rule in a comment).
    #[test]
    fn what_stands_in_a_comment_does_not_count() {
        for (other, token) in [
            (
                "CREATE TABLE t (a INTEGER NOT NULL UNIQUE /* CONSTRAINT c CHECK (a BETWEEN 1 AND 9) */, PRIMARY KEY (a, b)) STRICT",
                "check c",
            ),
            (
                "CREATE TABLE t (a INTEGER NOT NULL CONSTRAINT c CHECK (a BETWEEN 1 AND 9) -- UNIQUE\n, PRIMARY KEY (a, b)) STRICT",
                "UNIQUE",
            ),
            (
                "CREATE TABLE t (a INTEGER UNIQUE NOT NULL CONSTRAINT c CHECK (a BETWEEN 1 AND 10), PRIMARY KEY (a, b)) STRICT",
                "check c",
            ),
            (
                "CREATE TABLE t (a INTEGER UNIQUE NOT NULL CONSTRAINT c CHECK (a BETWEEN 1 AND 9), PRIMARY KEY (a, b))",
                "STRICT",
            ),
            (
                "CREATE TABLE t (a INTEGER UNIQUE NOT NULL CONSTRAINT c CHECK (a BETWEEN 1 AND 9)) STRICT",
                "PRIMARY KEY",
            ),
            (
                "CREATE TABLE t (a TEXT UNIQUE NOT NULL CONSTRAINT c CHECK (a BETWEEN 1 AND 9), PRIMARY KEY (a, b)) STRICT",
                "column a",
            ),
            ("CREATE VIRTUAL TABLE t USING x", "missing"),
            ("CREATE TABLE t AS 'x", "missing"),
            (")", "missing"),
            ("CREATE TABLE t )(", "missing"),
        ] {
            let found = difference(other);
            assert!(found.as_deref().is_some_and(|text| text.contains(token)), "{other}: {found:?}");
        }
    }
}
