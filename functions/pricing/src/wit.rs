//! The bindings of the engine's interface.
// Generated code is exempt from our lints.
#![allow(clippy::all, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

wit_bindgen::generate!({ world: "pricing", path: "../../wit/pricing.wit" });
pub use exports::mall::pricing::engine::*;
