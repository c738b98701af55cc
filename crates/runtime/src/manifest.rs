//! The parts of `spin.toml` that this runtime supports. An unknown key that could change behaviour is an error; keys
//! that only concern tools are ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    spin_manifest_version: u32,
    #[serde(default)]
    pub application: Application,
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
    #[serde(default)]
    pub trigger: Triggers,
    #[serde(default)]
    pub component: BTreeMap<String, Component>,
    #[serde(rename = "$schema")]
    _schema: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Application {
    #[serde(default)]
    trigger: ApplicationTriggers,
}

#[derive(Debug, Default, Deserialize)]
struct ApplicationTriggers {
    redis: Option<RedisDefaults>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisDefaults {
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    #[serde(default)]
    pub required: bool,
    pub default: Option<String>,
    #[serde(default, rename = "secret")]
    _secret: bool,
    #[serde(rename = "description")]
    _description: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Triggers {
    #[serde(default)]
    pub http: Vec<HttpTrigger>,
    #[serde(default)]
    pub redis: Vec<RedisTrigger>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    pub route: Route,
    pub component: String,
    #[serde(rename = "id")]
    _id: Option<String>,
    #[serde(rename = "executor")]
    _executor: Option<Executor>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Route {
    Path(String),
    /// Can only be reached from other components, which this runtime doesn't support: the trigger is ignored.
    Private {
        #[serde(rename = "private")]
        _private: bool,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Executor {
    #[serde(rename = "type")]
    _kind: ExecutorKind,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ExecutorKind {
    Http,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisTrigger {
    pub channel: String,
    pub component: String,
    address: Option<String>,
    #[serde(rename = "id")]
    _id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub source: PathBuf,
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub dependencies: BTreeMap<String, Dependency>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "build")]
    _build: Option<toml::Table>,
    #[serde(default)]
    pub tool: Tools,
    #[serde(rename = "targets")]
    _targets: Option<toml::Value>,
}

/// What is meant for tools; only ours matters here.
#[derive(Debug, Default, Deserialize)]
pub struct Tools {
    #[serde(default)]
    pub mall: Settings,
}

/// What this runtime does for a component, and Spin doesn't.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The endpoints that hash passwords, such as `POST /api/user/login`: few of them run at once.
    #[serde(default)]
    pub hashes_passwords: Vec<String>,
}

/// Where an import comes from: another component of the manifest, or a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    component: Option<String>,
    path: Option<PathBuf>,
    pub export: Option<String>,
}

impl Manifest {
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
        let manifest: Self =
            toml::from_str(&text).map_err(|e| Error::Manifest { path: path.into(), reason: one_line(&e, &text) })?;
        manifest.validate().map_err(|reason| Error::Manifest { path: path.into(), reason })?;
        Ok(manifest)
    }

    fn validate(&self) -> Result<(), String> {
        if self.spin_manifest_version != 2 {
            return Err(format!("spin_manifest_version is {}, but only 2 is supported", self.spin_manifest_version));
        }
        let http = self.trigger.http.iter().map(|t| &t.component);
        let redis = self.trigger.redis.iter().map(|t| &t.component);
        for name in http.chain(redis) {
            if !self.component.contains_key(name) {
                return Err(format!("a trigger refers to the component {name:?}, which is not defined"));
            }
        }
        for trigger in &self.trigger.redis {
            if self.redis_address(trigger).is_none() {
                return Err(format!("the Redis trigger on {:?} has no address", trigger.channel));
            }
        }
        Ok(())
    }

    /// The trigger's address, or else the application's default.
    pub fn redis_address<'a>(&'a self, trigger: &'a RedisTrigger) -> Option<&'a str> {
        let default = self.application.trigger.redis.as_ref();
        trigger.address.as_deref().or_else(|| default.map(|redis| redis.address.as_str()))
    }

    /// The Wasm file of a dependency, which names it directly or through a component.
    pub fn dependency_source<'a>(&'a self, dependency: &'a Dependency) -> Result<&'a Path, String> {
        match (&dependency.component, &dependency.path) {
            (Some(name), None) => match self.component.get(name) {
                Some(component) if component.dependencies.is_empty() => Ok(&component.source),
                Some(_) => Err(format!("{name:?} has dependencies itself, which this runtime doesn't support")),
                None => Err(format!("it refers to the component {name:?}, which is not defined")),
            },
            (None, Some(path)) => Ok(path),
            _ => Err("it needs either `component` or `path`".into()),
        }
    }
}

/// The parser's messages span several lines; errors of this crate are one line.
fn one_line(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().lines().next().unwrap_or_default();
    match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message.into(),
    }
}
