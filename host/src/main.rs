//! The `dropsonde` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    dropsonde::enter_if_runner();
    dropsonde::cli::main()
}
