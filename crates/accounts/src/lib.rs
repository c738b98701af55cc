//! Who a user is, and the sessions they have; shared by the functions that sign in and those that end sessions.

mod account;
pub mod profile;
mod reset;
pub mod session;

pub use account::{Account, check_password, client_address, find, lock};
pub use profile::Profile;
pub use reset::{RESET_SECONDS, Reset};
pub use session::Tokens;

use kit::rate::Lockout;

/// So many wrong passwords within so long lock a name for as long.
pub const LOCKOUT: Lockout = Lockout { failures: 10, seconds: 15 * 60 };
