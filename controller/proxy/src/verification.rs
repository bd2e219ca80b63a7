//! Verification of table 0 and the exit tables of one switch: finds rules that vanished or changed without Morpheus.
//!
//! 1. From time to time the switch counts the rules. Another number than the wanted one calls for a reading.
//! 2. More rarely the rules are read anyway, since one that another controller changed is counted like before.
//! 3. A reading compares and mends as any other (`pipeline`). Its difference is logged as what others did.

use std::time::{Duration, Instant};

use morph_api::cookie::Cookie;
pub(crate) use morph_api::verification::Question;
use morph_api::verification::{MEND, Recurrence, Schedule, VerificationPeriods};
use morph_openflow::Dpid;
use morph_openflow::rule::{RuleKey, RuleSet};
use morph_openflow::v13::{FlowMod, FlowStatsRequest, Message, MultipartRequest};

use crate::pipeline::{DifferenceCounts, Reconciliation};

/// Count of which answers are missing.
#[derive(Debug, Clone)]
struct Count {
    /// Number of requests that are still to be sent.
    unsent: usize,
    /// Xids of the others.
    waiting: Vec<u32>,
    sum: u64,
}

/// State of the verification of one switch.
#[derive(Debug, Clone)]
pub(crate) struct Verification {
    schedule: Schedule,
    /// Whether the times are set: once the switch was read.
    is_started: bool,
    count: Option<Count>,
    /// The reading under way is one of the verification.
    reads: bool,
    recurrence: Recurrence<RuleKey>,
}

impl Verification {
    pub(crate) fn new(periods: VerificationPeriods) -> Self {
        Verification {
            schedule: Schedule::new(periods),
            is_started: false,
            count: None,
            reads: false,
            recurrence: Recurrence::new(periods),
        }
    }

    /// Sets the first times, once. Each switch has its place in the periods.
    pub(crate) fn start(&mut self, dpid: Dpid, now: Instant) {
        if !std::mem::replace(&mut self.is_started, true) {
            self.schedule.start(dpid.0, now);
        }
    }

    /// Drops what is under way: the switch is read for another reason.
    pub(crate) fn interrupt(&mut self) {
        self.count = None;
        self.reads = false;
        self.schedule.interrupt();
    }

