//! `openapi.json` without its white space, which is half of it: each component carries what it serves.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=openapi.json");
    let description: serde_json::Value = serde_json::from_slice(&fs::read("openapi.json")?)?;
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&folder).join("openapi.json"), description.to_string())
}
