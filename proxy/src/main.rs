//! `lacquer`, the front door.

use std::process::ExitCode;

use proxy::cli::{self, Command};

fn main() -> ExitCode {
    match cli::parse() {
        Command::Serve { .. } => ExitCode::SUCCESS,
        Command::Check { config_path } => cli::report_check(config_path.as_deref()),
        Command::Send { order, to } => cli::run_order(&order, &to),
    }
}
