//! Minifies `openapi.json`, half of which is white space: a component should be small. Writes the content security policy
//! of the page that shows it, which allows the page's own script and style by their hashes.

use std::{env, fs, io, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=openapi.json");
    println!("cargo::rerun-if-changed=src/docs.html");
    let mut description = fs::read_to_string("openapi.json")?;
    match serde_json::from_str::<serde_json::Value>(&description) {
        Ok(value) => description = value.to_string(),
        // The test that regenerates the file must still compile.
        Err(error) => println!("cargo::warning=openapi.json: {error}"),
    }
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&folder).join("openapi.json"), description)?;

    let page = fs::read_to_string("src/docs.html")?;
    let (script, style) = (hash_of(&page, "script")?, hash_of(&page, "style")?);
    let policy = format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    fs::write(Path::new(&folder).join("docs-policy.txt"), policy)
}

/// The source expression of an element's text: <https://www.w3.org/TR/CSP3/#grammardef-hash-source>.
fn hash_of(page: &str, element: &str) -> io::Result<String> {
    let text = page.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
    let (text, _) = text.ok_or(io::ErrorKind::InvalidData)?;
    Ok(format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text))))
}
