//! Segments: ports of ours that a network which we do not see connects, such as plain switches that keep LLDP to themselves.
//!
//! Beside LLDP, a probe of another kind leaves by each port without a link, to a group address that bridges pass on
//! ([`Probe::segment_frame`](morph_sdk::lldp::Probe::segment_frame)). Where it arrives at another port of the same *island*
//! (switches that links connect), a frame that is flooded by both ports would come back. So one port of them is used, and the
//! others are blocked: nothing passes. They are probed on, and one of them takes over when the used one goes down, or when its
//! probes arrive nowhere any more.
//!
//! Ports of different islands are all used: without them the islands are not connected.
//!
//! A plain switch that passes LLDP on looks like cables. Where LLDP of one port arrives at several others, they are a segment as well,
//! and no links. With two ports it cannot be told from a cable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use morph_sdk::{Alarm, Dpid, Turn};

use crate::Topology;
use crate::islands::{island, islands};
use crate::probing::{PERIOD, PROBES};
use crate::tables::{End, Kind, PORTS, PortRow};

/// Alarm of a port that is blocked.
pub const BLOCKED: &str = "blocked-port";

/// Time without a probe between two ports after which nothing connects them.
const APART: Duration = PERIOD.saturating_mul(PROBES).saturating_add(PERIOD);
/// Number of probes of a port whose receivers are kept: switches may be some seconds apart in what they report.
const KEPT: usize = 4;

/// Pairs of ports between which probes pass.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    /// Time of the last probe, by the lower port and the higher one.
    heard: BTreeMap<(End, End), Instant>,
    /// Ports at which the last probes of a port arrived, by that port and the time of sending.
    receivers: BTreeMap<End, BTreeMap<u64, BTreeSet<End>>>,
    /// Ports that something connects which passes LLDP on, with the time at which that was seen last.
    passes_lldp: BTreeMap<End, Instant>,
    /// Ports that are blocked, with those that are used in their place.
    blocked: BTreeMap<End, End>,
    /// Time until which ports that an earlier instance blocked stay so, since probes have passed by then.
    inherited_until: Option<Instant>,
}

impl Segments {
    /// Notes that a probe passed from one port to another.
    pub fn heard(&mut self, from: End, here: End, now: Instant) {
        self.heard.insert((from.min(here), from.max(here)), now);
    }

    /// Notes that LLDP which a port sent at this time arrived at another one. True if these are no link, as the same probe has
    /// arrived elsewhere, too.
    pub fn lldp_heard(&mut self, from: End, sent_ms: u64, here: End, now: Instant) -> bool {
        let probes = self.receivers.entry(from).or_default();
        let receivers = probes.entry(sent_ms).or_default();
        receivers.insert(here);
        if receivers.len() > 1 {
            let ends = receivers.iter().chain([&from]);
            self.passes_lldp.extend(ends.map(|end| (*end, now)));
        }
        if probes.len() > KEPT {
            probes.pop_first();
        }
        let is_part = self.is_part(from, now) || self.is_part(here, now);
        if is_part {
            self.heard(from, here, now);
        }
        is_part
    }

    /// Whether a port is part of a segment where LLDP passes.
    fn is_part(&self, end: End, now: Instant) -> bool {
        let seen = self.passes_lldp.get(&end);
        seen.is_some_and(|seen| now.saturating_duration_since(*seen) < APART)
    }

    /// Forgets a port that is down.
    pub fn forget(&mut self, end: End) {
        self.receivers.remove(&end);
        self.passes_lldp.remove(&end);
        for receivers in self.receivers.values_mut().flat_map(BTreeMap::values_mut) {
            receivers.remove(&end);
        }
        self.heard.retain(|(a, b), _| ![*a, *b].contains(&end));
    }

    /// Starts anew, after a resume.
    pub fn restart(&mut self, now: Instant) {
        self.heard.clear();
        self.receivers.clear();
        self.passes_lldp.clear();
        self.inherited_until = Some(now + APART);
    }

