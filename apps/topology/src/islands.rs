//! Islands: switches that links connect.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use morph_sdk::{Dpid, View};

use crate::tables::{LINKS, SWITCHES};

/// Name of a switch's island: one of its switches.
pub(crate) fn island(dpid: Dpid, islands: &BTreeMap<Dpid, Dpid>) -> Dpid {
    islands.get(&dpid).copied().unwrap_or(dpid)
}

/// Islands of the switches with links.
pub(crate) fn islands(view: &View<'_>) -> BTreeMap<Dpid, Dpid> {
    let mut neighbours: BTreeMap<Dpid, BTreeSet<Dpid>> = BTreeMap::new();
    for ((near, _), far) in view.iter(&LINKS) {
        neighbours.entry(near).or_default().insert(far.dpid);
        neighbours.entry(far.dpid).or_default().insert(near);
    }
    let mut islands = BTreeMap::new();
    for start in neighbours.keys() {
        let mut next = vec![*start];
        while let Some(dpid) = next.pop() {
            if let Entry::Vacant(new) = islands.entry(dpid) {
                new.insert(*start);
                next.extend(neighbours.get(&dpid).into_iter().flatten());
            }
        }
    }
    islands
}

/// Whether links connect all switches that are connected, or have links.
pub(crate) fn is_one_island(view: &View<'_>) -> bool {
    let islands = islands(view);
    let switches = view.iter(&SWITCHES);
    let connected = switches.filter(|(_, row)| row.connected);
    let all = connected
        .map(|(dpid, _)| dpid)
        .chain(islands.keys().copied());
    let all: BTreeSet<Dpid> = all.map(|dpid| island(dpid, &islands)).collect();
    all.len() <= 1
}
