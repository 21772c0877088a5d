//! From text to predicate, by recursive descent.

use super::{Comparison, Literal, Predicate};

/// Where, in characters from 0, and what is wrong there.
type Wrong = (usize, String);

/// How deep parentheses and `not` may go.
const DEPTH: u32 = 64;

pub(super) fn predicate(text: &str) -> Result<Predicate<String>, Wrong> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let predicate = parser.or()?;
    match parser.peek() {
        Token::End => Ok(predicate),
        other => {
            Err(parser
                .wrong(&format!("{} where `and`, `or` or the end was expected", other.name())))
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A word of the language in lower case, or a column.
    Word(String),
    /// In double quotes: always a column.
    Quoted(String),
    Literal(Literal),
    Comparison(Comparison),
    Open,
    Close,
    Comma,
    End,
}

impl Token {
    fn name(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Quoted(column) => format!("the column `{column}`"),
            Self::Literal(text @ Literal::Text(_)) => format!("the text {text}"),
            Self::Literal(value @ Literal::Bool(_)) => format!("`{value}`"),
            Self::Literal(number) => format!("the number {number}"),
            Self::Comparison(_) => "a comparison".to_owned(),
            Self::Open => "`(`".to_owned(),
            Self::Close => "`)`".to_owned(),
            Self::Comma => "`,`".to_owned(),
            Self::End => "the end".to_owned(),
        }
    }
}

const WORDS: [&str; 9] = ["and", "or", "not", "in", "like", "is", "null", "true", "false"];

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Wrong> {
    let characters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = characters.get(at) {
        let start = at;
        at += 1;
        let second = characters.get(at).copied();
        let token = match first {
            white if white.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '=' => Token::Comparison(Comparison::Equal),
            '!' | '<' | '>' => {
                let comparison = match (first, second) {
                    ('!', Some('=')) | ('<', Some('>')) => Comparison::NotEqual,
                    ('<', Some('=')) => Comparison::LessOrEqual,
                    ('>', Some('=')) => Comparison::GreaterOrEqual,
                    ('<', _) => Comparison::Less,
                    ('>', _) => Comparison::Greater,
                    _ => return Err((start, "`!` without `=`".to_owned())),
                };
                let two = !matches!(comparison, Comparison::Less | Comparison::Greater);
                at += usize::from(two);
                Token::Comparison(comparison)
            }
            '\'' | '"' => {
                let mut value = String::new();
                loop {
                    match characters.get(at) {
                        Some(&quote) if quote == first => {
                            at += 1;
                            if characters.get(at) != Some(&first) {
                                break;
                            }
                        }
                        Some(_) => {}
                        None => return Err((start, format!("{first} without an end"))),
                    }
                    value.extend(characters.get(at));
                    at += 1;
                }
                if first == '"' {
                    Token::Quoted(value)
                } else {
                    Token::Literal(Literal::Text(value))
                }
            }
            '-' | '+' | '.' | '0'..='9' => {
                while let Some(&next) = characters.get(at) {
                    let sign = matches!(next, '-' | '+') && matches!(characters[at - 1], 'e' | 'E');
                    if !(next.is_ascii_alphanumeric() || next == '.' || sign) {
                        break;
                    }
                    at += 1;
                }
                let number: String = characters[start..at].iter().collect();
                let float = || number.parse::<f64>().ok().filter(|value| value.is_finite());
                let literal = number.parse().ok().map(Literal::Integer);
                match literal.or_else(|| float().map(Literal::Float)) {
                    Some(literal) => Token::Literal(literal),
                    None => return Err((start, format!("`{number}` is no number"))),
                }
            }
            letter if letter.is_alphabetic() || letter == '_' => {
                while characters.get(at).is_some_and(|next| next.is_alphanumeric() || *next == '_')
                {
                    at += 1;
                }
                let word: String = characters[start..at].iter().collect();
                let lower = word.to_ascii_lowercase();
                match lower.as_str() {
                    "true" | "false" => Token::Literal(Literal::Bool(lower == "true")),
                    known if WORDS.contains(&known) => Token::Word(lower),
                    _ => Token::Word(word),
                }
            }
            other => return Err((start, format!("the character `{other}`"))),
        };
        tokens.push((start, token));
    }
    tokens.push((characters.len(), Token::End));
    Ok(tokens)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: u32,
}

