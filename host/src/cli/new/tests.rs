use std::fs;

use super::package::{Api, Variant, files};
use super::*;

fn args(name: &str, path: PathBuf) -> Args {
    Args { name: name.to_owned(), events: false, minimal: false, path: Some(path), api: None }
}

#[test]
fn a_name_must_suit_the_host_and_cargo() {
    for name in ["a", "tcp-states", "io_2", "asynchronous", &"a".repeat(64)] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    for name in ["", "2fast", "_a", "-a", "Cpu", "a b", "a/b", "größe", "..", &"a".repeat(65)] {
        assert!(matches!(check_name(name), Err(NewError::Name(_))), "{name}");
    }
    for name in ["fn", "gen", "async", "yield", "std", "test", "proc-macro", "dropsonde-plugin-api"]
    {
        assert!(matches!(check_name(name), Err(NewError::Reserved(..))), "{name}");
    }
}

#[test]
fn a_manifest_is_toml_whatever_the_path() {
    let path = "/tmp/a \"quoted\" {name} \\ größe\t{testing} {api}";
    for variant in [Variant::Collector, Variant::Events, Variant::Minimal] {
        let files = files("tcp-states", variant, &Api::At(path.to_owned()));
        let manifest: toml::Table = toml::from_str(&files[0].1).unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("tcp-states"));
        for table in ["dependencies", "dev-dependencies"] {
            let api = &manifest[table]["dropsonde-plugin-api"];
            assert_eq!(api["path"].as_str(), Some(path), "{table}");
        }
        let released = package::files("tcp-states", variant, &Api::Released);
        assert!(released[0].1.contains("dropsonde-plugin-api = { version = \"1.0\" }\n"));
        for (path, text) in released.iter().filter(|(path, _)| !path.ends_with(".rs")) {
            for placeholder in ["{name}", "{api}", "{testing}", "{file}", "{topic}", "{more}"] {
                assert!(!text.contains(placeholder), "{path}: {placeholder}");
            }
        }
    }
}

#[test]
fn what_is_there_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("mine");
    fs::create_dir(&target).unwrap();
    assert!(matches!(make(&args("mine", target.clone())), Err(NewError::Exists(_))));
    fs::remove_dir(&target).unwrap();
    std::os::unix::fs::symlink("nowhere", &target).unwrap();
    assert!(matches!(make(&args("mine", target)), Err(NewError::Exists(_))));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was left beside it");
}

#[test]
fn where_nothing_can_be_written_nothing_is() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    for parent in ["missing", "file"] {
        let target = directory.path().join(parent).join("mine");
        let error = make(&args("mine", target.clone())).unwrap_err();
        assert_eq!(error.code(), 1);
        assert!(error.to_string().starts_with(&target.display().to_string()), "{error}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_checkout_is_found_from_its_root_and_from_the_api_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let api = root.join("plugin-api").canonicalize().unwrap();
    for path in [root, &api] {
        assert_eq!(Path::new(&checkout(path).unwrap()), api);
    }
    for path in [root.join("host"), root.join("nowhere")] {
        let error = checkout(&path).unwrap_err();
        assert_eq!(error.code(), WRONG_ARGUMENTS);
        assert!(error.to_string().contains("--api takes a checkout"), "{error}");
    }
}

#[test]
fn a_path_is_one_word_of_a_shell_and_nothing_to_a_terminal() {
    use std::os::unix::ffi::OsStrExt;
    let cases: [(&[u8], &str); 9] = [
        (b"/home/a-b/c_1.d", "/home/a-b/c_1.d"),
        (b"with space", "'with space'"),
        (b"it's", r"'it'\''s'"),
        (b"$(id);`id`\\", r"'$(id);`id`\'"),
        (b"~", "'~'"),
        ("größe".as_bytes(), "'größe'"),
        (b"-P", "./-P"),
        (b"it's\x1b[2J\n\\", r"$'it\'s\033[2J\012\\'"),
        (b"\xff1", r"$'\3771'"),
    ];
    for (path, word) in cases {
        assert_eq!(shell::quoted(Path::new(std::ffi::OsStr::from_bytes(path))), word);
    }
}
