//! The host of API 1.1.

use std::process::ExitCode;

fn main() -> ExitCode {
    dropsonde::enter_if_runner();
    dropsonde::cli::main()
}