impl Parser {
    fn peek(&self) -> Token {
        self.tokens.get(self.next).map_or(Token::End, |(_, token)| token.clone())
    }

    fn take(&mut self) -> Token {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn takes(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Token::Word(next) if next == word);
        self.next += usize::from(is);
        is
    }

    fn takes_token(&mut self, token: &Token) -> bool {
        let is = self.peek() == *token;
        self.next += usize::from(is);
        is
    }

    /// At the next token.
    fn wrong(&self, what: &str) -> Wrong {
        let at = self.tokens.get(self.next).or(self.tokens.last()).map_or(0, |(at, _)| *at);
        (at, what.to_owned())
    }

    fn expected(&self, what: &str) -> Wrong {
        self.wrong(&format!("{} where {what} was expected", self.peek().name()))
    }

    fn or(&mut self) -> Result<Predicate<String>, Wrong> {
        self.joined("or", Self::and, Predicate::Or)
    }

    fn and(&mut self) -> Result<Predicate<String>, Wrong> {
        self.joined("and", Self::not, Predicate::And)
    }

    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Predicate<String>, Wrong>,
        join: fn(Vec<Predicate<String>>) -> Predicate<String>,
    ) -> Result<Predicate<String>, Wrong> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.takes(word) {
            parts.push(part(self)?);
        }
        match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            last => {
                parts.extend(last);
                Ok(join(parts))
            }
        }
    }

    fn not(&mut self) -> Result<Predicate<String>, Wrong> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.wrong("parentheses too deep"));
        }
        let predicate = if self.takes("not") {
            Predicate::Not(Box::new(self.not()?))
        } else if self.takes_token(&Token::Open) {
            let inner = self.or()?;
            if !self.takes_token(&Token::Close) {
                return Err(self.expected("`)`"));
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(predicate)
    }

    fn test(&mut self) -> Result<Predicate<String>, Wrong> {
        let column = match self.peek() {
            Token::Quoted(column) => column,
            Token::Word(word) if !WORDS.contains(&word.as_str()) => word,
            _ => return Err(self.expected("a column")),
        };
        self.next += 1;
        if self.takes("is") {
            let not = self.takes("not");
            if !self.takes("null") {
                return Err(self.expected("`null`"));
            }
            return Ok(negated(not, Predicate::IsNull(column)));
        }
        if let Token::Comparison(comparison) = self.peek() {
            self.next += 1;
            return Ok(Predicate::Compare(column, comparison, self.literal()?));
        }
        let not = self.takes("not");
        if self.takes("in") {
            return Ok(negated(not, Predicate::In(column, self.list()?)));
        }
        if self.takes("like") {
            return match self.peek() {
                Token::Literal(Literal::Text(pattern)) => {
                    self.next += 1;
                    Ok(negated(not, Predicate::Like(column, pattern)))
                }
                _ => Err(self.expected("a pattern in single quotes")),
            };
        }
        if not {
            return Err(self.expected("`in` or `like`"));
        }
        match self.peek() {
            Token::End | Token::Close => Ok(Predicate::IsTrue(column)),
            Token::Word(word) if word == "and" || word == "or" => Ok(Predicate::IsTrue(column)),
            _ => Err(self.expected("a comparison")),
        }
    }

    fn literal(&mut self) -> Result<Literal, Wrong> {
        match self.peek() {
            Token::Literal(literal) => {
                self.next += 1;
                Ok(literal)
            }
            Token::Word(word) if word == "null" => {
                Err(self.wrong("a comparison with null, which is never true: write `is null`"))
            }
            Token::Word(word) => Err(self.wrong(&format!(
                "`{word}` where a value was expected: text stands in single quotes, as '{word}'"
            ))),
            _ => Err(self.expected("a value")),
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>, Wrong> {
        if !self.takes_token(&Token::Open) {
            return Err(self.expected("`(`"));
        }
        let mut literals = vec![self.literal()?];
        while self.takes_token(&Token::Comma) {
            literals.push(self.literal()?);
        }
        match self.take() {
            Token::Close => Ok(literals),
            _ => {
                self.next -= 1;
                Err(self.expected("`,` or `)`"))
            }
        }
    }
}

fn negated(not: bool, predicate: Predicate<String>) -> Predicate<String> {
    if not { Predicate::Not(Box::new(predicate)) } else { predicate }
}
