//! Rules as `ovs-ofctl dump-flows` prints them.

use anyhow::{Context, Result};

/// Identity of a rule: two rules with equal keys overwrite one another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    pub table: u8,
    pub priority: u16,
    /// Match in the notation of `ovs-ofctl`.
    pub matches: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    pub key: FlowKey,
    pub cookie: u64,
    /// Age of the rule in seconds.
    pub duration: f64,
    pub packets: u64,
    /// Actions in the notation of `ovs-ofctl`.
    pub actions: String,
}

impl Flow {
    /// App id in the cookie; `None` for a rule that is not of Morpheus.
    pub fn app(&self) -> Option<u8> {
        let bytes = self.cookie.to_be_bytes();
        (bytes[0] == 0x4d).then_some(bytes[1])
    }
}

/// Priority that `ovs-ofctl` does not print.
const DEFAULT_PRIORITY: u16 = 32768;

/// Reads one line; `None` for the heading of a reply and for empty lines.
pub fn read_flow(line: &str) -> Result<Option<Flow>> {
    let Some((head, actions)) = line.trim().split_once("actions=") else {
        return Ok(None);
    };
    let mut flow = Flow {
        key: FlowKey {
            table: 0,
            priority: DEFAULT_PRIORITY,
            matches: String::new(),
        },
        cookie: 0,
        duration: 0.0,
        packets: 0,
        actions: actions.to_owned(),
    };
    for word in head.split_whitespace() {
        let Some(word) = word.strip_suffix(',') else {
            read_match(word, &mut flow.key)?;
            continue;
        };
        let bad = || format!("cannot read {word} in {line}");
        match word.split_once('=') {
            Some(("cookie", hex)) => {
                let digits = hex.trim_start_matches("0x");
                flow.cookie = u64::from_str_radix(digits, 16).with_context(bad)?;
            }
            Some(("duration", time)) => {
                flow.duration = time.trim_end_matches('s').parse().with_context(bad)?;
            }
            Some(("table", number)) => flow.key.table = number.parse().with_context(bad)?,
            Some(("n_packets", number)) => flow.packets = number.parse().with_context(bad)?,
            _ => {}
        }
    }
    Ok(Some(flow))
}

/// Reads the last word before the actions. Flags such as `send_flow_rem` stand before it.
fn read_match(word: &str, key: &mut FlowKey) -> Result<()> {
    key.matches.clear();
    for field in word.split(',') {
        if let Some(number) = field.strip_prefix("priority=") {
            key.priority = number.parse().with_context(|| word.to_owned())?;
            continue;
        }
        if !key.matches.is_empty() {
            key.matches.push(',');
        }
        key.matches.push_str(field);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read() {
        let line = " cookie=0x4d03000200000007, duration=12.345s, table=20, n_packets=3, n_bytes=294, \
                    idle_timeout=60, send_flow_rem priority=100,dl_dst=02:00:00:00:00:01 actions=output:2";
        let flow = read_flow(line).unwrap().unwrap();
        assert_eq!(flow.key.table, 20);
        assert_eq!(flow.key.priority, 100);
        assert_eq!(flow.key.matches, "dl_dst=02:00:00:00:00:01");
        assert_eq!(flow.app(), Some(3));
        assert_eq!(flow.packets, 3);
        assert_eq!(flow.actions, "output:2");
        assert!((flow.duration - 12.345).abs() < 1e-9);
    }

    #[test]
    fn a_foreign_rule_without_match_is_read() {
        let line = " cookie=0x0, duration=1.5s, table=0, n_packets=0, n_bytes=0, actions=NORMAL";
        let flow = read_flow(line).unwrap().unwrap();
        assert_eq!(flow.app(), None);
        assert_eq!(
            flow.key,
            FlowKey {
                table: 0,
                priority: 32768,
                matches: String::new()
            }
        );
    }

    #[test]
    fn a_heading_is_skipped() {
        assert_eq!(
            read_flow("OFPST_FLOW reply (OF1.3) (xid=0x2):").unwrap(),
            None
        );
    }
}
