//! `bench`: lacquer and its peers side by side. See `load-tests/BENCHMARK.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match load_tests::bench::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
