//! What must never be.

use morph_store::core::KeyspaceKey;
use morphd::machine::record::EVENTS;

use super::*;
use crate::scribe::LOST;

/// Entry of a book: a packet, applied or lost. A lost one is the one after the entry before.
#[derive(Debug, Clone, Copy)]
struct Entry {
    number: u8,
    lost: bool,
}

impl Entry {
    fn of(book: &[u8]) -> Vec<Entry> {
        let mut last = 0_u8;
        let entries = book.iter().map(|number| {
            let lost = *number == LOST;
            last = if lost {
                last.saturating_add(1)
            } else {
                *number
            };
            Entry { number: last, lost }
        });
        entries.collect()
    }

    /// Numbers of the packets that a book has as applied, and of those that it has as lost.
    fn split(book: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (lost, applied): (Vec<Entry>, Vec<Entry>) =
            Entry::of(book).into_iter().partition(|entry| entry.lost);
        let numbers = |entries: Vec<Entry>| entries.iter().map(|entry| entry.number).collect();
        (numbers(applied), numbers(lost))
    }
}

impl World {
    /// Whether an app has written down that it was told of lost packets.
    pub(crate) fn tells_losses(&self) -> bool {
        let mut seen = self.seen.values();
        seen.any(|seen| seen.book.contains(&LOST))
    }

    fn breaks(&mut self, breach: Breach) {
        self.breach.get_or_insert(breach);
    }

    /// A turn has passed; of this session, or of one that waited for other apps.
    pub(super) fn packet_left(&mut self, app: u8, number: u8, session: Option<u32>) {
        let Some(app) = self.seen.keys().nth(usize::from(app) - 1).cloned() else {
            return;
        };
        let checkpoint = self
            .store
            .get()
            .checkpoint(&app)
            .map_or(0, |checkpoint| checkpoint.epoch);
        let on_disk = self.store.get().epoch_on_disk(&app);
        let of = session
            .and_then(|id| self.instances.get(&id))
            .map(Part::get);
        let epoch = of
            .filter(|instance| instance.app == app)
            .map(|instance| instance.epoch);
        let Some(seen) = self.seen.get_mut(&app) else {
            return;
        };
        let epoch = epoch.unwrap_or(seen.epoch);
        let breach = if epoch < seen.epoch || epoch > checkpoint {
            let text = format!(
                "{app}: a turn of epoch {epoch} passes after one of {}; the store is at {checkpoint}",
                seen.epoch
            );
            Some(Breach::TwoWriters(text))
        } else if epoch > on_disk {
            let text = format!("{app}: a turn of epoch {epoch} passes; on disk is {on_disk}");
            Some(Breach::NotOnDisk(text))
        } else if seen.sent.last().is_some_and(|last| *last >= number) {
            let text = format!("{app}: packet {number} leaves after {:?}", seen.sent);
            Some(Breach::Packets(text))
        } else {
            None
        };
        seen.epoch = seen.epoch.max(epoch);
        seen.sent.push(number);
        self.breach = self.breach.take().or(breach);
    }

    /// Keyspaces that are gone were read by nobody who is to go on reading.
    pub(super) fn check_readers(&mut self, before: &BTreeSet<KeyspaceKey>) {
        let store = self.store.get();
        let shadow = |app: &String, id| {
            let was_there = before.contains(&(app.clone(), id));
            // A swap drops a primary, whose readers follow the new one.
            let swapped = before.contains(&(app.clone(), store.primary(app).map_or(0, |p| p.id)))
                && store.primary(app).map_or(0, |p| p.id) > id;
            was_there && !swapped && !store.has_keyspace(app, id)
        };
        let readers = self.instances.iter().filter(|(_, instance)| {
            let instance = instance.get();
            let reads = instance
                .reads()
                .filter(|_| instance.is_alive() && !instance.ending);
            reads.is_some_and(|id| shadow(&instance.app, id))
        });
        let readers: Vec<String> = readers.map(|(id, _)| format!("{id:x}")).collect();
        if let Some(reader) = readers.first() {
            let text = format!("instance {reader} reads a keyspace that is dropped");
            self.breaks(Breach::Reader(text));
        }
    }

    /// Whether a packet may be missing in the book of an app.
    pub(super) fn may_be_missing(&self, app: &str, seen: &Seen, number: u8, setup: &Setup) -> bool {
        let quarantined = || {
            let mut events = self.store.get().records(EVENTS);
            events.any(|(id, _)| id.starts_with(app))
        };
        seen.lost.contains(&number) || setup.poison == Some(number) && quarantined()
    }

