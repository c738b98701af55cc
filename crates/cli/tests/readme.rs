//! `README.md` and `README.zh-CN.md` say the same: they have the same commands and the same tables. Both name every
//! function and every variable of `spin.toml`, the variables with their defaults.

use std::{collections::BTreeMap, fs, path::Path};

const ENGLISH: &str = "README.md";
const CHINESE: &str = "README.zh-CN.md";

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the two files must have in common.
#[derive(Debug, Default, PartialEq)]
struct Document {
    /// The level of each heading.
    headings: Vec<usize>,
    /// The lines of each fenced code block, without comments; the first one is the fence with its language.
    blocks: Vec<Vec<String>>,
    tables: Vec<Vec<Row>>,
}

/// The code spans of a row. Those behind the first cell are sorted: a translation may have another word order.
#[derive(Debug, PartialEq)]
struct Row {
    /// Of the first cell.
    names: Vec<String>,
    /// Of the second cell.
    values: Vec<String>,
    /// Of all other cells.
    rest: Vec<String>,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut document = Document::default();
        let mut block: Option<Vec<String>> = None;
        let mut in_table = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                block = match block.take() {
                    Some(lines) => {
                        document.blocks.push(lines);
                        None
                    }
                    None => Some(vec![line.trim().to_owned()]),
                };
            } else if let Some(lines) = &mut block {
                lines.extend(Some(without_comment(line)).filter(|line| !line.is_empty()).map(str::to_owned));
            } else if line.starts_with('|') {
                if !in_table {
                    document.tables.push(Vec::new());
                }
                document.tables.last_mut().unwrap().push(Row::parse(line));
            } else if line.starts_with('#') {
                document.headings.push(line.bytes().take_while(|byte| *byte == b'#').count());
            }
            in_table = block.is_none() && line.starts_with('|');
        }
        assert!(block.is_none(), "a code block is not closed");
        document
    }
}

impl Row {
    fn parse(line: &str) -> Self {
        let cells: Vec<_> = line.trim_matches('|').split('|').collect();
        let sorted = |cells: &[&str]| {
            let mut spans: Vec<_> = cells.iter().flat_map(|cell| code_spans(cell)).collect();
            spans.sort();
            spans
        };
        let (first, others) = cells.split_first().unwrap();
        let (second, others) = others.split_at(others.len().min(1));
        Row { names: code_spans(first), values: sorted(second), rest: sorted(others) }
    }
}

fn without_comment(line: &str) -> &str {
    let end = if line.starts_with('#') { 0 } else { line.find(" # ").unwrap_or(line.len()) };
    line[..end].trim_end()
}

fn code_spans(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn both_languages_have_the_same_headings_commands_and_tables() {
    let (english, chinese) = (Document::parse(&read(ENGLISH)), Document::parse(&read(CHINESE)));
    assert!(english.blocks.len() > 3 && english.tables.len() > 3, "{english:?}");
    // Piece by piece, so that a failure shows the piece that differs.
    for (block, other) in english.blocks.iter().zip(&chinese.blocks) {
        assert_eq!(block, other, "{ENGLISH} and {CHINESE} have different commands");
    }
    for (row, other) in english.tables.iter().flatten().zip(chinese.tables.iter().flatten()) {
        assert_eq!(row, other, "{ENGLISH} and {CHINESE} have different table rows");
    }
    assert_eq!(english.headings, chinese.headings, "{ENGLISH} and {CHINESE} have different headings");
    let sizes = |document: &Document| document.tables.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes(&english), sizes(&chinese), "{ENGLISH} and {CHINESE} have different tables");
    assert_eq!(english.blocks.len(), chinese.blocks.len(), "{ENGLISH} and {CHINESE} have different code blocks");
}

#[test]
fn every_function_is_in_both() {
    let manifest: toml::Table = read("spin.toml").parse().unwrap();
    let functions = manifest["component"].as_table().unwrap();
    for file in [ENGLISH, CHINESE] {
        let document = Document::parse(&read(file));
        let named: Vec<_> = document.tables.iter().flatten().flat_map(|row| &row.names).collect();
        for function in functions.keys() {
            assert!(named.contains(&function), "{file} has no table row for the function {function}");
        }
    }
}

#[test]
fn every_variable_is_in_both_with_its_default() {
    let manifest: toml::Table = read("spin.toml").parse().unwrap();
    let variables = manifest["variables"].as_table().unwrap();
    for file in [ENGLISH, CHINESE] {
        let document = Document::parse(&read(file));
        let rows = document.tables.iter().flatten();
        let defaults: BTreeMap<_, _> =
            rows.flat_map(|row| row.names.iter().map(|name| (name.as_str(), &row.values))).collect();
        for (variable, declared) in variables {
            let shown = defaults.get(variable.as_str());
            let shown = shown.unwrap_or_else(|| panic!("{file} has no table row for the variable {variable}"));
            let default = declared.get("default").and_then(|default| default.as_str()).unwrap_or_default();
            assert!(
                default.is_empty() || shown.iter().any(|value| value == default),
                "{file}: the default of {variable} is `{default}`, not {shown:?}"
            );
        }
    }
}

#[test]
fn comments_may_differ_and_commands_may_not() {
    let parse = |command: &str| Document::parse(&format!("# Title\n\n```sh\n{command}\n```\n"));
    let same = parse("cargo mall up   # starts the shop");
    assert_eq!(same, parse("cargo mall up  # 启动商城"));
    assert_ne!(same, parse("cargo mall up --fresh   # starts the shop"));
    assert_eq!(same, parse("# 启动商城\ncargo mall up"));
}
