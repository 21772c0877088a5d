//! Every `dropsonde` command that the README, that of a new plugin, and the book of the plugin API show is one that the
//! command line takes.

use std::fs;
use std::path::Path;

use clap::Parser;

use super::Cli;

/// The commands in the `sh` and `console` blocks of a Markdown text, as words.
fn commands(markdown: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut block: Option<(&str, String)> = None;
    for line in markdown.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some((language, String::new())),
            (Some((language, text)), Some(_)) => {
                if ["sh", "console"].contains(language) {
                    commands.append(&mut parse(text));
                }
                block = None;
            }
            // Of a console, what was typed.
            (Some(("console", text)), None) => {
                if let Some(typed) = line.strip_prefix("$ ") {
                    text.push_str(&format!("{typed}\n"));
                }
            }
            (Some((_, text)), None) => text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    commands
}

/// Splits a script as a shell does that knows quotes, comments, `;`, `|`, `&` and `&&`.
fn parse(script: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let script = script.replace("\\\n", " ");
    let mut characters = script.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\n' | ';' | '|' | '&') => {
                commands.last_mut().unwrap().extend(word.take());
                if character != ' ' {
                    commands.push(Vec::new());
                }
            }
            (None, '#') if word.is_none() => {
                characters.by_ref().find(|character| *character == '\n');
                commands.push(Vec::new());
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    commands.last_mut().unwrap().extend(word);
    commands
}

/// The arguments of a command that runs this program.
fn of_dropsonde(command: &[String]) -> Option<&[String]> {
    let program = command.iter().position(|word| !word.contains('='))?;
    let arguments = command.get(program..)?;
    arguments.first()?.rsplit('/').next().filter(|name| *name == "dropsonde")?;
    Some(arguments)
}

#[test]
fn a_script_is_split_as_a_shell_does() {
    let script = "A=1 x/dropsonde tap 'a b' # no\ncargo \\\n  test && y \"c;d\" &\n";
    let commands = parse(script);
    let words: Vec<Vec<&str>> = commands
        .iter()
        .filter(|command| !command.is_empty())
        .map(|command| command.iter().map(String::as_str).collect())
        .collect();
    let expected: [&[&str]; 3] =
        [&["A=1", "x/dropsonde", "tap", "a b"], &["cargo", "test"], &["y", "c;d"]];
    assert_eq!(words, expected);
    assert_eq!(of_dropsonde(&commands[0]).unwrap().len(), 3);
}

#[test]
fn every_command_that_is_documented_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let book = fs::read_dir(root.join("plugin-api/docs")).unwrap();
    let others = ["README.md", "host/templates/README.md.in"].map(|page| root.join(page));
    let pages = book.map(|entry| entry.unwrap().path()).chain(others);
    let mut found = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for command in commands(&text) {
            let Some(arguments) = of_dropsonde(&command) else { continue };
            found += 1;
            if let Err(error) = Cli::try_parse_from(arguments) {
                panic!("{}: {arguments:?}: {error}", page.display());
            }
        }
    }
    assert!(found > 15, "{found} were found");
}