    /// Packets that an app has to have handled at the end.
    pub(super) fn expected(&self, app: &str, seen: &Seen, setup: &Setup) -> Vec<u8> {
        let all = 1..=seen.came;
        let (_, lost) = Entry::split(&self.store.get().book(app));
        let missing =
            |number: &u8| lost.contains(number) || self.may_be_missing(app, seen, *number, setup);
        all.filter(|number| !missing(number)).collect()
    }

    /// Rules are in the switch when an instance calls them complete.
    pub(super) fn check_synced(&mut self, setup: &Setup) {
        let mut instances = self.instances.iter();
        let Some(id) = instances.find_map(|(id, of)| of.get().calls_complete().then_some(*id))
        else {
            return;
        };
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        instance.change().forget_complete();
        let instance = instance.get();
        let at = self.seen.keys().position(|app| *app == instance.app);
        let switch = self.proxy.get().switch();
        let count = at.map_or(0, |at| switch.count(at as u8 + 1));
        let wanted = usize::from(releases::rules(&instance.release, setup));
        if count != wanted {
            let text = format!("instance {id:x}: {count} rules are there, {wanted} are wanted");
            self.breaks(Breach::Rules(text));
        }
    }

    pub(super) fn check(&mut self, setup: &Setup) {
        let mut breach = None;
        for (app, seen) in &self.seen {
            breach = breach.or_else(|| self.check_book(app, seen, setup));
        }
        for (app, seen) in &mut self.seen {
            seen.book = self.store.get().book(app);
        }
        let forgot = self.instances.values().find_map(|one| one.get().forgot());
        breach = breach.or(forgot.map(Breach::Cursor));
        let dropped = self.proxy.get().wrongly_dropped();
        breach = breach.or(dropped.map(Breach::Dropped));
        let morphd = self.morphd.as_ref().map(Part::get);
        if morphd.is_some_and(Morphd::waits_for_ever) {
            breach = breach.or(Some(Breach::NoDeadline));
        }
        let morphd = morphd.filter(|morphd| !morphd.is_upgrading());
        let disputed = morphd.and_then(|morphd| morphd.disputed(self.store.get()));
        breach = breach.or(disputed.map(Breach::Record));
        let releases = self.seen.keys();
        let releases = releases.filter_map(|app| Some(morphd?.serves(app)?.release.clone()));
        let releases: Vec<_> = releases.collect();
        if releases.windows(2).any(|two| two[0] != two[1]) {
            breach = breach.or_else(|| Some(Breach::Apart(format!("{releases:?}"))));
        }
        self.breach = self.breach.take().or(breach);
    }

    fn check_book(&self, app: &str, seen: &Seen, setup: &Setup) -> Option<Breach> {
        let book = self.store.get().book(app);
        let entries = Entry::of(&book);
        let last = entries.last().map_or(0, |entry| entry.number);
        let in_order =
            entries.windows(2).all(|two| two[0].number < two[1].number) && last <= seen.came;
        let (applied, lost) = Entry::split(&book);
        let mut until_last = 1..=last;
        let whole = until_last.all(|number| match setup.is_written(number) {
            _ if lost.contains(&number) => true,
            true => applied.contains(&number) || self.may_be_missing(app, seen, number, setup),
            false => !applied.contains(&number),
        });
        if !(in_order && whole && book.starts_with(&seen.book)) {
            let (came, before) = (seen.came, &seen.book);
            let text = format!("{app}: {book:?} is written down after {before:?}, and {came} came");
            return Some(Breach::Book(text));
        }
        if let Some(number) = seen.sent.iter().find(|number| !setup.is_sent(**number)) {
            let text = format!("{app}: packet {number} leaves, and the app failed on it");
            return Some(Breach::Packets(text));
        }
        if let Some(number) = seen.sent.iter().find(|number| lost.contains(number)) {
            let text =
                format!("{app}: packet {number} leaves, and the app was told that it is lost");
            return Some(Breach::Packets(text));
        }
        let accepted = applied.iter().all(|number| seen.sent.contains(number));
        (!accepted).then(|| {
            let sent = &seen.sent;
            let text = format!("{app}: {book:?} is written down, and {sent:?} was answered");
            Breach::NotAccepted(text)
        })
    }
}
