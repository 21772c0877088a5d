//! Opens a plugin: the only place that calls `dlopen`, with the `unsafe` that needs.
//!
//! `abi_stable`'s own loading functions keep one library per root type and leak it, and its
//! global layout cache keeps pointers into the library; so the library is opened here, and each
//! check has a cache of its own, which is gone before the library can be.

mod table;

use std::path::Path;

use dropsonde_plugin_api::abi::abi_stable::StableAbi;
use dropsonde_plugin_api::abi::abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
};
use dropsonde_plugin_api::abi::abi_stable::library::{AbiHeaderRef, LibHeader};
use dropsonde_plugin_api::abi::abi_stable::type_layout::{TLFieldOrFunction, TypeLayout};
use dropsonde_plugin_api::abi::c::CTableHead;
use dropsonde_plugin_api::abi::{API_VERSION, C_SYMBOL, MODULE_SYMBOL, PluginModuleRef};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use thiserror::Error;

pub(crate) use table::{Table, TableError};

/// Why a plugin could not be opened.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    /// The dynamic linker refused it.
    #[error("the dynamic linker refused it: {0}; install what it needs, or rebuild it")]
    Open(String),
    /// It lacks the entry symbol.
    #[error(
        "it has neither `{MODULE_SYMBOL}`, which export_plugin! makes, nor `{C_SYMBOL}`, which dropsonde.h declares"
    )]
    Symbol,
    /// The table of a plugin in C does not fit.
    #[error("its `{C_SYMBOL}` {0}")]
    Table(#[from] TableError),
    /// It was built with another release of abi_stable.
    #[error("its ABI header is unknown ({0}); rebuild it with dropsonde-plugin-api {major}.{minor}", major = API_VERSION.0, minor = API_VERSION.1)]
    Header(String),
    /// The layout of the types at the boundary differs.
    #[error("its plugin API {plugin} does not fit this host's {}.{}: {facts}; rebuild it against this host's API", API_VERSION.0, API_VERSION.1)]
    Layout { plugin: String, facts: String },
    /// Its entry function failed.
    #[error("its entry function failed: {0}")]
    Init(String),
}

/// An open plugin. Dropping it closes the library: only where none of its code can still run,
/// and none of its data is still in use.
pub(crate) struct Loaded {
    /// The exported functions; they panic never and may be called from one thread at a time.
    pub(crate) functions: Functions,
    library: Library,
}

/// What a plugin exports, by language.
pub(crate) enum Functions {
    Rust(PluginModuleRef),
    C(Table),
}

impl Loaded {
    /// Opens a staged file and checks that both sides mean the same by every type. Runs the
    /// plugin's constructors: never on a file that has not passed the probe in a child process.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        // SAFETY: loading runs the plugin's constructors, which can do anything; that is what a
        // plugin is. The file is a private copy that nobody writes to.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| LoadError::Open(innermost(&error)))?;
        // SAFETY: the symbol is the static that export_plugin! makes; what it points at starts
        // with abi_stable's header, whose magic is checked before anything else is read.
        let header = unsafe { library.get::<AbiHeaderRef>(MODULE_SYMBOL.as_bytes()) };
        let functions = match header {
            Ok(header) => Functions::Rust(module(*header)?),
            Err(_) => {
                // SAFETY: the symbol is the table that the header has; its beginning says
                // whether the rest can be read.
                let table = unsafe { library.get::<*const CTableHead>(C_SYMBOL.as_bytes()) };
                let table = table.map_err(|_| LoadError::Symbol)?;
                Functions::C(Table::read(*table)?)
            }
        };
        Ok(Self { functions, library })
    }

    /// Keeps the library mapped for ever: for when its code may still run.
    pub(crate) fn leak(self) {
        std::mem::forget(self.library);
    }
}

/// The module behind a header, once both sides are known to mean the same by every type.
fn module(header: AbiHeaderRef) -> Result<PluginModuleRef, LoadError> {
    let header = header.upgrade().map_err(|error| LoadError::Header(brief(&error.to_string())))?;
    check_layout(header)?;
    // SAFETY: the layouts were compared above, in both directions.
    unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() }
        .map_err(|error| LoadError::Init(brief(&error.to_string())))
}

/// Accepts a plugin of an older API (the host knows more fields than it has) and of a newer one
/// (it has more fields than the host knows); refuses any other difference.
fn check_layout(header: &'static LibHeader) -> Result<(), LoadError> {
    let plugin = || header.version_strings().version.to_string();
    let Some(theirs) = header.layout() else {
        return Err(LoadError::Layout { plugin: plugin(), facts: "no layout information".into() });
    };
    let ours = <PluginModuleRef as StableAbi>::LAYOUT;
    let Err(errors) = compare(ours, theirs) else { return Ok(()) };
    if compare(theirs, ours).is_ok() {
        return Ok(());
    }
    Err(LoadError::Layout { plugin: plugin(), facts: facts(&errors) })
}

fn compare(
    interface: &'static TypeLayout,
    implementation: &'static TypeLayout,
) -> Result<(), AbiInstabilityErrors> {
    check_layout_compatibility_with_globals(interface, implementation, &CheckingGlobals::new())
}

/// The few facts that help: a full report is tens of kilobytes.
fn facts(errors: &AbiInstabilityErrors) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in &errors.errors {
        let place = error.stack_trace.last().map(|at| place(&at.expected)).unwrap_or_default();
        for fact in error.errs.iter().filter_map(fact) {
            let text = format!("{fact}{place}");
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
    texts.truncate(3);
    if texts.is_empty() { "the types differ".into() } else { texts.join("; ") }
}

fn place(at: &TLFieldOrFunction) -> String {
    match at {
        TLFieldOrFunction::Field(field) => format!(" in `{}`", field.layout().name()),
        TLFieldOrFunction::Function(function) => format!(" in `fn {}`", function.name),
    }
}

fn fact(error: &AbiInstability) -> Option<String> {
    Some(match error {
        AbiInstability::Size(sizes) => {
            format!("size {} here, {} there", sizes.expected, sizes.found)
        }
        AbiInstability::Alignment(bytes) => {
            format!("alignment {} here, {} there", bytes.expected, bytes.found)
        }
        AbiInstability::FieldCountMismatch(counts) => {
            format!("{} fields here, {} there", counts.expected, counts.found)
        }
        AbiInstability::MismatchedPrefixSize(counts) => {
            format!("{} required fields here, {} there", counts.expected, counts.found)
        }
        AbiInstability::UnexpectedField(fields) => {
            format!("field `{}` here, `{}` there", fields.expected.name(), fields.found.name())
        }
        AbiInstability::Name(names) => {
            format!("type `{}` here, `{}` there", names.expected.name(), names.found.name())
        }
        AbiInstability::PackageVersion(versions) => {
            format!("API {} here, {} there", versions.expected.version, versions.found.version)
        }
        _ => return None,
    })
}

/// The linker's own words, which name the library or symbol at fault.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// The first line, and no more than fits one.
fn brief(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    line.chars().take(160).collect()
}
