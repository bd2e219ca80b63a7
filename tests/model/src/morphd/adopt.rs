//! A new morphd: what it finds, and what it makes of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use morph_api::supervisor::{Configuration, Observation};
use morphd::machine::call::StoreView;
use morphd::machine::record::{APPS, EVENTS, HISTORY, PIPELINE, RELEASES, UPGRADES, Write};
use morphd::machine::{
    FoundInstance, Node, NodeConfig, NodeInput, Records as Found, Snapshot, first_row, query,
};
use serde::de::DeserializeOwned;

use super::{Morphd, Port};
use crate::clock;
use crate::records::{NODE, Records};
use crate::releases;
use crate::setup::Setup;
use crate::store::Store;

/// The records of apps that run for the first time.
pub(crate) fn first_records(setup: &Setup) -> Vec<Write> {
    let first = releases::first(setup);
    let all = releases::all(setup).into_iter();
    let permanent = all.filter(|release| release.manifest.version == first);
    permanent
        .map(|release| Write::new(APPS, release.manifest.name.as_str(), &first_row(&release)))
        .collect()
}

/// The state of the proxy, of what it says to a new observer.
pub(crate) fn snapshot(observations: impl IntoIterator<Item = Observation>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for observation in observations {
        if snapshot.take(observation) {
            break;
        }
    }
    snapshot
}

impl Morphd {
    /// Reads the records.
    pub(crate) fn load(setup: &Setup, store: &Store, next_id: u32) -> Self {
        let config = NodeConfig {
            node: NODE.to_owned(),
            probation: Duration::from_secs(30),
        };
        let present = morphd::machine::outbox::Present {
            at: clock::base(),
            unix_ms: u64::from(next_id) + 1,
            moment: None,
        };
        let mut morphd = Morphd {
            node: Node::new(config, present),
            now: clock::base(),
            records: Records::default(),
            store_calls: Vec::new(),
            held_back: None,
            tickets: BTreeMap::new(),
            overdue: false,
        };
        for table in [RELEASES, HISTORY] {
            morphd.records.load(store, table);
        }
        let status = store.status();
        let found = Found {
            releases: releases::all(setup),
            apps: morphd.rows(store, APPS),
            pipeline: morphd.rows(store, PIPELINE),
            upgrades: morphd.rows(store, UPGRADES),
            events: morphd.rows(store, EVENTS),
            store: StoreView {
                checkpoints: status.checkpoints,
                keyspaces: status.keyspaces,
            },
        };
        morphd.node.load(found);
        morphd
    }

    fn rows<T: DeserializeOwned>(
        &mut self,
        store: &Store,
        table: &'static str,
    ) -> Vec<(String, T)> {
        let rows = self.records.load(store, table).into_iter();
        rows.filter_map(|(key, text)| Some((key, serde_json::from_str(&text).ok()?)))
            .collect()
    }

    pub(crate) fn configuration(&self) -> Configuration {
        query::configuration(self.node.state())
    }

    /// Takes over what runs.
    pub(crate) fn adopt(
        &mut self,
        found: Vec<FoundInstance>,
        snapshot: Snapshot,
        port: &mut Port<'_>,
    ) {
        let present = self.present(*port.next_id);
        let out = self.node.adopt(found, snapshot, present);
        let mut inputs = VecDeque::new();
        self.carry_out(out, port, &mut inputs);
        inputs.push_back(NodeInput::Time);
        for input in inputs {
            self.feed(input, port);
        }
    }
}