    /// Ports that are connected with others of their island, in groups.
    fn groups(&self, islands: &BTreeMap<Dpid, Dpid>) -> Vec<BTreeSet<End>> {
        let mut groups: Vec<BTreeSet<End>> = Vec::new();
        for (a, b) in self.heard.keys() {
            if island(a.0, islands) != island(b.0, islands) {
                continue;
            }
            let (joined, others) = groups
                .into_iter()
                .partition(|group| group.contains(a) || group.contains(b));
            groups = others;
            let joined: Vec<BTreeSet<End>> = joined;
            groups.push(joined.into_iter().flatten().chain([*a, *b]).collect());
        }
        groups
    }
}

impl Topology {
    /// Blocks and uses ports as segments ask for.
    pub(crate) fn settle_segments(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now();
        let segments = &mut self.segments;
        let lasts = |heard| now.saturating_duration_since(heard) < APART;
        segments.heard.retain(|_, heard| lasts(*heard));
        let inherits = segments.inherited_until.is_some_and(|until| now < until);
        let ended = segments.inherited_until.take_if(|_| !inherits).is_some();
        if segments.heard.is_empty() && segments.blocked.is_empty() && !ended {
            return;
        }
        let islands = islands(&turn.view());
        let used: BTreeSet<End> = segments.blocked.values().copied().collect();
        let mut blocked = BTreeMap::new();
        for group in segments.groups(&islands) {
            let kinds = group
                .iter()
                .filter_map(|end| Some((*end, kind(*end, turn)?)));
            let mut kinds = kinds
                .filter(|(_, kind)| *kind != Kind::Link)
                .collect::<Vec<_>>();
            // A port that is used stays so.
            kinds.sort_by_key(|(end, kind)| (!used.contains(end), *kind != Kind::Host, *end));
            if let Some((used, others)) = kinds.split_first() {
                blocked.extend(others.iter().map(|(end, _)| (*end, used.0)));
            }
        }
        self.block(&blocked, turn);
        if !inherits {
            use_all_but(&blocked, turn);
        }
        self.segments.blocked = blocked;
    }

    /// Blocks these ports, each with the one that is used in its place.
    fn block(&mut self, blocked: &BTreeMap<End, End>, turn: &mut Turn<'_>) {
        for (end, used) in blocked {
            turn.raise(&alarm(*end, *used));
            let Some(row) = turn.get(&PORTS, end).filter(|row| row.kind == Kind::Host) else {
                continue;
            };
            let kind = Kind::Blocked;
            turn.put(&PORTS, end, &PortRow { kind, ..row });
            self.forget_at(*end, turn);
        }
    }
}

/// Uses the ports that nothing blocks any more.
fn use_all_but(blocked: &BTreeMap<End, End>, turn: &mut Turn<'_>) {
    let ports = turn.view().iter(&PORTS);
    let free = ports.filter(|(end, row)| row.kind == Kind::Blocked && !blocked.contains_key(end));
    for (end, row) in free.collect::<Vec<_>>() {
        let kind = Kind::Host;
        turn.put(&PORTS, &end, &PortRow { kind, ..row });
    }
    let alarms = blocked.iter().map(|(end, used)| alarm(*end, *used));
    turn.set_alarms(BLOCKED, alarms);
}

fn kind(end: End, turn: &Turn<'_>) -> Option<Kind> {
    let row = turn.get(&PORTS, &end).filter(|row| row.up)?;
    Some(row.kind)
}

fn alarm((dpid, port): End, (other, used): End) -> Alarm {
    Alarm::new(
        BLOCKED,
        format!("{dpid}/{port}"),
        format!(
            "a network that we do not see connects this port with port {used} of {other}, which is used: nothing passes this one"
        ),
        "none, if this is a spare cable: it takes over where the other one fails; else take it away, or bond the two",
    )
    .on_port(dpid, port)
}
