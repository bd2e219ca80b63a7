//! Parsers of single arguments. Their errors are for people who mistyped something.

use std::str::FromStr;
use std::time::Duration;

use morph_api::deadlines::Deadlines;
use semver::Version;
use serde_json::Value;

/// Argument of the form `app=NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppArgument(pub(crate) String);

impl FromStr for AppArgument {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let name = after_app(word, "app=NAME")?;
        if let Some((name, _)) = name.split_once('@') {
            return Err(format!("write app={name}, without a version"));
        }
        self::name(name).map(AppArgument)
    }
}

/// Argument of the form `app=NAME[@VERSION]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleaseArgument {
    pub(crate) app: String,
    pub(crate) version: Option<Version>,
}

impl FromStr for ReleaseArgument {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        release(after_app(word, "app=NAME[@VERSION]")?)
    }
}

/// Argument that names one quarantined event, by its id, or all those of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventArgument {
    One(String),
    All(String),
}

impl FromStr for EventArgument {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.contains('=') {
            true => word.parse().map(|AppArgument(app)| EventArgument::All(app)),
            false => Ok(EventArgument::One(word.to_owned())),
        }
    }
}

/// Argument of the form `after=NAME` or `before=NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlaceArgument {
    After(String),
    Before(String),
}

impl FromStr for PlaceArgument {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.split_once('=') {
            Some(("after", other)) => name(other).map(PlaceArgument::After),
            Some(("before", other)) => name(other).map(PlaceArgument::Before),
            _ => Err("write after=NAME or before=NAME".into()),
        }
    }
}

fn after_app<'a>(word: &'a str, form: &str) -> Result<&'a str, String> {
    match word.strip_prefix("app=") {
        Some("") => Err(format!("the name is missing: write {form}")),
        Some(rest) => Ok(rest),
        None if word.contains('=') => Err(format!("write {form}")),
        None => Err(format!("write {form}, here app={word}")),
    }
}

