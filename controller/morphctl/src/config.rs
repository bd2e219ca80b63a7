//! `morphctl config`: the entries of an app's configuration.

use crate::client::{Client, change, read};
use crate::command::ConfigCall;
use crate::failure::Failure;
use crate::print::rows::ConfigResult;
use crate::print::{Output, printable};

pub(crate) async fn run(
    call: ConfigCall,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    match call {
        ConfigCall::Get { request, key } => {
            let app = request.app.clone();
            let mut entries = read(client.config_get(request)).await?.entries;
            if let Some(key) = &key {
                entries.retain(|entry| selects(key, &entry.key));
                if entries.is_empty() && key.contains('.') {
                    return Err(Failure::Refused(format!(
                        "{app} has no configuration entry {}",
                        printable(key)
                    )));
                }
            }
            out.list("config", &entries)
        }
        ConfigCall::Set(request) => {
            let probe = client.clone();
            let entries = request.entries.clone();
            let revision = change(&probe, client.config_set(request)).await?.revision;
            let result = |entry| ConfigResult { entry, revision };
            let results: Vec<ConfigResult> = entries.into_iter().map(result).collect();
            out.list("config", &results)
        }
    }
}

/// Tells whether `TABLE` or `TABLE.KEY` selects the entry of this key.
fn selects(wanted: &str, key: &str) -> bool {
    let table = key.split_once('.').map(|(table, _)| table);
    key == wanted || table == Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_selects_its_keys() {
        assert!(selects("weights", "weights.1/2"));
        assert!(selects("weights.1/2", "weights.1/2"));
        assert!(!selects("weight", "weights.1/2"));
        assert!(!selects("weights.1", "weights.1/2"));
    }
}
