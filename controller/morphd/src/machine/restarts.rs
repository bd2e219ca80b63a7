//! The wait before something that keeps dying is started again.

use std::time::{Duration, Instant};

/// Deaths closer together than this belong to one run.
const WINDOW: Duration = Duration::from_secs(10);
/// A process that lived this long works: the wait after its death does not grow, so that an outage stays short.
const STEADY: Duration = Duration::from_millis(500);
/// A process that lived this long is started again at once: whoever needs it should not wait, and it cannot spin.
const LIVED: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// Deaths in a row, each after a short life, that make a crash loop: six seconds of waits at least.
const SHORT: u32 = 8;
/// Deaths in a run that make a crash loop where it works for a while between them.
const MANY: u32 = 20;

/// Count of deaths in a row, and the waits that follow from it.
#[derive(Debug, Clone)]
pub struct Restarts {
    /// Deaths in a row that are answered at once.
    free: u32,
    row: u32,
    /// Deaths since it last lived for a whole window.
    run: u32,
    last: Option<Instant>,
    total: u64,
}

impl Restarts {
    /// The first `free` deaths in a row are answered at once.
    pub fn new(free: u32) -> Self {
        Restarts {
            free,
            row: 0,
            run: 0,
            last: None,
            total: 0,
        }
    }

    /// A death; returns the time of the next start.
    pub fn died(&mut self, now: Instant) -> Instant {
        let life = self.last.map(|last| now.saturating_duration_since(last));
        self.died_after(life, now)
    }

    /// A death before it had worked at all, however long that took.
    pub fn died_unborn(&mut self, now: Instant) -> Instant {
        let life = self.last.map(|_| Duration::ZERO);
        self.died_after(life, now)
    }

    fn died_after(&mut self, life: Option<Duration>, now: Instant) -> Instant {
        self.run = match life {
            Some(life) if life < WINDOW => self.run.saturating_add(1),
            Some(_) | None => 1,
        };
        self.row = match life {
            Some(life) if life < STEADY => self.row.saturating_add(1),
            Some(life) if life < WINDOW => self.row.saturating_add(1).min(self.free + 1),
            Some(_) | None => 1,
        };
        self.total += 1;
        let over = self.row.checked_sub(self.free + 1);
        let Some(over) = over.filter(|_| life.is_none_or(|life| life < LIVED)) else {
            self.last = Some(now);
            return now;
        };
        let wait = FIRST.saturating_mul(1 << over.min(16)).min(LONGEST);
        // Counted from the start: the wait itself is no life.
        self.last = Some(now + wait);
        now + wait
    }

    /// Takes the last death out of the count.
    pub fn forgive(&mut self) {
        self.row = self.row.saturating_sub(1);
        self.run = self.run.saturating_sub(1);
    }

    /// Deaths are so many that another start is of no use.
    pub fn is_loop(&self) -> bool {
        self.row >= SHORT || self.run >= MANY
    }

    /// Deaths since it last lived for a whole window.
    pub fn in_run(&self) -> u32 {
        self.run
    }

    /// Forgets the deaths so far: another release, or somebody who has mended something.
    pub fn begin_anew(&mut self) {
        (self.row, self.run, self.last) = (0, 0, None);
    }

    pub fn in_row(&self) -> u32 {
        self.row
    }

    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_at_once_and_then_the_wait_doubles() {
        let mut restarts = Restarts::new(1);
        let mut now = Instant::now();
        let waits: Vec<u128> = (0..9)
            .map(|_| {
                let at = restarts.died(now);
                let wait = at - now;
                now = at + Duration::from_millis(1);
                wait.as_millis()
            })
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let later = now + WINDOW + LONGEST;
        assert_eq!(restarts.died(later), later, "a long life ends the row");
        assert_eq!(restarts.total(), 10);
    }

    #[test]
    fn a_loop_is_many_deaths_in_a_row_and_more_where_it_works_in_between() {
        let deaths = |life: Duration| {
            let mut restarts = Restarts::new(1);
            let mut now = Instant::now();
            (1..100).find(|_| {
                now = restarts.died(now) + life;
                restarts.is_loop()
            })
        };
        assert_eq!(deaths(Duration::from_millis(50)), Some(8));
        assert_eq!(deaths(STEADY), Some(20));
        assert_eq!(deaths(WINDOW), None);
        let mut restarts = Restarts::new(1);
        let mut now = Instant::now();
        for _ in 0..7 {
            // However long it took to start.
            now = restarts.died_unborn(now) + WINDOW;
            assert!(!restarts.is_loop());
        }
        restarts.died_unborn(now);
        assert!(restarts.is_loop());
        restarts.begin_anew();
        assert_eq!((restarts.is_loop(), restarts.died(now)), (false, now));
    }

    #[test]
    fn what_is_forgiven_does_not_make_the_next_one_wait() {
        let mut restarts = Restarts::new(1);
        let now = Instant::now();
        for _ in 0..20 {
            assert_eq!(restarts.died(now), now);
            restarts.forgive();
        }
        assert_eq!(restarts.died(now), now);
        assert!(restarts.died(now) > now);
    }

    #[test]
    fn the_wait_does_not_grow_for_one_that_works_between_its_deaths() {
        let mut restarts = Restarts::new(1);
        let mut now = Instant::now();
        let waits: Vec<u128> = (0..5)
            .map(|_| {
                let at = restarts.died(now);
                let wait = at - now;
                now = at + STEADY;
                wait.as_millis()
            })
            .collect();
        assert_eq!(waits, [0, 100, 100, 100, 100]);
    }

    #[test]
    fn one_that_lived_a_while_is_started_again_at_once_and_still_counts() {
        let mut restarts = Restarts::new(1);
        let mut now = Instant::now();
        for _ in 0..5 {
            assert_eq!(restarts.died(now), now);
            now += LIVED;
        }
        assert_eq!(restarts.in_row(), 2);
        assert!(restarts.died(now - LIVED / 2) > now - LIVED / 2);
    }
}