    /// Time of the next question.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.schedule.due_at().filter(|_| self.count.is_none())
    }

    /// Begins the question that is due.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Question> {
        let question = self.schedule.due(now).filter(|_| self.count.is_none())?;
        self.schedule.asked(question, now);
        if question == Question::Rules {
            self.reads = true;
            return Some(question);
        }
        self.count = Some(Count {
            unsent: Self::count_requests().len(),
            waiting: Vec::new(),
            sum: 0,
        });
        Some(Question::Count)
    }

    /// Requests of a count: of the same rules that a reading reads.
    pub(crate) fn count_requests() -> Vec<Message> {
        let [of_morpheus, of_table_0] = Reconciliation::selections();
        let count =
            |of: FlowStatsRequest| Message::MultipartRequest(MultipartRequest::Aggregate(of));
        vec![count(of_morpheus), count(of_table_0)]
    }

    /// Notes that a request of the count was sent under this xid.
    pub(crate) fn sent(&mut self, xid: u32) {
        if let Some(count) = &mut self.count {
            count.unsent = count.unsent.saturating_sub(1);
            count.waiting.push(xid);
        }
    }

    /// Whether the request with this xid is one of the count.
    pub(crate) fn awaits(&self, xid: u32) -> bool {
        let waiting = self.count.as_ref().map(|count| &count.waiting);
        waiting.is_some_and(|waiting| waiting.contains(&xid))
    }

    /// Handles one of the numbers. Another sum than that of the wanted rules calls for a reading.
    pub(crate) fn counted(&mut self, xid: u32, rules: u32, wanted: &RuleSet, now: Instant) {
        let Some(count) = self.count.as_mut().filter(|c| c.waiting.contains(&xid)) else {
            return;
        };
        count.waiting.retain(|asked| *asked != xid);
        count.sum += u64::from(rules);
        if count.unsent > 0 || !count.waiting.is_empty() {
            return;
        }
        let sum = count.sum;
        self.count = None;
        let is_own = |cookie| Cookie::from_u64(cookie).is_some_and(|cookie| cookie.app == 0);
        let own = wanted.values().filter(|body| is_own(body.cookie)).count();
        let in_table_0 = wanted.keys().filter(|key| key.table == 0).count();
        self.schedule.counted(sum == (own + in_table_0) as u64, now);
    }

    /// Gives up counts: the switch refuses them.
    pub(crate) fn counts_refused(&mut self) {
        self.count = None;
        self.schedule.counts_refused();
    }

    /// Gives up a count whose answer is missing.
    pub(crate) fn count_missing(&mut self) {
        self.count = None;
        self.schedule.count_missing();
    }

    /// Judges the difference of a reading, and logs what others did. False: the reading was none of the verification.
    pub(crate) fn judge(
        &mut self,
        dpid: Dpid,
        mods: &[FlowMod],
        counts: &DifferenceCounts,
        now: Instant,
    ) -> bool {
        let by_count = self.schedule.take_by_count();
        if !std::mem::take(&mut self.reads) {
            return false;
        }
        let rule = |flow: &FlowMod| RuleKey::new(flow.table_id, flow.priority, &flow.match_);
        let Some(example) = mods.first().map(rule) else {
            if by_count {
                self.schedule.count_missing();
            }
            return true;
        };
        self.schedule.found();
        let lasted = self.recurrence.lasts(now).is_some();
        let begins = self.recurrence.note(mods.iter().map(rule), now);
        let DifferenceCounts {
            added,
            changed,
            removed,
            ..
        } = counts;
        if begins {
            tracing::warn!(
                "alarm vanishing-rules on switch {dpid} began: rules of table 0 and the exit tables vanish or change there again \
                 and again, without Morpheus, and are mended each time; now {added} were missing, {changed} changed, {removed} \
                 foreign, for example {example}; to end it: {MEND}"
            );
        } else if !lasted {
            tracing::warn!(
                "rules of table 0 and the exit tables of switch {dpid} had vanished or changed without Morpheus: {added} added \
                 again, {changed} changed back, {removed} foreign ones removed; for example {example}"
            );
        }
        true
    }

    /// Ends a trouble without findings for long.
    pub(crate) fn expire(&mut self, dpid: Dpid, now: Instant) {
        if self.recurrence.expire(now) {
            tracing::info!("alarm vanishing-rules on switch {dpid} ended");
        }
    }

    /// Time since the beginning of the alarm.
    pub(crate) fn trouble(&self, now: Instant) -> Option<Duration> {
        self.recurrence.lasts(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Apps;
    use crate::dispatch::tests::configuration;
    use crate::pipeline::{self, Entries};

    const APPS: [(&str, u32, u32, u32); 2] = [("topology", 2, 2, 9), ("router", 3, 20, 29)];

    fn started(now: Instant) -> Verification {
        let mut verification = Verification::new(VerificationPeriods::default());
        assert_eq!(verification.next_deadline(), None);
        verification.start(Dpid(1), now);
        verification
    }

    fn next(verification: &mut Verification) -> (Question, Instant) {
        let at = verification.next_deadline().unwrap();
        (verification.begin(at).unwrap(), at)
    }

    fn count(verification: &mut Verification, numbers: [u32; 2], wanted: &RuleSet, now: Instant) {
        for (xid, number) in [(7, numbers[0]), (8, numbers[1])] {
            verification.sent(xid);
            assert!(verification.awaits(xid));
            verification.counted(xid, number, wanted, now);
        }
        assert!(verification.count.is_none());
    }

    #[test]
    fn the_right_number_calls_for_nothing_and_another_one_for_a_reading_at_once() {
        let apps = Apps::new(&configuration(&APPS)).unwrap();
        let wanted = pipeline::wanted(&apps, &Entries::default());
        let mut verification = started(Instant::now());
        let (question, at) = next(&mut verification);
        assert_eq!(question, Question::Count);
        assert_eq!(verification.next_deadline(), None, "until the answers come");
        // Three rules are the proxy's, of which one is in table 0 beside topology's.
        count(&mut verification, [3, 2], &wanted, at);
        assert_eq!(
            verification.next_deadline(),
            Some(at + Duration::from_secs(30))
        );
        let (_, at) = next(&mut verification);
        count(&mut verification, [2, 2], &wanted, at);
        assert_eq!(next(&mut verification), (Question::Rules, at));
    }

    #[test]
    fn counts_that_are_refused_or_useless_are_given_up_and_readings_stay() {
        let now = Instant::now();
        let mut refused = started(now);
        next(&mut refused);
        refused.counts_refused();
        let mut useless = started(now);
        for _ in 0..3 {
            let (question, at) = next(&mut useless);
            assert_eq!(question, Question::Count);
            count(&mut useless, [9, 9], &RuleSet::new(), at);
            assert_eq!(next(&mut useless).0, Question::Rules);
            assert!(useless.judge(Dpid(1), &[], &DifferenceCounts::default(), at));
        }
        for mut verification in [refused, useless] {
            for _ in 0..3 {
                assert_eq!(next(&mut verification).0, Question::Rules);
            }
        }
    }

    #[test]
    fn a_difference_for_another_reason_is_no_finding() {
        let now = Instant::now();
        let mut verification = started(now);
        let key = RuleKey::new(0, 0, &morph_openflow::v13::Match::new());
        let mods = [FlowMod::delete_strict(&key, 0)];
        let counts = DifferenceCounts::default();
        for _ in 0..5 {
            verification.schedule.read_by(now);
            verification.begin(now);
            verification.interrupt();
            assert!(!verification.judge(Dpid(1), &mods, &counts, now));
        }
        assert_eq!(verification.trouble(now), None);
        for _ in 0..3 {
            verification.schedule.read_by(now);
            verification.begin(now);
            assert!(verification.judge(Dpid(1), &mods, &counts, now));
        }
        assert!(verification.trouble(now).is_some());
    }
}
