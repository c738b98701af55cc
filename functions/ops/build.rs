//! Minifies `openapi.json`, half of which is white space: a component should be small.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=openapi.json");
    let mut description = fs::read_to_string("openapi.json")?;
    match serde_json::from_str::<serde_json::Value>(&description) {
        Ok(value) => description = value.to_string(),
        // The test that regenerates the file must still compile.
        Err(error) => println!("cargo::warning=openapi.json: {error}"),
    }
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&folder).join("openapi.json"), description)
}
