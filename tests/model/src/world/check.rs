//! What must never be.

use super::*;

impl World {
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

    pub(super) fn check(&mut self) {
        let morphd = self
            .morphd
            .as_ref()
            .map(Part::get)
            .filter(|morphd| !morphd.is_upgrading());
        let mut releases = Vec::new();
        for (app, seen) in &self.seen {
            let book = self.store.get().book(app);
            let all: Vec<u8> = (1..=seen.came).collect();
            let breach = if !all.starts_with(&book) {
                Some(Breach::Book(format!(
                    "{app}: {book:?} is written down, of {all:?}"
                )))
            } else if !seen.sent.starts_with(&book) {
                Some(Breach::NotAccepted(format!(
                    "{app}: {book:?} is written down, and {:?} was answered",
                    seen.sent
                )))
            } else {
                None
            };
            self.breach = self.breach.take().or(breach);
            releases.extend(
                morphd
                    .and_then(|morphd| morphd.serves(app))
                    .map(|known| known.release.clone()),
            );
        }
        if releases.windows(2).any(|two| two[0] != two[1]) {
            self.breach
                .get_or_insert(Breach::Apart(format!("{releases:?}")));
        }
    }
}
