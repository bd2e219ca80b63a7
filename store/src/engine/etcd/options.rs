//! URL of etcd with all options, so that it can be passed from morphd to this daemon as one text. It contains no
//! secret: passwords are read from a file or from the environment.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Default prefix of all keys.
const PREFIX: &str = "/morpheus/";
/// Default port of etcd.
const PORT: u16 = 2379;
/// Default length of etcd's history: as long as a daemon needs to catch up after it was cut off for a while.
const HISTORY: Duration = Duration::from_secs(5 * 60);

/// `etcd://HOST[:PORT][,HOST[:PORT]...][/PREFIX][?user=NAME&password-file=FILE&compact=off]`, and `etcds://...` with
/// `ca=FILE`, and `cert=FILE&key=FILE` where etcd asks for a client's certificate.
///
/// ```
/// use morph_store::EtcdUrl;
/// let url: EtcdUrl = "etcd://10.0.0.1,10.0.0.2:12379/lab?user=morpheus".parse().unwrap();
/// assert_eq!(url.endpoints, ["10.0.0.1:2379", "10.0.0.2:12379"]);
/// assert_eq!(url.prefix, "/lab/");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdUrl {
    /// Text as it was given.
    pub text: String,
    /// Endpoints as `HOST:PORT`.
    pub endpoints: Vec<String>,
    pub tls: bool,
    /// Prefix of all keys, which begins and ends with `/`.
    pub prefix: String,
    /// User name. The password is in `password_file`, or in the environment.
    pub user: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Certificate to trust (PEM).
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM).
    pub cert: Option<PathBuf>,
    /// Key of the client certificate (PEM).
    pub key: Option<PathBuf>,
    /// Length of etcd's history that is kept, or `None` to leave compaction to its operator.
    pub compact: Option<Duration>,
}

impl FromStr for EtcdUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "{text:?}: {what}; the form is etcd://HOST:PORT[,HOST:PORT...][/PREFIX][?user=NAME&...]"
            )
        };
        let (tls, rest) = match text.split_once("://") {
            Some(("etcd", rest)) => (false, rest),
            Some(("etcds", rest)) => (true, rest),
            _ => return Err(wrong("it does not start with etcd:// or etcds://")),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        if hosts.contains('@') {
            let why =
                "the user goes behind ?user=, the password into a file or MORPH_ETCD_PASSWORD";
            return Err(wrong(why));
        }
        let endpoints: Result<Vec<String>, String> = hosts.split(',').map(endpoint).collect();
        let mut url = EtcdUrl {
            text: text.to_owned(),
            endpoints: endpoints.map_err(|e| wrong(&e))?,
            tls,
            prefix: match path.trim_matches('/') {
                "" => PREFIX.to_owned(),
                path => format!("/{path}/"),
            },
            user: None,
            password_file: None,
            ca: None,
            cert: None,
            key: None,
            compact: Some(HISTORY),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            url.set(name, value).map_err(|e| wrong(&e))?;
        }
        url.check().map_err(wrong)?;
        Ok(url)
    }
}

impl EtcdUrl {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!("{name}= says nothing"));
        }
        let file = || Some(PathBuf::from(value));
        match name {
            "user" => self.user = Some(value.to_owned()),
            "password-file" => self.password_file = file(),
            "ca" => self.ca = file(),
            "cert" => self.cert = file(),
            "key" => self.key = file(),
            "compact" if value == "off" => self.compact = None,
            "compact" => {
                let seconds = value.parse().map_err(|_| {
                    format!("compact={value} is neither off nor a number of seconds")
                })?;
                self.compact = Some(Duration::from_secs(seconds));
            }
            _ => return Err(format!("{name:?} is no option")),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), &'static str> {
        match (self.tls, &self.ca, &self.cert, &self.key) {
            (false, None, None, None) | (true, Some(_), None, None) => Ok(()),
            (true, Some(_), Some(_), Some(_)) => Ok(()),
            (false, _, _, _) => Err("ca=, cert= and key= are for etcds://"),
            (true, None, _, _) => Err("etcds:// needs ca=FILE, the certificate to trust"),
            (true, _, _, _) => Err("cert= and key= come together"),
        }
    }
}

impl std::fmt::Display for EtcdUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "etcds" } else { "etcd" };
        let prefix = self.prefix.trim_end_matches('/');
        write!(f, "{scheme}://{}{prefix}", self.endpoints.join(","))
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let bare = text.starts_with('[') && text.ends_with(']') || !text.contains(':');
    let whole = if bare {
        format!("{text}:{PORT}")
    } else {
        text.to_owned()
    };
    let parts = whole.rsplit_once(':');
    let good = |(host, port): (&str, &str)| {
        let name = host.starts_with('[') || !host.contains(':');
        let plain = |c: char| c.is_ascii_graphic() && !"/?#@\"".contains(c);
        name && !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok()
    };
    match parts.is_some_and(good) {
        true => Ok(whole),
        false => Err(format!("{text:?} is not HOST:PORT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EtcdUrl, String> {
        text.parse()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let url = parse("etcd://h").unwrap();
        assert_eq!(url.endpoints, ["h:2379"]);
        assert_eq!((url.prefix.as_str(), url.tls), ("/morpheus/", false));
        assert_eq!(url.compact, Some(HISTORY));
        assert_eq!(url.to_string(), "etcd://h:2379/morpheus");
        let all =
            "etcds://[::1]:1,h/a/b/?user=u&password-file=/p&ca=/ca&cert=/c&key=/k&compact=off";
        let url = parse(all).unwrap();
        assert_eq!(url.endpoints, ["[::1]:1", "h:2379"]);
        assert_eq!((url.prefix.as_str(), url.tls), ("/a/b/", true));
        assert_eq!((url.user.as_deref(), url.compact), (Some("u"), None));
        assert_eq!(parse("etcd://[::1]").unwrap().endpoints, ["[::1]:2379"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, said) in [
            ("http://h", "does not start with etcd://"),
            ("etcd://", "\"\" is not HOST:PORT"),
            ("etcd://h:1,:2", "\":2\" is not HOST:PORT"),
            ("etcd://h:99999", "\"h:99999\" is not HOST:PORT"),
            ("etcd://::1", "\"::1\" is not HOST:PORT"),
            ("etcd://u:p@h", "MORPH_ETCD_PASSWORD"),
            ("etcd://h?colour=red", "\"colour\" is no option"),
            ("etcd://h?user=", "user= says nothing"),
            ("etcd://h?compact=soon", "compact=soon"),
            ("etcd://h?ca=/ca", "are for etcds://"),
            ("etcds://h", "needs ca=FILE"),
            ("etcds://h?ca=/ca&key=/k", "come together"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