/// Parses a `NAME`. Only morphd knows whether there is such an app.
pub(crate) fn name(word: &str) -> Result<String, String> {
    if let Some(name) = word.strip_prefix("app=") {
        return Err(format!("write the name alone: {name}"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "=@/".contains(c);
    if word.is_empty() || word.contains(odd) {
        return Err("not a name of an app: write letters, digits and hyphens".into());
    }
    Ok(word.to_owned())
}

/// Parses `NAME[@VERSION]`.
pub(crate) fn release(word: &str) -> Result<ReleaseArgument, String> {
    let (app, version) = match word.split_once('@') {
        None => (word, None),
        Some((app, text)) => {
            let version = Version::parse(text).map_err(|error| {
                format!("{text:?} is not a semantic version such as 1.0.0 ({error})")
            })?;
            (app, Some(version))
        }
    };
    Ok(ReleaseArgument {
        app: name(app)?,
        version,
    })
}

/// Parses a number with its unit: `500ms`, `30s`, `5m`. The API allows 1 ms to 49 days (32 bits of milliseconds).
pub(crate) fn duration(word: &str) -> Result<Duration, String> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms: u64 = match &word[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "" => return Err(format!("the unit is missing: write {word}s or {word}ms")),
        unit => return Err(format!("{unit:?} is not a unit: write ms, s or m")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a whole number and its unit: 500ms, 30s, 5m".to_owned())?;
    match number.checked_mul(unit_ms) {
        Some(0) => {
            Err("the time must not be 0; to end a probation at once, use `morphctl commit`".into())
        }
        Some(ms) if ms <= u32::MAX.into() => Ok(Duration::from_millis(ms)),
        _ => Err("the time is longer than 49 days, which is the limit".into()),
    }
}

/// Parses `STEP=TIME`, a step of an upgrade and its deadline.
pub(crate) fn deadline(word: &str) -> Result<(String, Duration), String> {
    let (name, time) = word
        .split_once('=')
        .ok_or("write STEP=TIME, as in start=40s")?;
    let time = morph_api::deadlines::duration(time)?;
    Deadlines::default().set(name, time)?;
    Ok((name.to_owned(), time))
}

/// Parses a datapath id in any of the usual forms into 16 hex digits. All forms are hexadecimal, except for fewer than 16
/// characters that are all decimal digits: Mininet's switch s10 is 10.
pub(crate) fn dpid(word: &str) -> Result<String, String> {
    if word.len() < 16
        && word.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = word.parse::<u64>()
    {
        return Ok(format!("{number:016x}"));
    }
    let bare = word
        .strip_prefix("of:")
        .or_else(|| word.strip_prefix("0x"))
        .unwrap_or(word);
    let pairs: Vec<&str> = bare.split(':').collect();
    let paired = pairs.len() == 8 && pairs.iter().all(|pair| pair.len() == 2);
    let digits = if paired {
        pairs.concat()
    } else {
        bare.to_owned()
    };
    let hex =
        (1..=16).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex {
        let forms = "0000000000000001, 00:00:00:00:00:00:00:01, of:0000000000000001, 0x1, 1";
        return Err(format!("not a datapath id; write it like one of {forms}"));
    }
    Ok(format!("{:0>16}", digits.to_ascii_lowercase()))
}

/// Argument of the form `TABLE.KEY=VALUE`. The value is the text of a JSON document; an empty one deletes the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryArgument {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for EntryArgument {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let form = "write TABLE.KEY=VALUE";
        let (key, value) = word.split_once('=').ok_or(form)?;
        Ok(EntryArgument {
            key: entry_key(key).map_err(|why| format!("{why}; {form}"))?,
            value: to_json(value)?,
        })
    }
}

/// Parses `TABLE.KEY`.
pub(crate) fn entry_key(word: &str) -> Result<String, String> {
    match word.split_once('.') {
        Some((table, key)) if !table.is_empty() && !key.is_empty() => Ok(word.to_owned()),
        _ => Err(format!("{word:?} is not TABLE.KEY")),
    }
}

/// Keeps JSON as it is and turns a bare word into a string. A value that begins like a list, an object or a string must be
/// complete.
fn to_json(value: &str) -> Result<String, String> {
    match serde_json::from_str::<Value>(value) {
        _ if value.is_empty() => Ok(String::new()),
        Ok(_) => Ok(value.to_owned()),
        Err(error) if value.trim_start().starts_with(['{', '[', '"']) => {
            Err(format!("the value is not JSON: {error}"))
        }
        Err(_) => Ok(Value::from(value).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_name_with_an_optional_version() {
        let release: ReleaseArgument = "app=router".parse().unwrap();
        assert_eq!((release.app.as_str(), release.version), ("router", None));
        let release: ReleaseArgument = "app=learning-switch@1.0.1-rc.1".parse().unwrap();
        assert_eq!(release.app, "learning-switch");
        assert_eq!(release.version.unwrap().to_string(), "1.0.1-rc.1");
        for wrong in ["app=@1.0.0", "app=router@", "app=router@1", "App=router"] {
            assert!(wrong.parse::<ReleaseArgument>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_need_units() {
        for (word, ms) in [("1ms", 1), ("30s", 30_000), ("5m", 300_000)] {
            assert_eq!(duration(word), Ok(Duration::from_millis(ms)));
        }
        for wrong in [
            "",
            "s",
            "30",
            "0ms",
            "-1s",
            "1.5s",
            "1h",
            "50000000s",
            "99999999999999999999s",
            "9999999999999999999m",
            "1 s",
            "ß",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn datapath_ids_become_16_digits() {
        for word in [
            "000000000000002A",
            "00:00:00:00:00:00:00:2a",
            "of:000000000000002a",
            "of:00:00:00:00:00:00:00:2a",
            "0x2a",
            "2a",
            "42",
        ] {
            assert_eq!(dpid(word).as_deref(), Ok("000000000000002a"), "{word}");
        }
        for wrong in ["", "0x", "g", "1:2", "00000000000000001", "+1", "of:"] {
            assert!(dpid(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_json_or_bare_words() {
        for (word, key, value) in [
            ("weights.1/2=5", "weights.1/2", "5"),
            ("a.b.c=true", "a.b.c", "true"),
            ("a.b=word", "a.b", "\"word\""),
            ("a.b=00:11=x", "a.b", "\"00:11=x\""),
            ("a.b={\"c\": [1]}", "a.b", "{\"c\": [1]}"),
            ("a.b=\"5\"", "a.b", "\"5\""),
            ("a.b=", "a.b", ""),
        ] {
            let entry: EntryArgument = word.parse().unwrap();
            assert_eq!((entry.key.as_str(), entry.value.as_str()), (key, value));
        }
        for wrong in [
            "a", "a=1", ".b=1", "a.=1", "=1", "a.b={", "a.b=[1", "a.b=\"x",
        ] {
            assert!(wrong.parse::<EntryArgument>().is_err(), "{wrong}");
        }
    }
}
