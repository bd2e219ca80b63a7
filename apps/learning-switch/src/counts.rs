//! Numbers of hosts and pairs, by port and by switch, in rows of their own: a bound needs no count of all rows.
//!
//! A switch without a row has nothing, or its rows come from schema version 1: its rows are counted once then.

use std::collections::BTreeMap;

use morph_sdk::{Dpid, Turn};

use crate::tables::{Counts, Number, ORDER, PORTS, PortCounts, SWITCHES, pairs};

/// Counts of a port and of its switch, to be changed and then stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    place: (Dpid, u32),
    pub(crate) port: PortCounts,
    pub(crate) switch: Counts,
}

impl Tally {
    /// Reads the counts of a port and of its switch, which are counted where there are none.
    pub(crate) fn of(dpid: Dpid, port: u32, turn: &mut Turn<'_>) -> Tally {
        let switch = turn.get(&SWITCHES, &dpid);
        let switch = switch.unwrap_or_else(|| recount(dpid, turn));
        let place = (dpid, port);
        let port = turn.get(&PORTS, &place).unwrap_or(PortCounts::NONE);
        Tally {
            place,
            port,
            switch,
        }
    }

    /// Number for a host that is learned at the port now.
    pub(crate) fn add_host(&mut self) -> Number {
        let number = self.port.2;
        self.port.2 = number.next();
        self.port.0 = self.port.0.saturating_add(1);
        self.switch.0 = self.switch.0.saturating_add(1);
        number
    }

    pub(crate) fn remove_host(&mut self) {
        self.port.0 = self.port.0.saturating_sub(1);
        self.switch.0 = self.switch.0.saturating_sub(1);
    }

    pub(crate) fn add_pair(&mut self) {
        self.port.1 = self.port.1.saturating_add(1);
        self.switch.1 = self.switch.1.saturating_add(1);
    }

    pub(crate) fn remove_pair(&mut self) {
        self.port.1 = self.port.1.saturating_sub(1);
        self.switch.1 = self.switch.1.saturating_sub(1);
    }

    pub(crate) fn store(self, turn: &mut Turn<'_>) {
        match self.port {
            PortCounts(0, 0, _) => turn.delete(&PORTS, &self.place),
            port => turn.put(&PORTS, &self.place, &port),
        }
        store_switch(self.place.0, self.switch, turn);
    }
}

fn store_switch(dpid: Dpid, counts: Counts, turn: &mut Turn<'_>) {
    match counts {
        Counts(0, 0) => turn.delete(&SWITCHES, &dpid),
        counts => turn.put(&SWITCHES, &dpid, &counts),
    }
}

/// Counts all rows of a switch, and returns its counts.
pub(crate) fn recount(dpid: Dpid, turn: &mut Turn<'_>) -> Counts {
    let mut switch = Counts::default();
    let mut ports: BTreeMap<u32, PortCounts> = BTreeMap::new();
    let view = turn.view();
    for ((_, port, (number, _)), _) in view.prefix(&ORDER, &dpid) {
        let counts = ports.entry(port).or_insert(PortCounts::NONE);
        *counts = PortCounts(counts.0 + 1, counts.1, counts.2.max(number.next()));
        switch.0 += 1;
    }
    for (_, pair) in pairs(dpid, &view) {
        ports.entry(pair.in_port).or_insert(PortCounts::NONE).1 += 1;
        switch.1 += 1;
    }
    let stored = view.prefix(&PORTS, &dpid).map(|(place, _)| place);
    let stored: Vec<_> = stored.collect();
    for place in stored.iter().filter(|(_, port)| !ports.contains_key(port)) {
        turn.delete(&PORTS, place);
    }
    for (port, counts) in ports {
        turn.put(&PORTS, &(dpid, port), &counts);
    }
    store_switch(dpid, switch, turn);
    switch
}
