//! Checks of entries in config tables, as a manifest declares them.

use serde::Deserialize;
use serde_json::Value;

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
    /// Form that each element of a list must have.
    #[serde(default)]
    pub of: Option<ValueForm>,
    /// Smallest integer that is allowed, also as an element of a list.
    pub min: Option<i64>,
    /// Largest integer that is allowed, also as an element of a list.
    pub max: Option<i64>,
    /// Values that are allowed, also as elements of a list. Empty: any of the form.
    #[serde(default)]
    pub values: Vec<Value>,
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

impl KeyForm {
    /// Returns what is wrong with a key in the form in which it is stored: a datapath id is 16 hex digits.
    pub fn check(self, key: &str) -> Result<(), &'static str> {
        match self {
            KeyForm::Text => Ok(()),
            KeyForm::Dpid if is_dpid(key) => Ok(()),
            KeyForm::Dpid => Err("the key is not a datapath id"),
            KeyForm::DpidPort if key.split_once('/').is_some_and(is_port) => Ok(()),
            KeyForm::DpidPort => Err("the key is not DPID/PORT, for example 0000000000000001/2"),
        }
    }
}

fn is_dpid(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 16 && text.bytes().all(is_digit)
}

fn is_port((dpid, port): (&str, &str)) -> bool {
    let number = port.parse::<u32>();
    // An app finds a row by the text of its key: 02 is no name of port 2.
    is_dpid(dpid) && number.is_ok_and(|n| n > 0 && n.to_string() == port)
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
    /// JSON list with elements of the form `of`.
    List,
}

impl Check {
    /// Returns what is wrong with the check itself.
    pub(crate) fn wrong(&self) -> Option<String> {
        let list = self.value == ValueForm::List;
        let single = match list {
            true => self.of.unwrap_or_default(),
            false => self.value,
        };
        if self.of.is_some() && !list {
            return Some("of is for value = \"list\"".into());
        }
        if single == ValueForm::List {
            return Some("of cannot be \"list\"".into());
        }
        let bounded = self.min.is_some() || self.max.is_some();
        if bounded && single != ValueForm::Integer {
            return Some("min and max are for integers".into());
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            return Some(format!("min {min} is above max {max}"));
        }
        let unfit = self
            .values
            .iter()
            .find(|value| !self.has_form(single, value));
        unfit.map(|value| format!("values: {value} is not {}", self.form(single)))
    }

    /// Returns what is wrong with a value.
    pub fn value(&self, value: &Value) -> Result<(), String> {
        if self.value != ValueForm::List {
            return self.single(self.value, value);
        }
        let elements = value.as_array();
        let elements = elements.ok_or_else(|| format!("{value} is not a list"))?;
        let form = self.of.unwrap_or_default();
        let mut elements = elements.iter().enumerate();
        elements.try_for_each(|(at, element)| {
            let number = at + 1;
            let named = |why| format!("element {number} of the list: {why}");
            self.single(form, element).map_err(named)
        })
    }

    fn single(&self, form: ValueForm, value: &Value) -> Result<(), String> {
        if !self.has_form(form, value) {
            return Err(format!("{value} is not {}", self.form(form)));
        }
        if !self.values.is_empty() && !self.values.contains(value) {
            let all: Vec<String> = self.values.iter().map(Value::to_string).collect();
            return Err(format!("{value} is not one of {}", all.join(", ")));
        }
        Ok(())
    }

    fn has_form(&self, form: ValueForm, value: &Value) -> bool {
        match form {
            ValueForm::Any => true,
            ValueForm::Text => value.is_string(),
            ValueForm::Bool => value.is_boolean(),
            ValueForm::List => value.is_array(),
            ValueForm::Integer => value.as_i64().is_some_and(|number| {
                self.min.is_none_or(|min| min <= number) && self.max.is_none_or(|max| number <= max)
            }),
        }
    }

