//! `[component.X.dependencies]`: composes a component with the components that satisfy its imports, when it is loaded.

use std::collections::BTreeMap;

use wac_graph::types::{Package, SubtypeChecker};
use wac_graph::{CompositionGraph, EncodeOptions};

/// A component that satisfies an import.
pub struct Dependency<'a> {
    pub wasm: &'a [u8],
    /// The export to use, if its name differs from the import's.
    pub export: Option<&'a str>,
}

/// In Spin, a dependency can't use these unless it inherits the component's permissions. Here it may not import them.
const DENIED_IMPORTS: [&str; 4] = ["spin:", "fermyon:", "wasi:http/", "wasi:sockets/"];

/// Composes `wasm` with its dependencies, by import name.
pub fn compose(name: &str, wasm: Vec<u8>, dependencies: &BTreeMap<&str, Dependency>) -> anyhow::Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let package = Package::from_bytes(name, None, wasm, graph.types_mut())?;
    let world = package.ty();
    let package = graph.register_package(package)?;
    let instance = graph.instantiate(package);

    for (index, (import, dependency)) in dependencies.iter().enumerate() {
        let imports: Vec<_> =
            graph.types()[world].imports.keys().filter(|name| satisfies(import, name)).cloned().collect();
        anyhow::ensure!(!imports.is_empty(), "dependency {import:?} matches none of the component's imports");
        let name = format!("wasmall:dependency{index}");
        let package = Package::from_bytes(&name, None, dependency.wasm.to_vec(), graph.types_mut())?;
        let exports = package.ty();
        let is_denied = |name: &&String| DENIED_IMPORTS.iter().any(|prefix| name.starts_with(prefix));
        if let Some(denied) = graph.types()[exports].imports.keys().find(is_denied) {
            anyhow::bail!("dependency {import:?} imports {denied:?}, which dependencies may not use");
        }
        let package = graph.register_package(package)?;
        let provider = graph.instantiate(package);
        for import in imports {
            let export = dependency.export.unwrap_or(&import);
            let (Some(provided), Some(required)) =
                (graph.types()[exports].exports.get(export), graph.types()[world].imports.get(&import))
            else {
                anyhow::bail!("the dependency doesn't export {export:?}");
            };
            let mut checked = Default::default();
            SubtypeChecker::new(&mut checked)
                .is_subtype(*provided, graph.types(), *required, graph.types())
                .map_err(|e| e.context(format!("the type of {export:?} doesn't match the import {import:?}")))?;
            let export = graph.alias_instance_export(provider, export)?;
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

/// A dependency is keyed by the name of the import, such as `ns:pkg/iface@1.0.0`, or by that of its package, each with
/// or without the version.
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
