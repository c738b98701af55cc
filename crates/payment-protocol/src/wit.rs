//! The bindings of `types` in `wit/payment.wit`, which all providers share.
// Generated code is exempt from our lints.
#![allow(clippy::all, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used, missing_docs)]

wit_bindgen::generate!({ world: "vocabulary", path: "../../wit/payment.wit", generate_unused_types: true });
pub use mall::payment::types::*;
