//! One shadow, from its keyspace to the moment at which it may take the primary's place.
//!
//! ```text
//!   Idle --begin--> Making --Made--> Filling --Progress{complete}--> Following
//!                     |                 |                               | catch_up (also asked for earlier)
//!                     | MakeFailed      | Failed, or no progress        v
//!                     +-------+---------+                            Flushing --Flushed--> Current
//!                             v                                         |  no answer: again, then failed
//!                           Idle                                        v
//!   give_up, from any: a keyspace that is made later is dropped       Idle
//! ```
//!
//! Backfill, online migration, the way back after a backfill, and shadows for readers of another schema are all this job.
//! Whoever runs it instructs the maker, and swaps.

use std::time::{Duration, Instant};

use super::messages::ShadowInput;

/// Time for the answer to a flush. After it the maker goes on by itself.
pub(super) const FLUSH: Duration = Duration::from_secs(2);
/// Flushes before the maker is taken to be unable.
pub(super) const FLUSHES: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Idle,
    Making,
    Filling(u32),
    Following(u32),
    Flushing(u32),
    Current(u32),
}

/// Action for a shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowOutput {
    /// Create a keyspace in this schema: answer `Made` or `MakeFailed`.
    Make(u32),
    /// Instruct the maker to fill this keyspace.
    Fill { keyspace: u32, schema: u32 },
    /// Instruct the maker to flush.
    Flush,
    /// Drop a keyspace that is wanted no longer.
    Drop(u32),
    /// The shadow cannot be had, and why.
    Fail(String),
}

#[derive(Debug, Clone)]
pub struct ShadowJob {
    schema: u32,
    progress: Progress,
    /// The shadow is to become current as soon as it is whole.
    catch_up: bool,
    flushes: u32,
    lossy: u64,
    /// Longest time without a report, once somebody waits for the shadow.
    limit: Duration,
    deadline: Option<Instant>,
}

impl ShadowJob {
    pub fn idle(limit: Duration) -> Self {
        ShadowJob {
            schema: 0,
            progress: Progress::Idle,
            catch_up: false,
            flushes: 0,
            lossy: 0,
            limit,
            deadline: None,
        }
    }

    /// Starts anew, in this schema.
    pub fn begin(&mut self, schema: u32) -> ShadowOutput {
        *self = ShadowJob {
            schema,
            progress: Progress::Making,
            ..ShadowJob::idle(self.limit)
        };
        ShadowOutput::Make(schema)
    }

    /// Somebody waits for the shadow from now on: a maker without progress has failed.
    pub fn watch(&mut self, now: Instant) {
        if matches!(self.progress, Progress::Making | Progress::Filling(_)) {
            self.deadline = Some(now + self.limit);
        }
    }

    /// The shadow is to become current: at once where it follows, else as soon as it does.
    pub fn catch_up(&mut self, now: Instant) -> Option<ShadowOutput> {
        self.catch_up = true;
        match self.progress {
            Progress::Following(_) | Progress::Flushing(_) | Progress::Current(_) => {
                Some(self.flush(now))
            }
            Progress::Making | Progress::Filling(_) => {
                self.watch(now);
                None
            }
            Progress::Idle => Some(ShadowOutput::Fail("there is no shadow".into())),
        }
    }

    pub fn handle(&mut self, input: &ShadowInput, now: Instant) -> Option<ShadowOutput> {
        match (input, self.progress) {
            (ShadowInput::Made(keyspace), Progress::Making) => {
                self.progress = Progress::Filling(*keyspace);
                self.extend(now);
                Some(ShadowOutput::Fill {
                    keyspace: *keyspace,
                    schema: self.schema,
                })
            }
            // Asked for before the job was given up or begun anew.
            (ShadowInput::Made(keyspace), Progress::Idle) => Some(ShadowOutput::Drop(*keyspace)),
            (ShadowInput::MakeFailed(why), Progress::Making) => {
                Some(self.fail(format!("there is no keyspace for the shadow: {why}")))
            }
            (ShadowInput::Progress { keyspace, .. } | ShadowInput::Failed { keyspace, .. }, _)
                if self.keyspace() != Some(*keyspace) =>
            {
                // The report is about an earlier shadow, whose keyspace was dropped.
                None
            }
            (ShadowInput::Failed { why, .. }, _) => Some(self.fail(why.clone())),
            (
                ShadowInput::Progress {
                    complete, lossy, ..
                },
                _,
            ) => self.report(*complete, *lossy, now),
            (ShadowInput::Flushed, Progress::Flushing(keyspace)) => {
                self.progress = Progress::Current(keyspace);
                self.deadline = None;
                None
            }
            (
                ShadowInput::Made(_) | ShadowInput::MakeFailed(_) | ShadowInput::Flushed,
                Progress::Idle
                | Progress::Making
                | Progress::Filling(_)
                | Progress::Following(_)
                | Progress::Flushing(_)
                | Progress::Current(_),
            ) => None,
        }
    }

    fn report(&mut self, complete: bool, lossy: u64, now: Instant) -> Option<ShadowOutput> {
        self.lossy = lossy;
        let Progress::Filling(keyspace) = self.progress else {
            return None;
        };
        if !complete {
            self.extend(now);
            return None;
        }
        self.progress = Progress::Following(keyspace);
        self.deadline = None;
        self.catch_up.then(|| self.flush(now))
    }

