//! What is wrong with the text of an expression.

/// One mistake, with its place in the expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Mistake {
    /// A mistake at a byte of the text.
    pub(super) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, message: message.into() }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} (line {}, column {} of the expression)", self.message, self.line, self.column)
    }
}

/// Returns the name among `known` that is most like `name`, as a question, if one is like it.
pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let most = name.chars().count() / 3 + 1;
    let near = known.map(|other| (distance(name, other), other)).filter(|(far, _)| *far <= most).min();
    near.map_or_else(String::new, |(_, other)| format!("; did you mean `{other}`?"))
}

/// Number of characters to insert, remove or replace to turn one name into the other, ignoring case.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let columns: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=columns.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (at, column) in columns.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *column);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[columns.len()]
}
