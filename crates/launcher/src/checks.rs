//! What would fail after minutes of building, checked before.

use std::{
    env,
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{Project, TARGET};

/// What the first build takes, in GiB.
const DISK_SPACE: u64 = 4;

/// Checks that the first build can succeed, and downloads what it needs.
pub fn check(project: &Project, arguments: &[OsString]) -> Result<(), String> {
    check_address(arguments)?;
    check_compiler()?;
    check_disk_space(project)?;
    add_target(project)?;
    download(project)
}

/// For `up`: whether the address to listen on is free.
fn check_address(arguments: &[OsString]) -> Result<(), String> {
    let Some(address) = address_of_up(arguments) else { return Ok(()) };
    // The command itself says what is wrong with an address.
    let Ok(address) = address.parse::<SocketAddr>() else { return Ok(()) };
    match TcpListener::bind(address) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(format!(
            "{address} is in use: stop the program that listens there, or choose another address with --listen"
        )),
        _ => Ok(()),
    }
}

/// The address on which `up` will listen, if that is the command.
fn address_of_up(arguments: &[OsString]) -> Option<String> {
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    if arguments.next()? != "up" {
        return None;
    }
    while let Some(argument) = arguments.next() {
        if argument == "--listen" {
            return Some(arguments.next()?.into_owned());
        }
        if let Some(address) = argument.strip_prefix("--listen=") {
            return Some(address.to_owned());
        }
    }
    Some("127.0.0.1:3000".to_owned())
}

/// Some dependencies contain C.
fn check_compiler() -> Result<(), String> {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    // It may be given with arguments.
    let program = compiler.split_whitespace().next().unwrap_or("cc");
    match succeeds(Command::new(program).arg("--version")) {
        true => Ok(()),
        false => Err(format!(
            "there is no C compiler (`{program}`), which some dependencies need: install one, for example with \
             `sudo apt-get install build-essential` or `xcode-select --install`"
        )),
    }
}

fn check_disk_space(project: &Project) -> Result<(), String> {
    let df = Command::new("df").arg("-Pk").arg(&project.target).stdin(Stdio::null()).output();
    // Where it can't be learnt, building goes ahead.
    let Some(free) = df.ok().and_then(|df| free_kilobytes(&String::from_utf8_lossy(&df.stdout))) else { return Ok(()) };
    let gigabytes = free >> 20;
    match gigabytes >= DISK_SPACE {
        true => Ok(()),
        false => Err(format!(
            "{} has {gigabytes} GiB of free space, and the build needs {DISK_SPACE}: make room",
            project.target.display()
        )),
    }
}

/// Reads the output of `df -Pk` (POSIX): a line of titles, then for each file system its name, size, used and available
/// kilobytes.
fn free_kilobytes(df: &str) -> Option<u64> {
    df.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// Adds Rust's target for Wasm if this toolchain doesn't have it.
fn add_target(project: &Project) -> Result<(), String> {
    let folder = PathBuf::from(rustc(project, &["--print", "target-libdir", "--target", TARGET])?.trim());
    if fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some()) {
        return Ok(());
    }
    let _step = progress::step(&format!("Installing Rust's target {TARGET}"));
    match succeeds(Command::new("rustup").args(["target", "add", TARGET]).current_dir(&project.root)) {
        true => Ok(()),
        false => Err(format!(
            "Rust's target {TARGET} is missing: run `rustup target add {TARGET}`, or install Rust from https://rustup.rs"
        )),
    }
}

/// This machine as Rust names it, such as `x86_64-unknown-linux-gnu`.
fn host(project: &Project) -> Result<String, String> {
    let version = rustc(project, &["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not name this machine")?.to_owned())
}

/// What the compiler prints.
fn rustc(project: &Project, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = command.args(arguments).current_dir(&project.root).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("rustc can't be run: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Downloads the dependencies for this machine and for Wasm, so that without a network this fails at once.
fn download(project: &Project) -> Result<(), String> {
    const STEP: &str = "Downloading the dependencies";
    let durations = project.durations();
    let step = progress::step_of(STEP, Some(durations.usual(STEP, Duration::from_secs(20))));
    let fetched = project.run_cargo(&["fetch", "--locked", "--target", &host(project)?, "--target", TARGET], &step)?;
    durations.record(STEP, step.elapsed());
    drop(step);
    match fetched {
        true => Ok(()),
        false => {
            Err("the dependencies could not be downloaded: connect this machine to the network, or set https_proxy \
                      if it needs a proxy, and run this again"
                .to_owned())
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_up_is_found() {
        let address = |arguments: &[&str]| address_of_up(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(address(&["up"]).as_deref(), Some("127.0.0.1:3000"));
        assert_eq!(address(&["up", "--fresh", "--listen", "[::]:80"]).as_deref(), Some("[::]:80"));
        assert_eq!(address(&["up", "--listen=1.2.3.4:5"]).as_deref(), Some("1.2.3.4:5"));
        assert_eq!(address(&["test"]), None);
        assert_eq!(address(&[]), None);
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let check = || check_address(&["up".into(), "--listen".into(), OsString::from(&address)]);
        assert!(check().unwrap_err().contains("in use"));
        drop(listener);
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn free_space_is_read_from_df() {
        let df = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n\
                  /dev/vda         263174212 12345678  83886080      13% /\n";
        assert_eq!(free_kilobytes(df), Some(83_886_080));
        assert_eq!(free_kilobytes(""), None);
    }
}