    /// The time of the next deadline may have come.
    pub fn time(&mut self, now: Instant) -> Option<ShadowOutput> {
        self.deadline.take_if(|at| *at <= now)?;
        match self.progress {
            Progress::Flushing(_) => Some(self.flush(now)),
            Progress::Making | Progress::Filling(_) => {
                let limit = self.limit;
                Some(self.fail(format!("the shadow made no progress for {limit:?}")))
            }
            Progress::Idle | Progress::Following(_) | Progress::Current(_) => None,
        }
    }

    fn flush(&mut self, now: Instant) -> ShadowOutput {
        let Some(keyspace) = self.keyspace() else {
            return self.fail("there is no shadow".into());
        };
        if self.flushes == FLUSHES {
            return self.fail("its maker does not bring the shadow up to date".into());
        }
        self.flushes += 1;
        self.progress = Progress::Flushing(keyspace);
        self.deadline = Some(now + FLUSH);
        ShadowOutput::Flush
    }

    fn fail(&mut self, why: String) -> ShadowOutput {
        self.deadline = None;
        ShadowOutput::Fail(why)
    }

    /// Ends the job; the keyspace to be dropped, if there is one.
    pub fn give_up(&mut self) -> Option<u32> {
        let keyspace = self.keyspace();
        *self = ShadowJob::idle(self.limit);
        keyspace
    }

    fn extend(&mut self, now: Instant) {
        if self.deadline.is_some() {
            self.deadline = Some(now + self.limit);
        }
    }

    pub fn keyspace(&self) -> Option<u32> {
        match self.progress {
            Progress::Idle | Progress::Making => None,
            Progress::Filling(keyspace)
            | Progress::Following(keyspace)
            | Progress::Flushing(keyspace)
            | Progress::Current(keyspace) => Some(keyspace),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.progress == Progress::Idle
    }

    /// The shadow is whole; turns are translated into it as they come.
    pub fn is_complete(&self) -> bool {
        matches!(
            self.progress,
            Progress::Following(_) | Progress::Flushing(_) | Progress::Current(_)
        )
    }

    /// The shadow has everything, and its maker waits.
    pub fn is_current(&self) -> bool {
        matches!(self.progress, Progress::Current(_))
    }

    /// Groups of rows that would not come back as they were from the other schema version.
    pub fn lossy(&self) -> u64 {
        self.lossy
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn progress(keyspace: u32, complete: bool) -> ShadowInput {
        ShadowInput::Progress {
            keyspace,
            complete,
            lossy: 0,
        }
    }

    /// A job that fills keyspace 7.
    fn filling(now: Instant) -> ShadowJob {
        let mut job = ShadowJob::idle(LIMIT);
        assert_eq!(job.begin(2), ShadowOutput::Make(2));
        let fill = ShadowOutput::Fill {
            keyspace: 7,
            schema: 2,
        };
        assert_eq!(job.handle(&ShadowInput::Made(7), now), Some(fill));
        job
    }

    #[test]
    fn a_shadow_is_made_filled_and_caught_up() {
        let now = Instant::now();
        let mut job = filling(now);
        assert_eq!(job.handle(&progress(7, true), now), None);
        assert!(job.is_complete() && !job.is_current());
        assert_eq!(job.catch_up(now), Some(ShadowOutput::Flush));
        assert_eq!(job.handle(&ShadowInput::Flushed, now), None);
        assert!(job.is_current());
    }

    #[test]
    fn a_catch_up_that_is_asked_for_early_waits_for_the_fill() {
        let now = Instant::now();
        let mut job = filling(now);
        assert_eq!(job.catch_up(now), None);
        assert_eq!(
            job.handle(&progress(7, true), now),
            Some(ShadowOutput::Flush)
        );
    }

    #[test]
    fn progress_extends_the_deadline_and_its_absence_fails() {
        let now = Instant::now();
        let mut job = filling(now);
        assert_eq!(job.next_deadline(), None, "nobody waits");
        job.watch(now);
        job.handle(&progress(7, false), now + LIMIT / 2);
        assert_eq!(job.time(now + LIMIT), None);
        assert!(matches!(
            job.time(now + LIMIT / 2 + LIMIT),
            Some(ShadowOutput::Fail(_))
        ));
    }

    #[test]
    fn a_flush_without_an_answer_is_asked_for_again_and_then_fails() {
        let mut now = Instant::now();
        let mut job = filling(now);
        job.handle(&progress(7, true), now);
        job.catch_up(now);
        for _ in 1..FLUSHES {
            now += FLUSH;
            assert_eq!(job.time(now), Some(ShadowOutput::Flush));
        }
        assert!(matches!(job.time(now + FLUSH), Some(ShadowOutput::Fail(_))));
    }

    #[test]
    fn reports_on_an_earlier_shadow_change_nothing() {
        let now = Instant::now();
        let mut job = filling(now);
        let failed = |keyspace| ShadowInput::Failed {
            keyspace,
            why: "gone".into(),
        };
        assert_eq!(job.handle(&failed(6), now), None);
        job.handle(&progress(6, true), now);
        assert!(!job.is_complete());
        assert!(matches!(
            job.handle(&failed(7), now),
            Some(ShadowOutput::Fail(_))
        ));
    }

    #[test]
    fn a_keyspace_that_comes_after_the_end_is_dropped() {
        let now = Instant::now();
        let mut job = ShadowJob::idle(LIMIT);
        job.begin(2);
        assert_eq!(job.give_up(), None);
        assert_eq!(
            job.handle(&ShadowInput::Made(7), now),
            Some(ShadowOutput::Drop(7))
        );
    }
}
