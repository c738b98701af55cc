//! The embedded runtime: runs a `spin.toml` where no Spin is installed.
//!
//! It reads the same manifest, offers the same interfaces (`wasi:http`, `spin:mysql`, `spin:redis`, `spin:variables`,
//! Redis triggers) and refuses what Spin refuses. Where it does better (pooled connections, triggers that connect
//! again, a graceful stop), functions don't notice.

mod app;
mod bindings;
mod compose;
mod engine;
mod function;
mod guest;
mod hosts;
mod http;
mod manifest;
mod mysql;
mod output;
mod redis;
mod routes;
mod subscriber;
mod variables;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

#[doc(hidden)]
pub use app::start_with;
pub use app::{App, start};
#[doc(hidden)]
pub use function::Limits;

/// What to run and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `spin.toml`.
    pub manifest: PathBuf,
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// Application variables. These win over `SPIN_VARIABLE_…` of the environment, which wins over the manifest's defaults.
    pub variables: BTreeMap<String, String>,
    /// A folder for compiled components, which this user alone must be able to write to.
    pub cache: Option<PathBuf>,
}

/// Why an application can't run, in one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest says what can't be.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A route that isn't one.
    #[error("the route {route:?} is no route: {reason}")]
    Route {
        /// The route.
        route: String,
        /// Why.
        reason: String,
    },
    /// A variable without a value.
    #[error("the variable {name:?} has no value: set {environment}{}", if *required { "" } else { " (it is not marked as required, but has no default)" })]
    MissingVariable {
        /// The variable.
        name: String,
        /// What sets it.
        environment: String,
        /// Whether the manifest says so.
        required: bool,
    },
    /// A variable was given that the manifest doesn't declare.
    #[error("the variable {0:?} is not declared in the manifest")]
    UnknownVariable(String),
    /// A variable can't be called that.
    #[error("bad variable name {0}")]
    VariableName(String),
    /// An environment variable isn't text.
    #[error("{0} is not valid UTF-8")]
    VariableNotUnicode(String),
    /// A component can't be loaded.
    #[error("component {component:?}: {reason}")]
    Component {
        /// The component.
        component: String,
        /// Why.
        reason: String,
    },
    /// A trigger's address can't be used. The address may hold a password and isn't shown.
    #[error("the Redis trigger on {channel:?}: {reason}")]
    Trigger {
        /// The trigger's channel.
        channel: String,
        /// Why.
        reason: String,
    },
    /// The cache can't be used.
    #[error("can't use {} for compiled components: {source}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The port is taken, or isn't ours to take.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The WebAssembly engine doesn't start on this machine.
    #[error("the WebAssembly engine doesn't start: {0}")]
    Engine(String),
}
