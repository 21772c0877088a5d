//! Only files that nobody else could have written, and, where that is asked, that a trusted key
//! has signed, are run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use dropsonde_tests::{Agent, Options, binary, fixture, skipped, wait_for};
use minisign::KeyPair;
use serde_json::Value;

const NOBODY: u32 = 65534;

fn steady(version: &str) -> Vec<u8> {
    fs::read(fixture(&format!("steady_{version}"))).unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Puts a file there that has its owner and mode from the first moment on.
fn put_as(agent: &Agent, name: &str, prepare: impl FnOnce(&Path)) {
    let temporary = agent.path(".prepared");
    fs::write(&temporary, steady("v1")).unwrap();
    prepare(&temporary);
    fs::rename(temporary, agent.path(name)).unwrap();
}

#[track_caller]
fn admitted(agent: &Agent, file: &str) -> Value {
    wait_for(&format!("the admission of {file}"), || {
        agent.plugin(file).filter(|plugin| plugin["state"] == "admitted")
    })
}

/// Waits until a file was rejected with these words.
#[track_caller]
fn rejected_with(agent: &Agent, file: &str, words: &str) -> String {
    wait_for(&format!("the rejection of {file}: {words}"), || {
        let why = agent.plugin(file)?["rejection"].as_str()?.to_owned();
        why.contains(words).then_some(why)
    })
}

fn list(agent: &Agent, control: &str) -> Value {
    let output = Command::new(binary())
        .args(["list", "--json", "--control", control, "--plugins"])
        .arg(agent.root().join("plugins"))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn a_file_that_others_can_write_is_refused_until_they_can_t() {
    let agent = Agent::start("");
    put_as(&agent, "a.so", |path| set_mode(path, 0o666));
    let path = agent.path("a.so");
    let why = agent.rejected("a.so");
    let expected = format!(
        "can be written by others (mode 0666); look at it, then run `chmod go-w {}`",
        path.display()
    );
    assert_eq!(why, expected);
    assert!(agent.collector("steady").is_none(), "nothing of it has run");
    for control in [agent.control().display().to_string(), "off".to_owned()] {
        let list = list(&agent, &control);
        assert_eq!(list["plugins"][0]["rejection"], expected.as_str(), "asked at {control}");
    }
    // The fix that it names is one.
    let fix = Command::new("chmod").arg("go-w").arg(&path).status().unwrap();
    assert!(fix.success());
    agent.running("steady");
    assert_eq!(admitted(&agent, "a.so")["rejection"], Value::Null);

    // Opened to others while it runs: what runs was read before.
    set_mode(&path, 0o646);
    agent.rejected("a.so");
    agent.logged("the generation that was there goes on");
    let collector = agent.running("steady");
    assert_eq!((&collector["generation"], &collector["restarts"]), (&1.into(), &0.into()));
}

#[test]
fn a_directory_that_others_can_write_is_refused_sticky_or_not() {
    for mode in [0o777, 0o1777] {
        let agent = Agent::start("");
        let directory = agent.root().join("plugins");
        set_mode(&directory, mode);
        agent.put("a.so", &steady("v1"));
        let why = agent.rejected("a.so");
        let directory_name = directory.display();
        assert!(why.starts_with(&format!("lies in {directory_name}, which can be")), "{why}");
        assert!(why.ends_with(&format!("`chmod go-w {directory_name}`")), "{why}");
        set_mode(&directory, 0o755);
        agent.running("steady");
    }
}

#[test]
fn a_link_is_as_safe_as_its_target() {
    let agent = Agent::start("");
    let elsewhere = agent.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    set_mode(&elsewhere, 0o777);
    let target = elsewhere.join("b.so");
    fs::write(&target, steady("v1")).unwrap();
    set_mode(&target, 0o666);
    symlink(&target, agent.path("a.so")).unwrap();
    let why = agent.rejected("a.so");
    assert!(why.ends_with(&format!("`chmod go-w {}`", target.display())), "{why}");
    set_mode(&target, 0o644);
    let place = fs::canonicalize(&elsewhere).unwrap();
    rejected_with(&agent, "a.so", &format!("lies in {}, which", place.display()));
    set_mode(&elsewhere, 0o755);
    agent.running("steady");
}

#[test]
fn a_file_of_another_user_or_group_is_refused() {
    if !is_root() {
        skipped("only root can give a file to somebody else");
        return;
    }
    let agent = Agent::start("");
    put_as(&agent, "a.so", |path| chown(path, Some(NOBODY), None).unwrap());
    let why = agent.rejected("a.so");
    assert!(why.starts_with("is owned by uid 65534, neither root nor this host's user"), "{why}");
    chown(agent.path("a.so"), Some(0), Some(NOBODY)).unwrap();
    agent.running("steady"); // its group can't write to it

    set_mode(&agent.path("a.so"), 0o664);
    let why = rejected_with(&agent, "a.so", "can be written by group 65534");
    assert!(why.contains("(mode 0664), not this host's"), "{why}");
    chown(agent.path("a.so"), None, Some(0)).unwrap();
    admitted(&agent, "a.so"); // as umask 002 makes them
}

#[test]
fn unsafe_permissions_are_admitted_on_demand_with_one_warning_each() {
    let flag = ["--allow-unsafe-permissions".to_owned()].to_vec();
    let by_flag = Options { arguments: flag, ..Options::default() };
    let config = "[plugins]\nallow_unsafe_permissions = true\n".to_owned();
    let by_config = Options { config, ..Options::default() };
    for options in [by_flag, by_config] {
        let agent = Agent::with(options);
        put_as(&agent, "a.so", |path| set_mode(path, 0o666));
        agent.running("steady");
        let log = agent.log();
        let warnings = log.iter().filter(|line| line.contains("unsafe permissions are allowed"));
        let warnings: Vec<_> = warnings.collect();
        assert_eq!(warnings.len(), 1, "{log:#?}");
        assert!(warnings[0].contains("WARN") && warnings[0].contains("a.so"), "{warnings:?}");
        assert!(warnings[0].contains("can be written by others"), "{warnings:?}");
        // The host's word counts, and without one the files'.
        assert_eq!(
            list(&agent, agent.control().to_str().unwrap())["plugins"][0]["rejection"],
            Value::Null
        );
        assert!(list(&agent, "off")["plugins"][0]["rejection"].is_string());
    }
}

/// A key that signs, and an agent's configuration that trusts it.
struct Signer {
    pair: KeyPair,
}

impl Signer {
    fn new() -> Self {
        Self { pair: KeyPair::generate_unencrypted_keypair().unwrap() }
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signed = minisign::sign(Some(&self.pair.pk), &self.pair.sk, bytes, None, None);
        signed.unwrap().into_string().into_bytes()
    }

    fn id(&self) -> String {
        let number: [u8; 8] = self.pair.pk.keynum().try_into().unwrap();
        format!("{:016X}", u64::from_le_bytes(number))
    }

    fn config(&self, required: bool) -> String {
        let key = self.pair.pk.to_base64();
        format!("[plugins]\ntrusted_keys = [\"{key}\"]\nrequire_signature = {required}\n")
    }
}

#[test]
fn a_plugin_with_the_right_signature_is_admitted_and_its_signer_shown() {
    let signer = Signer::new();
    let agent = Agent::start(&signer.config(true));
    agent.put("a.so.minisig", &signer.sign(&steady("v1")));
    agent.put("a.so", &steady("v1"));
    agent.running("steady");
    assert_eq!(admitted(&agent, "a.so")["signed_by"], signer.id().as_str());
}

#[test]
fn unsigned_tampered_and_signed_by_another_are_three_rejections() {
    let (signer, other) = (Signer::new(), Signer::new());
    let agent = Agent::start(&signer.config(true));
    let good = steady("v1");
    let mut changed = good.clone();
    changed.push(0); // still the same plugin to the linker

    agent.put("unsigned.so", &good);
    let why = agent.rejected("unsigned.so");
    assert!(why.starts_with("is not signed, and plugins.require_signature is set"), "{why}");
    assert!(why.contains(agent.path("unsigned.so.minisig").to_str().unwrap()), "{why}");

    agent.put("tampered.so.minisig", &signer.sign(&good));
    agent.put("tampered.so", &changed);
    let why = agent.rejected("tampered.so");
    assert!(why.starts_with("does not fit its signature "), "{why}");
    assert!(why.contains(&signer.id()), "{why}");

    agent.put("other.so.minisig", &other.sign(&good));
    agent.put("other.so", &good);
    let why = agent.rejected("other.so");
    let expected =
        format!("is signed by key {}, which plugins.trusted_keys does not have", other.id());
    assert!(why.starts_with(&expected), "{why}");

    agent.put("nonsense.so.minisig", b"nonsense");
    agent.put("nonsense.so", &good);
    let why = agent.rejected("nonsense.so");
    assert!(why.contains("nonsense.so.minisig that can't be used"), "{why}");
    assert!(agent.collector("steady").is_none(), "none of them has run");
}

#[test]
fn a_signature_that_is_not_required_must_still_fit() {
    let signer = Signer::new();
    let agent = Agent::start(&signer.config(false));
    agent.put("a.so", &steady("v1"));
    agent.running("steady");
    assert_eq!(admitted(&agent, "a.so")["signed_by"], Value::Null);
    agent.put("b.so.minisig", &signer.sign(&steady("v1")));
    agent.put("b.so", &steady("v2"));
    let why = agent.rejected("b.so");
    assert!(why.starts_with("does not fit its signature "), "{why}");
}

#[test]
fn a_signature_that_comes_after_the_file_is_noticed() {
    let (signer, other) = (Signer::new(), Signer::new());
    let agent = Agent::start(&signer.config(true));
    agent.put("a.so", &steady("v1"));
    rejected_with(&agent, "a.so", "is not signed");
    fs::write(agent.path("a.so.minisig"), other.sign(&steady("v1"))).unwrap();
    rejected_with(&agent, "a.so", "is signed by key");
    fs::write(agent.path("a.so.minisig"), signer.sign(&steady("v1"))).unwrap();
    agent.running("steady");
    assert_eq!(admitted(&agent, "a.so")["signed_by"], signer.id().as_str());
}

#[test]
fn a_replacement_with_a_bad_signature_leaves_the_old_generation_running() {
    let signer = Signer::new();
    let agent = Agent::start(&signer.config(true));
    agent.put("a.so.minisig", &signer.sign(&steady("v1")));
    agent.put("a.so", &steady("v1"));
    agent.running("steady");
    agent.put("a.so", &steady("v2")); // beside the signature of the old one
    agent.rejected("a.so");
    let plugin = agent.plugin("a.so").unwrap();
    assert_eq!((&plugin["state"], &plugin["generation"]), (&"rejected".into(), &1.into()));
    let before = agent.collector("steady").unwrap()["batches"].as_u64();
    let now = agent.until("steady", "going on", |now| now["batches"].as_u64() > before);
    assert_eq!((&now["generation"], &now["restarts"]), (&1.into(), &0.into()));
    assert_eq!(agent.snapshot()["steady"]["build"], 1);

    agent.put("a.so.minisig", &signer.sign(&steady("v2")));
    agent.until("steady", "the new one", |now| now["generation"] == 2);
    admitted(&agent, "a.so");
}

#[test]
fn a_change_of_trust_concerns_the_files_that_are_there() {
    let signer = Signer::new();
    let agent = Agent::start("");
    agent.put("a.so", &steady("v1"));
    agent.running("steady");
    agent.configure(&signer.config(true));
    rejected_with(&agent, "a.so", "is not signed");
    assert_eq!(agent.collector("steady").unwrap()["restarts"], 0);
    agent.put("a.so.minisig", &signer.sign(&steady("v1")));
    assert_eq!(admitted(&agent, "a.so")["signed_by"], signer.id().as_str());
    agent.configure("");
    wait_for("the signature to be nobody's", || {
        (agent.plugin("a.so")?["signed_by"] == Value::Null).then_some(())
    });
    assert_eq!(agent.collector("steady").unwrap()["generation"], 1);
}

#[test]
fn a_wrong_key_and_a_requirement_without_keys_end_with_78() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("d.toml");
    let run = |text: &str| {
        fs::write(&file, text).unwrap();
        let output = Command::new(binary())
            .args(["run", "--listen", ":0", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run("[plugins]\nrequire_signature = true\n");
    assert_eq!(code, Some(78));
    assert!(text.contains("d.toml:2:21: plugins.require_signature: no key is trusted"), "{text}");
    let (code, text) = run("[plugins]\ntrusted_keys = [\"ssh-ed25519 AAAA\"]\n");
    assert_eq!(code, Some(78));
    assert!(text.contains("d.toml:2:17: plugins.trusted_keys[0]: is no minisign"), "{text}");
}

#[test]
fn validate_names_the_refusal_where_a_plugin_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("a.so");
    fs::write(&plugin, steady("v1")).unwrap();
    set_mode(&plugin, 0o666);
    let file = directory.path().join("d.toml");
    fs::write(&file, "[collectors.steady]\ninterval = \"1s\"\n").unwrap();
    let validate = || {
        let mut command = Command::new(binary());
        let command = command.arg("validate").arg(&file).arg("--plugins").arg(directory.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = validate();
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("there is no plugin `steady`"), "{text}");
    assert!(text.contains(&format!("`chmod go-w {}`", plugin.display())), "{text}");
    set_mode(&plugin, 0o644);
    assert_eq!(validate().0, Some(0));
}
