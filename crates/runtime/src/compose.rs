//! `[component.X.dependencies]`: other components put in the place of imports, at load time.

use std::collections::BTreeMap;

use wac_graph::types::{Package, SubtypeChecker};
use wac_graph::{CompositionGraph, EncodeOptions};

/// What satisfies one import.
pub struct Part<'a> {
    pub wasm: &'a [u8],
    /// The export to take, if it isn't named as the import is.
    pub export: Option<&'a str>,
}

/// A dependency reaches nothing in Spin unless it is let; here it may not even ask.
const DENIED: [&str; 4] = ["spin:", "fermyon:", "wasi:http/", "wasi:sockets/"];

/// Composes `wasm` with its dependencies, by import name.
pub fn compose(name: &str, wasm: Vec<u8>, parts: &BTreeMap<&str, Part>) -> anyhow::Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let package = Package::from_bytes(name, None, wasm, graph.types_mut())?;
    let world = package.ty();
    let package = graph.register_package(package)?;
    let instance = graph.instantiate(package);

    for (index, (import, part)) in parts.iter().enumerate() {
        let imports: Vec<_> =
            graph.types()[world].imports.keys().filter(|name| satisfies(import, name)).cloned().collect();
        anyhow::ensure!(!imports.is_empty(), "dependency {import:?} matches none of the component's imports");
        let dependency =
            Package::from_bytes(&format!("wasmall:dependency{index}"), None, part.wasm.to_vec(), graph.types_mut())?;
        let exports = dependency.ty();
        if let Some(denied) =
            graph.types()[exports].imports.keys().find(|name| DENIED.iter().any(|prefix| name.starts_with(prefix)))
        {
            anyhow::bail!("dependency {import:?} imports {denied:?}, but dependencies reach nothing");
        }
        let dependency = graph.register_package(dependency)?;
        let dependency = graph.instantiate(dependency);
        for import in imports {
            let export = part.export.unwrap_or(&import);
            let (Some(have), Some(want)) =
                (graph.types()[exports].exports.get(export), graph.types()[world].imports.get(&import))
            else {
                anyhow::bail!("the dependency doesn't export {export:?}");
            };
            let mut seen = Default::default();
            SubtypeChecker::new(&mut seen)
                .is_subtype(*have, graph.types(), *want, graph.types())
                .map_err(|e| e.context(format!("{export:?} isn't what {import:?} asks for")))?;
            let export = graph.alias_instance_export(dependency, export)?;
            graph.set_instantiation_argument(instance, &import, export)?;
        }
    }
    let exports: Vec<_> = graph.types()[world].exports.keys().cloned().collect();
    for name in exports {
        let export = graph.alias_instance_export(instance, &name)?;
        graph.export(export, &name)?;
    }
    Ok(graph.encode(EncodeOptions::default())?)
}

/// A dependency is named by a whole import, `pkg:ns/iface@1.0.0`, or by its package, with or without the version.
fn satisfies(dependency: &str, import: &str) -> bool {
    if dependency == import {
        return true;
    }
    let (dependency, version) = dependency.split_once('@').unwrap_or((dependency, ""));
    let (path, import_version) = import.split_once('@').unwrap_or((import, ""));
    let names = path == dependency || (!dependency.contains('/') && path.split('/').next() == Some(dependency));
    names && (version.is_empty() || version == import_version)
}

#[cfg(test)]
mod tests {
    use super::satisfies;

    #[test]
    fn imports_are_matched_by_name_and_version() {
        for (dependency, import, expected) in [
            ("mall:pricing/engine@0.2.0", "mall:pricing/engine@0.2.0", true),
            ("mall:pricing/engine", "mall:pricing/engine@0.2.0", true),
            ("mall:pricing@0.2.0", "mall:pricing/engine@0.2.0", true),
            ("mall:pricing", "mall:pricing/engine@0.2.0", true),
            ("mall:pricing/engine@0.3.0", "mall:pricing/engine@0.2.0", false),
            ("mall:price", "mall:pricing/engine@0.2.0", false),
            ("plain", "plain", true),
        ] {
            assert_eq!(satisfies(dependency, import), expected, "{dependency} {import}");
        }
    }
}
