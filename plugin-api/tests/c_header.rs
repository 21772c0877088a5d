//! `include/dropsonde.h` and `abi::c` mean the same.

#![allow(clippy::unwrap_used)] // a test's assertions

use std::fmt::Write;
use std::mem::offset_of;
use std::process::Command;
use std::{env, fs};

use dropsonde_plugin_api::abi::c::{
    C_ABI, CColumn, CError, CHost, CPlugin, CSettings, CSink, CStream, CTableHead, CValue, FAILED,
    MISSING, OK, SETTINGS, SIZES,
};
use dropsonde_plugin_api::abi::{API_VERSION, Capability, Kind, Language, RawManifest};

/// Lines `what = number` as Rust has them, and the C expressions that must give the same.
#[derive(Default)]
struct Compared {
    rust: String,
    c: String,
}

impl Compared {
    fn number(&mut self, expression: &str, number: usize) {
        writeln!(self.rust, "{expression} = {number}").unwrap();
        writeln!(self.c, "    printf(\"%s = %zu\\n\", \"{expression}\", (size_t)({expression}));")
            .unwrap();
    }
}

macro_rules! layout {
    ($compared:ident, $c:literal, $rust:ty, [$($field:ident $(as $named:literal)?),*]) => {
        $compared.number(concat!("sizeof(struct ", $c, ")"), size_of::<$rust>());
        $(
            let name = [$($named,)? stringify!($field).trim_start_matches("r#")][0];
            let expression = format!("offsetof(struct {}, {name})", $c);
            $compared.number(&expression, offset_of!($rust, $field));
        )*
    };
}

#[test]
fn the_header_has_the_layout_that_the_host_reads() {
    let mut all = Compared::default();
    layout!(
        all,
        "dropsonde_column",
        CColumn,
        [name, unit, description, otel, attributes, share, role, r#type, reserved]
    );
    layout!(
        all,
        "dropsonde_stream",
        CStream,
        [name, description, columns, column_count, kind, reserved]
    );
    layout!(all, "dropsonde_value", CValue, [r#type, reserved, of, length]);
    layout!(all, "dropsonde_error", CError, [message, path]);
    layout!(all, "dropsonde_settings", CSettings, [context, text, integer, number, flag, json]);
    layout!(all, "dropsonde_host", CHost, [context, collector, state_dir, log]);
    layout!(all, "dropsonde_sink", CSink, [context, push, empty, partial, flush, wait]);
    layout!(all, "dropsonde_plugin", CPlugin, [
        head as "abi", interval_ms, streams, stream_count, check_settings, create, collect, run,
        destroy
    ]);
    all.number("offsetof(struct dropsonde_plugin, sizes)", offset_of!(CTableHead, sizes));
    for (index, (_, size)) in SIZES.into_iter().enumerate() {
        all.number(&format!("table.sizes[{index}]"), size);
    }
    all.number("sizeof table.sizes / sizeof table.sizes[0]", SIZES.len());
    all.number("sizeof(struct dropsonde_manifest)", size_of::<RawManifest>());
    all.number("DROPSONDE_ABI", C_ABI as usize);
    all.number("DROPSONDE_API_MAJOR", API_VERSION.0.into());
    all.number("DROPSONDE_API_MINOR", API_VERSION.1.into());
    all.number("DROPSONDE_OK", OK as usize);
    all.number("DROPSONDE_FAILED", FAILED as usize);
    all.number("DROPSONDE_SETTINGS", SETTINGS as usize);
    all.number("DROPSONDE_MISSING", MISSING as usize);
    all.number("DROPSONDE_POLLED", Kind::Polled as usize);
    all.number("DROPSONDE_EVENTS", Kind::Events as usize);
    all.number("manifest_language", Language::C as usize);
    for capability in Capability::ALL {
        let name = capability.name().to_uppercase();
        all.number(&format!("DROPSONDE_{name}"), capability as usize);
    }
    // Roles, types and kinds have no numbers in Rust: the boundary's comments have.
    for (number, names) in [
        ["KEY", "U64", "SNAPSHOT"].as_slice(),
        &["COUNTER", "I64", "EVENT", "ERROR"],
        &["GAUGE", "F64", "WARN"],
        &["ATTRIBUTE", "BOOL", "INFO"],
        &["TEXT", "DEBUG"],
        &["LIST", "TRACE"],
    ]
    .into_iter()
    .enumerate()
    {
        for name in names {
            // Levels of the log count from 1.
            all.number(&format!("DROPSONDE_{name}"), number);
        }
    }
    assert_eq!(in_c(&all.c), all.rust);
}

/// What a program prints that is made of these lines.
fn in_c(lines: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("layout.c");
    let program = directory.path().join("layout");
    let text = format!(
        "#include \"dropsonde.h\"\n\
         DROPSONDE_MANIFEST(\"a\", \"1\", \"b\", DROPSONDE_POLLED, 0);\n\
         static const struct dropsonde_plugin table = {{ DROPSONDE_TABLE }};\n\
         int main(void) {{\n    int manifest_language = dropsonde_plugin_manifest.language;\n{lines}}}\n"
    );
    fs::write(&source, text).unwrap();
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let built = Command::new(compiler)
        .args(["-std=c11", "-I", include, "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    assert!(built.unwrap().success());
    String::from_utf8(Command::new(&program).output().unwrap().stdout).unwrap()
}