    fn form(&self, form: ValueForm) -> String {
        match (form, self.min, self.max) {
            (ValueForm::Any, ..) => "JSON".into(),
            (ValueForm::Text, ..) => "text".into(),
            (ValueForm::Bool, ..) => "true or false".into(),
            (ValueForm::List, ..) => "a list".into(),
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
        let bounded = |value, min, max| Check {
            value,
            min,
            max,
            ..Check::default()
        };
        let integer = bounded(ValueForm::Integer, Some(1), Some(9));
        for (check, text, said) in [
            (&integer, "5", ""),
            (&integer, "0", "0 is not a whole number from 1 to 9"),
            (&integer, "1.5", "1.5 is not a whole number"),
            (&integer, "\"5\"", "\"5\" is not a whole number"),
            (&integer, "99999999999999999999", "is not a whole number"),
            (&bounded(ValueForm::Bool, None, None), "1", "true or false"),
            (&bounded(ValueForm::Text, None, None), "1", "1 is not text"),
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
            bounded(ValueForm::Integer, Some(2), Some(1))
                .wrong()
                .is_some()
        );
        assert!(bounded(ValueForm::Text, Some(2), None).wrong().is_some());
    }

    fn check(text: &str) -> Check {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn lists_and_enumerations_name_the_element() {
        let ports = check(r#"{"value": "list", "of": "integer", "min": 1}"#);
        let modes = check(r#"{"value": "text", "values": ["strict", "loose"]}"#);
        let both = check(r#"{"value": "list", "of": "text", "values": ["a", "b"]}"#);
        let any = check(r#"{"value": "list"}"#);
        for (check, text, said) in [
            (&ports, "[1, 2]", ""),
            (&ports, "[]", ""),
            (&ports, "1", "1 is not a list"),
            (
                &ports,
                "[1, 0]",
                "element 2 of the list: 0 is not a whole number from 1 on",
            ),
            (&modes, "\"loose\"", ""),
            (
                &modes,
                "\"lose\"",
                "\"lose\" is not one of \"strict\", \"loose\"",
            ),
            (&modes, "1", "1 is not text"),
            (&both, "[\"a\", \"b\"]", ""),
            (
                &both,
                "[\"c\"]",
                "element 1 of the list: \"c\" is not one of",
            ),
            (&any, "[null, {}]", ""),
        ] {
            let value = serde_json::from_str(text).unwrap();
            let found = check.value(&value).err().unwrap_or_default();
            assert!(
                found.contains(said) && said.is_empty() == found.is_empty(),
                "{text}: {found}"
            );
        }
        for (text, said) in [
            (r#"{"value": "integer", "of": "text"}"#, "of is for"),
            (r#"{"value": "list", "of": "list"}"#, "of cannot be"),
            (
                r#"{"value": "list", "min": 1}"#,
                "min and max are for integers",
            ),
            (
                r#"{"value": "bool", "values": [1]}"#,
                "values: 1 is not true or false",
            ),
        ] {
            assert!(check(text).wrong().unwrap().contains(said), "{text}");
        }
        assert_eq!(
            [&ports, &modes, &both, &any].map(Check::wrong),
            [const { None }; 4]
        );
    }

    #[test]
    fn keys_are_checked_in_their_stored_form() {
        let (dpid, port) = (KeyForm::Dpid, KeyForm::DpidPort);
        for (form, key, fits) in [
            (KeyForm::Text, "10/8", true),
            (dpid, "000000000000000a", true),
            (dpid, "a", false),
            (dpid, "000000000000000A", false),
            (port, "0000000000000001/2", true),
            (port, "0000000000000001/0", false),
            (port, "0000000000000001/02", false),
            (port, "0000000000000001/+2", false),
            (port, "0000000000000001", false),
            (port, "s1/eth0", false),
        ] {
            assert_eq!(form.check(key).is_ok(), fits, "{key}");
        }
    }
}
