//! Cargo's progress, read from what it prints for a terminal.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use crate::Step;

/// Makes the command print its progress to a pipe, for [`follow`].
pub fn pipe_progress(command: &mut Command, on_terminal: bool) {
    command
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        .env("CARGO_TERM_COLOR", if on_terminal { "always" } else { "never" })
        .stderr(Stdio::piped());
}

/// Reads what Cargo prints until it ends. Its progress goes to `set_progress` as units done, units in all, and what it is
/// at; its warnings and errors to `step`; the rest is of no use to those who don't know Cargo.
pub fn follow(stderr: impl Read, step: &Step, mut set_progress: impl FnMut(u64, u64, &str)) {
    let mut reader = BufReader::new(stderr);
    let mut chunk = Vec::new();
    loop {
        chunk.clear();
        // Progress lines end with \r, all others with \n.
        match read_line(&mut reader, &mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&chunk);
        for part in line.trim_end_matches(['\n', '\r']).split('\r') {
            let plain = without_colour(part);
            if let Some((done, total, units)) = progress(&plain) {
                set_progress(done, total, units);
            } else if !is_status(&plain) {
                step.line(part);
            }
        }
    }
}

fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(line.len());
        }
        match available.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            Some(end) => {
                line.extend(available.iter().take(end + 1));
                reader.consume(end + 1);
                return Ok(line.len());
            }
            None => {
                let length = available.len();
                line.extend_from_slice(available);
                reader.consume(length);
            }
        }
    }
}

/// Parses `Building [====>   ] 12/345: serde, tokio`.
fn progress(line: &str) -> Option<(u64, u64, &str)> {
    let rest = line.trim_start().strip_prefix("Building")?;
    let (_, rest) = rest.split_once("] ")?;
    let (numbers, units) = rest.split_once(": ").unwrap_or((rest, ""));
    let (done, total) = numbers.trim().split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?, units))
}

/// Whether a line only says what Cargo is doing.
fn is_status(line: &str) -> bool {
    const WORDS: [&str; 11] = [
        "Compiling",
        "Checking",
        "Downloading",
        "Downloaded",
        "Updating",
        "Locking",
        "Finished",
        "Fresh",
        "Adding",
        "Building",
        "Blocking",
    ];
    let line = line.trim_start();
    line.is_empty() || WORDS.iter().any(|word| line.starts_with(word))
}

fn without_colour(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        // An escape sequence ends with its first letter.
        rest = after.find(|c: char| c.is_ascii_alphabetic()).and_then(|end| after.get(end + 1..)).unwrap_or_default();
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_progress_is_parsed() {
        let line =
            without_colour("\u{1b}[K\u{1b}[1m\u{1b}[36m    Building\u{1b}[0m [====>    ] 12/345: serde, tokio(bin)");
        assert_eq!(progress(&line), Some((12, 345, "serde, tokio(bin)")));
        assert_eq!(progress("warning: unused variable"), None);
    }

    #[test]
    fn warnings_are_not_status_lines() {
        assert!(is_status("   Compiling serde v1.0.0"));
        assert!(is_status("    Blocking waiting for file lock on package cache"));
        assert!(!is_status("warning: unused variable: `x`"));
        assert!(!is_status("  --> src/lib.rs:1:1"));
    }
}
