//! The `repoint` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    repoint::cli::main()
}
