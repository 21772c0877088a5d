//! Topics and the patterns that select them, with NATS's wildcards.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

/// Longest topic, and pattern of topics, in bytes.
const MAX_TOPIC: usize = 512;

/// A pattern over dot-separated topics: `*` stands for one token, `>` at the end for one or
/// more. (NATS, "Subject-Based Messaging".)
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Is(String),
    Any,
    Rest,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Longer than any topic.
    #[error("it has {0} bytes; a topic has {MAX_TOPIC} at most")]
    TooLong(usize),
    /// Two dots in a row, or one at an end.
    #[error("`{0}` has an empty token; write `metrics.cpu`, `metrics.*` or `metrics.>`")]
    EmptyToken(String),
    /// `>` before the end.
    #[error("`{0}` has `>` before its end; use `*` for one token")]
    RestNotLast(String),
    /// A character that no topic has.
    #[error("`{pattern}` has the character `{character}`; topics have a-z, 0-9, `_`, `-` and dots")]
    Character {
        /// The whole pattern.
        pattern: String,
        /// What is not allowed.
        character: char,
    },
}

impl Pattern {
    /// Whether it may select more than one topic.
    pub fn is_wild(&self) -> bool {
        self.tokens.iter().any(|token| !matches!(token, Token::Is(_)))
    }

    /// Whether a topic is selected.
    pub fn matches(&self, topic: &str) -> bool {
        let mut tokens = topic.split('.');
        for wanted in &self.tokens {
            match (wanted, tokens.next()) {
                (Token::Rest, Some(_)) => return true,
                (Token::Is(wanted), Some(token)) if wanted == token => {}
                (Token::Any, Some(_)) => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_TOPIC {
            return Err(PatternError::TooLong(text.len()));
        }
        let mut tokens = Vec::new();
        for token in text.split('.') {
            if tokens.last() == Some(&Token::Rest) {
                return Err(PatternError::RestNotLast(text.to_owned()));
            }
            tokens.push(match token {
                "" => return Err(PatternError::EmptyToken(text.to_owned())),
                "*" => Token::Any,
                ">" => Token::Rest,
                name => {
                    let bad = name.chars().find(|character| !is_topic_character(*character));
                    if let Some(character) = bad {
                        return Err(PatternError::Character {
                            pattern: text.to_owned(),
                            character,
                        });
                    }
                    Token::Is(name.to_owned())
                }
            });
        }
        Ok(Self { tokens })
    }
}

fn is_topic_character(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '_' | '-')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.tokens.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            match token {
                Token::Is(name) => write!(f, "{dot}{name}")?,
                Token::Any => write!(f, "{dot}*")?,
                Token::Rest => write!(f, "{dot}>")?,
            }
        }
        Ok(())
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_select_as_nats_has_it() {
        let cases = [
            ("metrics.cpu", "metrics.cpu", true),
            ("metrics.cpu", "metrics.cpu.cores", false),
            ("metrics.*", "metrics.cpu", true),
            ("metrics.*", "metrics.cpu.cores", false),
            ("metrics.*", "metrics", false),
            ("metrics.>", "metrics.cpu.cores", true),
            ("metrics.>", "metrics", false),
            ("*.cpu.*", "metrics.cpu.cores", true),
            (">", "host", true),
        ];
        for (pattern, topic, expected) in cases {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(topic), expected, "{pattern} on {topic}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn a_text_that_is_no_pattern_says_why() {
        for (text, start) in [
            ("metrics..cpu", "`metrics..cpu` has an empty token"),
            ("", "`` has an empty token"),
            ("metrics.>.cpu", "`metrics.>.cpu` has `>` before its end"),
            ("metrics.c u", "`metrics.c u` has the character ` `"),
        ] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
