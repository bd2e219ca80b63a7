//! Checks of entries in config tables, as a manifest declares them.

use serde::Deserialize;

/// Required form of a table's entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Form that the key must have.
    #[serde(default)]
    pub key: KeyForm,
    /// Form that the value must have.
    #[serde(default)]
    pub value: ValueForm,
    /// Smallest integer that is allowed.
    pub min: Option<i64>,
    /// Largest integer that is allowed.
    pub max: Option<i64>,
}

/// Forms that a key can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum KeyForm {
    /// Any text is allowed.
    #[default]
    #[serde(rename = "text")]
    Text,
    /// Datapath id of a switch.
    #[serde(rename = "dpid")]
    Dpid,
    /// Datapath id, a slash, and a port number.
    #[serde(rename = "dpid/port")]
    DpidPort,
}

/// Forms that a value can have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueForm {
    /// Any JSON document is allowed.
    #[default]
    Any,
    /// Integer within `min` and `max`.
    Integer,
    /// JSON string of any content.
    Text,
    /// JSON value `true` or `false`.
    Bool,
}

impl Check {
    /// Returns what is wrong with the check itself.
    pub(crate) fn wrong(&self) -> Option<String> {
        let bounded = self.min.is_some() || self.max.is_some();
        if bounded && self.value != ValueForm::Integer {
            return Some("min and max are for value = \"integer\"".into());
        }
        match (self.min, self.max) {
            (Some(min), Some(max)) if min > max => Some(format!("min {min} is above max {max}")),
            _ => None,
        }
    }

    /// Returns what is wrong with a value.
    pub fn value(&self, value: &serde_json::Value) -> Result<(), String> {
        let fits = match self.value {
            ValueForm::Any => true,
            ValueForm::Text => value.is_string(),
            ValueForm::Bool => value.is_boolean(),
            ValueForm::Integer => value.as_i64().is_some_and(|number| {
                self.min.is_none_or(|min| min <= number) && self.max.is_none_or(|max| number <= max)
            }),
        };
        match fits {
            true => Ok(()),
            false => Err(format!("{value} is not {}", self.wanted())),
        }
    }

    fn wanted(&self) -> String {
        match (self.value, self.min, self.max) {
            (ValueForm::Any, ..) => "JSON".into(),
            (ValueForm::Text, ..) => "text".into(),
            (ValueForm::Bool, ..) => "true or false".into(),
            (ValueForm::Integer, Some(min), Some(max)) => {
                format!("a whole number from {min} to {max}")
            }
            (ValueForm::Integer, Some(min), None) => format!("a whole number from {min} on"),
            (ValueForm::Integer, None, Some(max)) => format!("a whole number up to {max}"),
            (ValueForm::Integer, None, None) => "a whole number".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_form_is_named() {
        let check = |value, min, max| Check {
            value,
            min,
            max,
            ..Check::default()
        };
        let integer = check(ValueForm::Integer, Some(1), Some(9));
        for (check, text, said) in [
            (&integer, "5", ""),
            (&integer, "0", "0 is not a whole number from 1 to 9"),
            (&integer, "1.5", "1.5 is not a whole number"),
            (&integer, "\"5\"", "\"5\" is not a whole number"),
            (&integer, "99999999999999999999", "is not a whole number"),
            (&check(ValueForm::Bool, None, None), "1", "true or false"),
            (&check(ValueForm::Text, None, None), "1", "1 is not text"),
            (&Check::default(), "[null]", ""),
        ] {
            let value = serde_json::from_str(text).unwrap();
            let found = check.value(&value).err().unwrap_or_default();
            assert!(
                found.contains(said) && said.is_empty() == found.is_empty(),
                "{text}: {found}"
            );
        }
        assert!(
            check(ValueForm::Integer, Some(2), Some(1))
                .wrong()
                .is_some()
        );
        assert!(check(ValueForm::Text, Some(2), None).wrong().is_some());
    }
}
