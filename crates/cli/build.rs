//! Migrations are embedded at compile time: a new file must rebuild the command.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
