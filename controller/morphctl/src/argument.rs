//! What single words of the command line mean. The errors are read by people who mistyped them.

use std::str::FromStr;
use std::time::Duration;

use morph_api::deadlines::Deadlines;
use semver::Version;
use serde_json::Value;

/// `app=NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct App(pub(crate) String);

impl FromStr for App {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let name = after_app(word, "app=NAME")?;
        if let Some((name, _)) = name.split_once('@') {
            return Err(format!("say app={name}, without a version"));
        }
        self::name(name).map(App)
    }
}

/// `app=NAME[@VERSION]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) app: String,
    pub(crate) version: Option<Version>,
}

impl FromStr for Release {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        start(after_app(word, "app=NAME[@VERSION]")?)
    }
}

fn after_app<'a>(word: &'a str, form: &str) -> Result<&'a str, String> {
    match word.strip_prefix("app=") {
        Some("") => Err(format!("the name is missing: {form}")),
        Some(rest) => Ok(rest),
        None if word.contains('=') => Err(format!("the form is {form}")),
        None => Err(format!("the form is {form}: app={word}")),
    }
}

/// `NAME`: whether there is such an app, morphd knows.
pub(crate) fn name(word: &str) -> Result<String, String> {
    if let Some(name) = word.strip_prefix("app=") {
        return Err(format!("here it is the name alone: {name}"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || "=@/".contains(c);
    if word.is_empty() || word.contains(odd) {
        return Err("not a name: letters, digits and hyphens".into());
    }
    Ok(word.to_owned())
}

/// `NAME[@VERSION]`.
pub(crate) fn start(word: &str) -> Result<Release, String> {
    let (app, version) = match word.split_once('@') {
        None => (word, None),
        Some((app, text)) => {
            let version = Version::parse(text)
                .map_err(|error| format!("{text:?} is not a semantic version ({error})"))?;
            (app, Some(version))
        }
    };
    Ok(Release {
        app: name(app)?,
        version,
    })
}

/// A number with its unit: `500ms`, `30s`, `5m`; from 1 ms to what the API can say (49 days).
pub(crate) fn duration(word: &str) -> Result<Duration, String> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms: u64 = match &word[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "" => return Err(format!("the unit is missing: {word}s? {word}ms?")),
        unit => return Err(format!("{unit:?} is no unit: ms, s or m")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "the form is a whole number and its unit: 500ms, 30s, 5m".to_owned())?;
    match number.checked_mul(unit_ms) {
        Some(0) => Err("0 is no probation; `morphctl commit` ends one at once".into()),
        Some(ms) if ms <= u32::MAX.into() => Ok(Duration::from_millis(ms)),
        _ => Err("longer than 49 days".into()),
    }
}

/// `STEP=TIME`, a step of an upgrade and how long it may take.
pub(crate) fn deadline(word: &str) -> Result<(String, Duration), String> {
    let (name, time) = word
        .split_once('=')
        .ok_or("the form is STEP=TIME, as in start=40s")?;
    let time = morph_api::deadlines::duration(time)?;
    Deadlines::default().set(name, time)?;
    Ok((name.to_owned(), time))
}

/// A datapath id in any of the usual forms, as 16 hex digits. All are hexadecimal, but for fewer than 16 characters
/// that are all decimal digits: Mininet's switch s10 is 10.
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
        return Err(format!("not a datapath id; its forms: {forms}"));
    }
    Ok(format!("{:0>16}", digits.to_ascii_lowercase()))
}

/// `TABLE.KEY=VALUE`, the value as the text of a JSON document; empty deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let form = "the form is TABLE.KEY=VALUE";
        let (key, value) = word.split_once('=').ok_or(form)?;
        match key.split_once('.') {
            Some((table, rest)) if !table.is_empty() && !rest.is_empty() => {}
            _ => return Err(format!("{key:?} is not TABLE.KEY; {form}")),
        }
        Ok(Entry {
            key: key.to_owned(),
            value: document(value)?,
        })
    }
}

/// JSON stays as it is, a bare word becomes text. What begins as a list, an object or text must be whole.
fn document(value: &str) -> Result<String, String> {
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
    fn a_release_is_a_name_and_perhaps_a_version() {
        let release: Release = "app=router".parse().unwrap();
        assert_eq!((release.app.as_str(), release.version), ("router", None));
        let release: Release = "app=learning-switch@1.0.1-rc.1".parse().unwrap();
        assert_eq!(release.app, "learning-switch");
        assert_eq!(release.version.unwrap().to_string(), "1.0.1-rc.1");
        for wrong in ["app=@1.0.0", "app=router@", "app=router@1", "App=router"] {
            assert!(wrong.parse::<Release>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
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
    fn datapath_ids_come_out_as_16_digits() {
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
            let entry: Entry = word.parse().unwrap();
            assert_eq!((entry.key.as_str(), entry.value.as_str()), (key, value));
        }
        for wrong in [
            "a", "a=1", ".b=1", "a.=1", "=1", "a.b={", "a.b=[1", "a.b=\"x",
        ] {
            assert!(wrong.parse::<Entry>().is_err(), "{wrong}");
        }
    }
}
