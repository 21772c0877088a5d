//! Names with `*`, as users write them in settings.

/// Whether `text` is `pattern`, in which each `*` stands for any text, or none; all else stands
/// for itself.
///
/// ```
/// # use dropsonde_plugin_api::matches_pattern;
/// assert!(matches_pattern("eth*", "eth0"));
/// assert!(!matches_pattern("eth", "eth0"));
/// ```
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut next) = (0, 0);
    // Where to go on when the last `*` has to take one byte more.
    let mut retry = None;
    while at < text.len() {
        match pattern.get(next) {
            Some(b'*') => {
                next += 1;
                retry = Some((at, next));
            }
            Some(byte) if *byte == text[at] => {
                at += 1;
                next += 1;
            }
            _ => {
                let Some((start, after_star)) = retry else { return false };
                at = start + 1;
                next = after_star;
                retry = Some((at, next));
            }
        }
    }
    pattern[next..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches_pattern as matches;

    #[test]
    fn a_pattern_without_a_star_is_a_name() {
        assert!(matches("eth0", "eth0"));
        assert!(!matches("eth0", "eth01"));
        assert!(!matches("eth0", "eth"));
        assert!(!matches("", "eth0"));
        assert!(!matches("?", "e"), "nothing else is special");
    }

    #[test]
    fn a_star_stands_for_any_text_or_none() {
        for pattern in ["*", "veth*", "veth*1", "*th*a*", "veth12ab1*", "**"] {
            assert!(matches(pattern, "veth12ab1"), "{pattern}");
        }
        for pattern in ["eth*", "*2", "veth*b", "*a*a*", "*x*"] {
            assert!(!matches(pattern, "veth12ab1"), "{pattern}");
        }
        assert!(matches("*", "") && matches("/x/*", "/x/y/z") && !matches("/x/*", "/x"));
    }

    #[test]
    fn a_star_takes_more_when_its_first_match_does_not_do() {
        assert!(matches("*ab", "aabab"));
        assert!(matches("a*bc", "abbc"));
        assert!(matches("*b*b", "abab"));
    }
}
