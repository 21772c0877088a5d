//! Texts of plugins, as people see them.

/// Without what a terminal would take for a command, and on one line.
pub(crate) fn plain(text: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            character.escape_default().to_string()
        } else {
            character.into()
        }
    };
    text.chars().map(shown).collect()
}
