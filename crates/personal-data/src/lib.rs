//! Where personal data lives: [`TABLES`] has every column of every table. A user's data is exported and erased by this map,
//! across the tables of all subjects, so that nothing is forgotten; an end-to-end test compares it with the schema.

mod erase;
mod export;
mod map;

pub use erase::erase;
pub use export::{Export, export};
pub use map::{Data, Erasure, Rows, TABLES, Table};
