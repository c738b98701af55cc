//! Bindings of the pricing component, which is composed in as `mall:pricing/engine`.

wit_bindgen::generate!({ world: "priced", path: "../../wit/pricing.wit" });
pub(crate) use mall::pricing::engine::*;
