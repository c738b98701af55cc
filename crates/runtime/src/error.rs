//! Why an application can't be started.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why an application can't be started. Each message is one line.
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
    /// The manifest is not valid.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A route is not valid.
    #[error("the route {route:?} is not valid: {reason}")]
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
        /// The environment variable that sets it.
        environment: String,
        /// Whether the manifest marks it as required.
        required: bool,
    },
    /// A variable was set that the manifest doesn't declare.
    #[error("the variable {0:?} is not declared in the manifest")]
    UnknownVariable(String),
    /// A variable's name is not valid.
    #[error("invalid variable name {0}")]
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
    /// A trigger's address can't be used. The address is not shown because it may contain a password.
    #[error("the Redis trigger on {channel:?}: {reason}")]
    Trigger {
        /// The trigger's channel.
        channel: String,
        /// Why.
        reason: String,
    },
    /// The cache of compiled components can't be used.
    #[error("can't use {} as the cache of compiled components: {source}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The port is in use, or this user may not listen on it.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The WebAssembly engine can't be started on this machine.
    #[error("the WebAssembly engine can't be started: {0}")]
    Engine(String),
}
