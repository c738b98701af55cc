//! Runs a test program for `cargo mall test`, and notes how long each test took.
//!
//! Cargo calls this as its runner (<https://doc.rust-lang.org/cargo/reference/config.html#targettriplerunner>). Rust's
//! test harness tells the times only with `--report-time`, which is not stable yet; the variable that allows it is set
//! for the test program alone, and changes nothing in how it was compiled.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::Context;

use crate::process::ChildProcess;

/// The file to which the times are added.
pub const TIMES: &str = "MALL_TEST_TIMES";
/// How many of the slowest tests are named.
const SLOWEST: usize = 10;

#[derive(clap::Args)]
pub struct Arguments {
    /// The test program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (program, rest) = arguments.command.split_first().context("there is no test program")?;
    let mut command = Command::new(program);
    command.args(rest).args(["-Zunstable-options", "--report-time"]).env("RUSTC_BOOTSTRAP", "1");
    command.stdout(Stdio::piped());
    let mut tests = ChildProcess::spawn("the test program", &mut command, Duration::from_secs(5))?;
    let stdout = tests.take_stdout().context("no pipe")?;
    let reader = std::thread::spawn(move || pass_on(BufReader::new(stdout)));
    let status = tests.wait().await;
    let times = reader.join().unwrap_or_default();
    if let Some(file) = std::env::var_os(TIMES) {
        let file = OpenOptions::new().create(true).append(true).open(file);
        file.and_then(|mut file| file.write_all(times.as_bytes())).context("the tests' times can't be written")?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Prints the output without the times. Returns these, one line a test: the seconds and its name.
fn pass_on(output: impl BufRead) -> String {
    let mut times = String::new();
    for line in output.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let (text, time) = without_time(&line);
        println!("{text}");
        if let Some((name, seconds)) = time {
            times.push_str(&format!("{seconds} {name}\n"));
        }
    }
    times
}

/// Takes the time off `test cart::a_test ... ok <1.234s>`. Returns the rest, and the test's name and seconds.
fn without_time(line: &str) -> (&str, Option<(&str, f64)>) {
    let parts = line.strip_suffix("s>").and_then(|line| line.rsplit_once(" <"));
    let Some((text, seconds)) = parts else { return (line, None) };
    let name = text.strip_prefix("test ").and_then(|rest| Some(rest.rsplit_once(" ... ")?.0));
    match (name, seconds.parse()) {
        (Some(name), Ok(seconds)) => (text, Some((name, seconds))),
        _ => (line, None),
    }
}

/// The slowest of the tests whose times are in a file, as lines.
pub fn slowest(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).context("the tests' times can't be read")?;
    let mut times: Vec<(f64, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(seconds, name)| Some((seconds.parse().ok()?, name)))
        .collect();
    times.sort_by(|a, b| b.0.total_cmp(&a.0));
    let lines = times.iter().take(SLOWEST).map(|(seconds, name)| format!("  {seconds:6.2} s  {name}"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_off_the_lines_of_tests() {
        assert_eq!(without_time("test a::b ... ok <1.234s>"), ("test a::b ... ok", Some(("a::b", 1.234))));
        assert_eq!(without_time("test a ... FAILED <0.001s>"), ("test a ... FAILED", Some(("a", 0.001))));
        for other in ["test a ... ok", "test result: ok. 3 passed; finished in 1.20s", "text <5s>", ""] {
            assert_eq!(without_time(other), (other, None));
        }
        assert_eq!(pass_on(&b"running 1 test\ntest a ... ok <2.000s>\n"[..]), "2 a\n");
    }
}
