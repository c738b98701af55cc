//! Within a crate, no two files import each other, directly or through other files. What counts are `use` declarations
//! and paths that begin with `crate::`, as rustfmt writes them. Who uses a re-export imports the file that it leads to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type ItemPath = Vec<String>; // Within its crate; empty for `lib.rs` and `main.rs`.

fn read(folder: &Path, parent: &[String], sources: &mut BTreeMap<ItemPath, String>) {
    for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap().to_owned();
        let module =
            if ["lib", "main", "mod"].contains(&&*name) { parent.to_vec() } else { [parent, &[name]].concat() };
        if path.is_dir() {
            read(&path, &module, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.entry(module).or_default().push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The paths of a `use` tree such as `a::{b, c::d as e}`, each with the name that it introduces.
fn leaves(tree: &str, prefix: &str) -> Vec<(String, String)> {
    if let Some((head, rest)) = tree.split_once('{') {
        let (mut depth, prefix) = (0, format!("{prefix}{head}"));
        let separates = |c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        };
        return rest[..rest.rfind('}').unwrap()].split(separates).flat_map(|part| leaves(part, &prefix)).collect();
    }
    let path = format!("{prefix}{tree}").replace("::self", "").replace("::*", "");
    let (path, name) = (path.split(" as ").next().unwrap(), path.rsplit([':', ' ']).next().unwrap());
    if tree.is_empty() { vec![] } else { vec![(path.to_owned(), name.to_owned())] }
}

/// What a module imports, and its re-exports by name. In an inline module, such as `tests`, `super` is the module.
fn parse(module: &[String], sources: &BTreeMap<ItemPath, String>) -> (Vec<ItemPath>, BTreeMap<String, ItemPath>) {
    let (mut imports, mut exports) = (Vec::new(), BTreeMap::new());
    let code: Vec<_> = sources[module].lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    for statement in code.join("\n").replace("$crate", "").split(';') {
        let lines: Vec<_> = statement.lines().collect();
        let is_use = |line: &&str| line.starts_with("pub") && line.contains(" use ") || line.trim().starts_with("use ");
        let start = lines.iter().rposition(is_use).unwrap_or(lines.len());
        for path in lines[..start].join("\n").split("crate::").skip(1) {
            let path: String = path.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
            imports.push(path.split("::").map(str::to_owned).collect());
        }
        let declaration: String = lines[start..].iter().map(|line| line.trim()).collect();
        let Some((visibility, tree)) = declaration.split_once("use ") else { continue };
        for (path, name) in leaves(&tree.replace(", ", ","), "") {
            let parts: ItemPath = path.split("::").map(str::to_owned).collect();
            let ups = parts.iter().take_while(|part| *part == "super").count();
            let path = match parts[0].as_str() {
                "crate" => parts[1..].to_vec(),
                "super" if lines[start].starts_with(' ') => continue,
                "super" => [&module[..module.len() - ups], &parts[ups..]].concat(),
                _ if sources.contains_key(&[module, &parts[..1]].concat()) => [module, &parts].concat(),
                _ => continue,
            };
            if visibility.is_empty() { imports.push(path) } else { drop(exports.insert(name, path)) }
        }
    }
    (imports, exports)
}

fn defining_module(path: &[String], exports: &BTreeMap<&ItemPath, BTreeMap<String, ItemPath>>) -> ItemPath {
    let length = (0..=path.len()).rev().find(|length| exports.contains_key(&path[..*length].to_vec())).unwrap_or(0);
    let (module, rest) = path.split_at(length);
    match rest.first().and_then(|name| exports.get(&module.to_vec())?.get(name)) {
        Some(target) => defining_module(&[target, &rest[1..]].concat(), exports),
        None => module.to_vec(),
    }
}

#[test]
fn no_two_files_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let crates = ["crates", "functions", "examples"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    for folder in crates.into_iter().flatten().map(|entry| entry.unwrap().path()) {
        let mut sources = BTreeMap::new();
        read(&folder.join("src"), &[], &mut sources);
        let exports = sources.keys().map(|module| (module, parse(module, &sources).1)).collect();
        let mut imports: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for module in sources.keys() {
            let targets = parse(module, &sources).0.into_iter().map(|path| defining_module(&path, &exports));
            imports.insert(module, targets.filter(|target| target != module).collect());
        }
        // Files that import none of the others are in no cycle.
        while let Some(free) = imports.iter().find_map(|(module, targets)| targets.is_empty().then_some(*module)) {
            imports.remove(free);
            imports.values_mut().for_each(|targets| targets.retain(|target| target != free));
        }
        assert!(imports.is_empty(), "{}: a cycle, and what imports it: {imports:?}", folder.display());
    }
}
