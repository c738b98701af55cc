//! The variables of the application and of its components, and the `{{ }}` templates that refer to them.

use std::collections::{BTreeMap, HashMap};

use crate::error::Error;
use crate::manifest::{Component, Variable};

/// The values of the application's variables, resolved once at start.
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Takes each variable from `overrides`, else from the environment (`SPIN_VARIABLE_…`), else its default.
    pub fn resolve(declared: &BTreeMap<String, Variable>, overrides: &BTreeMap<String, String>) -> Result<Self, Error> {
        if let Some(name) = overrides.keys().find(|name| !declared.contains_key(*name)) {
            return Err(Error::UnknownVariable(name.clone()));
        }
        let mut values = BTreeMap::new();
        for (name, variable) in declared {
            check_name(name).map_err(Error::VariableName)?;
            let environment = environment_name(name);
            let value = match (overrides.get(name), std::env::var(&environment)) {
                (Some(value), _) => value.clone(),
                (None, Ok(value)) => value,
                (None, Err(std::env::VarError::NotUnicode(_))) => {
                    return Err(Error::VariableNotUnicode(environment));
                }
                (None, Err(std::env::VarError::NotPresent)) => match &variable.default {
                    Some(value) => value.clone(),
                    None => {
                        return Err(Error::MissingVariable {
                            name: name.clone(),
                            environment,
                            required: variable.required,
                        });
                    }
                },
            };
            values.insert(name.clone(), value);
        }
        Ok(Self(values))
    }

    /// Replaces each `{{ name }}` in a template with the variable's value. Values are not expanded in turn.
    pub fn expand(&self, template: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or_else(|| format!("unmatched '{{{{' in {template:?}"))?;
            let name = name.trim();
            let value = self.0.get(name).ok_or_else(|| format!("unknown variable {name:?} in {template:?}"))?;
            expanded.push_str(literal);
            expanded.push_str(value);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// The variables that a component may read.
    pub fn for_component(&self, component: &Component) -> Result<HashMap<String, String>, String> {
        let expand = |(name, template): (&String, &String)| {
            check_name(name)?;
            Ok((name.clone(), self.expand(template)?))
        };
        component.variables.iter().map(expand).collect()
    }
}

fn environment_name(name: &str) -> String {
    format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())
}

/// Spin's rule: words of lower-case letters and digits, joined by single underscores, beginning with a letter.
pub fn check_name(name: &str) -> Result<(), String> {
    let reason = if name.is_empty() {
        "must not be empty".to_string()
    } else if let Some(c) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_')) {
        format!(
            "invalid character {c:?}. Variable names may contain only lower-case letters, numbers, and underscores."
        )
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        "must start with a lowercase ASCII letter".into()
    } else if name.ends_with('_') {
        "must end with a lowercase ASCII letter or digit".into()
    } else if name.contains("__") {
        "must not contain multiple consecutive underscores".into()
    } else {
        return Ok(());
    };
    Err(format!("{name:?}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        Variables(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn templates_are_expanded_once() {
        let variables = variables(&[("a", "1"), ("b_c", "{{ a }}")]);
        assert_eq!(variables.expand("x{{a}}y{{ b_c }}").unwrap(), "x1y{{ a }}");
        assert_eq!(variables.expand("").unwrap(), "");
        assert!(variables.expand("{{ nope }}").unwrap_err().contains("nope"));
        assert!(variables.expand("{{ a }").is_err());
    }

    #[test]
    fn names_follow_spins_rules() {
        for good in ["a", "a1", "mysql_host", "a_1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "_a", "a_", "a__b", "a-b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
