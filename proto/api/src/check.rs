//! What the entries of a config table have to be, as a manifest says it.

use serde::Deserialize;

/// The form of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Of its key.
    #[serde(default)]
    pub key: KeyForm,
    /// Of its value.
    #[serde(default)]
    pub value: ValueForm,
    /// The least integer.
    pub min: Option<i64>,
    /// The greatest integer.
    pub max: Option<i64>,
}

/// Forms of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum KeyForm {
    /// Anything.
    #[default]
    #[serde(rename = "text")]
    Text,
    /// A datapath id.
    #[serde(rename = "dpid")]
    Dpid,
    /// A datapath id, a slash and the number of a port.
    #[serde(rename = "dpid/port")]
    DpidPort,
}

/// Forms of values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueForm {
    /// Any JSON document.
    #[default]
    Any,
    /// A whole number, within `min` and `max`.
    Integer,
    /// Text.
    Text,
    /// true or false.
    Bool,
}

impl Check {
    /// What is wrong with the check itself.
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

    /// What is wrong with a value.
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
