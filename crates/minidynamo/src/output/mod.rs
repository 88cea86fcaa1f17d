//! What commands print on standard output.
//!
//! Text is for people and may change; JSON is for scripts, and neither its keys nor their order change.
//! Every function here returns the whole text, so that it is written at once and can be tested.

pub mod describe;
pub mod json;
pub mod line;
pub mod list;
pub mod nodes;
pub mod quarantine;
pub mod status;
mod table;
mod units;

use std::io::{self, Write};

use crate::cli::Failure;

/// Prints a text, with a newline at its end.
pub fn print(text: &str) -> Result<(), Failure> {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    print_bytes(format!("{text}{newline}").as_bytes())
}

/// Prints bytes as they are. A pipe that its reader has closed (`| head`) is no error.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!(
            "can't write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}
