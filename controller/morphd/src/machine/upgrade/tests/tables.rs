//! The whole table of states and inputs.

use super::*;

/// Every input, and a name for the table.
fn inputs() -> Vec<(&'static str, MemberInput)> {
    let text = || "why".to_owned();
    vec![
        ("staged", recorded(Step::Staged)),
        ("starting", recorded(Step::Starting)),
        ("ready", recorded(Step::Ready)),
        ("quiescing", recorded(Step::Quiescing)),
        ("upgraded", recorded(Step::Upgraded)),
        ("rolling", recorded(Step::RollingBack)),
        ("ended", MemberInput::Ended),
        ("end-refused", MemberInput::EndRefused(text())),
        (
            "not-recorded",
            MemberInput::NotRecorded(Step::Staged, text()),
        ),
        ("made", made(7)),
        ("not-made", make_failed(text())),
        ("target-ready", ready(Side::Target)),
        ("source-ready", ready(Side::Source)),
        ("earlier-shadow-failed", shadow_failed(6)),
        ("shadow-failed", shadow_failed(7)),
        ("open", MemberInput::Open),
        ("pong", MemberInput::Pong),
        ("copied", whole(7)),
        ("flushed", flushed()),
        ("target-failed", MemberInput::Failed(Side::Target, text())),
        ("source-failed", MemberInput::Failed(Side::Source, text())),
        ("target-rules", in_step(Side::Target)),
        ("source-rules", in_step(Side::Source)),
        ("healthy", health(10, 1, 2, None)),
        ("errors", health(10, 9, 0, None)),
        ("load", load(1, 0, 0)),
        ("unobserved", MemberInput::Load(None)),
        ("target-gone", gone(Side::Target)),
        ("source-gone", gone(Side::Source)),
        ("yielded", MemberInput::Yielded(SourceState::Ready)),
        ("held", MemberInput::Held(HoldOutcome::Quiesced)),
        ("hold-failed", MemberInput::HoldFailed(text())),
        ("fenced", MemberInput::Fenced),
        ("fence-refused", MemberInput::FenceRefused(text())),
        ("resumed", MemberInput::Resumed(Resumption::default())),
        ("resume-failed", MemberInput::ResumeFailed(text())),
        ("expired", MemberInput::HoldExpired(Some(Side::Target))),
        ("proxy-lost", MemberInput::ProxyLost),
        ("commit", MemberInput::Commit),
        ("rollback", MemberInput::Rollback),
        (
            "other-goes-back",
            MemberInput::OtherGoesBack(Cause::operator("because")),
        ),
        ("time", MemberInput::Time),
    ]
}

/// Feeds every input to a machine in `state`; those in `moves` must lead where it says, all others nowhere.
#[track_caller]
fn row(mode: Mode, state: MemberState, moves: &[(&str, MemberState)]) {
    let start = at(mode, state);
    for (name, input) in inputs() {
        let mut b = start.clone();
        b.feed(input);
        let wanted = moves
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(state, |(_, to)| *to);
        assert_eq!(b.state(), wanted, "{mode:?} {state:?} on {name}");
    }
}

const LEAVING: [(&str, MemberState); 6] = [
    ("other-goes-back", MemberState::Leaving),
    ("not-recorded", MemberState::Leaving),
    ("target-failed", MemberState::Leaving),
    ("target-gone", MemberState::Leaving),
    ("proxy-lost", MemberState::Leaving),
    ("rollback", MemberState::Leaving),
];
const BACK: [(&str, MemberState); 5] = [
    ("other-goes-back", RECORDING),
    ("target-failed", RECORDING),
    ("target-gone", RECORDING),
    ("proxy-lost", RECORDING),
    ("rollback", RECORDING),
];

#[test]
fn table_before_the_hold() {
    let with = |more: &[(&'static str, MemberState)]| [&LEAVING[..], more].concat();
    let leaving = MemberState::Leaving;
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        // What the maker of a shadow cannot do ends the upgrade, and so does its end where it is the source.
        let maker = match mode {
            Mode::Plain | Mode::Online => Vec::new(),
            Mode::Backfill => vec![
                ("source-gone", leaving),
                ("source-failed", leaving),
                ("shadow-failed", leaving),
            ],
        };
        let with = |more: &[(&'static str, MemberState)]| with(&[&maker[..], more].concat());
        let making = [("not-made", leaving)];
        let making = if mode == Mode::Online {
            &making[..]
        } else {
            &[]
        };
        row(
            mode,
            MemberState::Starting,
            &with(&[("target-ready", MemberState::Probing)]),
        );
        let probing = [making, &[("pong", MemberState::Ready)]].concat();
        row(mode, MemberState::Probing, &with(&probing));
        let ready = [making, &[("ready", MemberState::Announcing)]].concat();
        row(mode, MemberState::Ready, &with(&ready));
        let announcing = [making, &[("quiescing", MemberState::Quiescing)]].concat();
        row(mode, MemberState::Announcing, &with(&announcing));
    }
    let starting = [("starting", MemberState::Starting)];
    row(Mode::Plain, MemberState::Staged, &with(&starting));
    row(Mode::Online, MemberState::Staged, &with(&starting));
    let backfilling = [("starting", MemberState::Backfilling)];
    row(Mode::Backfill, MemberState::Staged, &with(&backfilling));
    row(
        Mode::Backfill,
        MemberState::Backfilling,
        &with(&[
            ("source-gone", leaving),
            ("source-failed", leaving),
            ("not-made", leaving),
        ]),
    );
    row(
        Mode::Backfill,
        MemberState::Leaving,
        &[("ended", MemberState::RolledBack)],
    );
}

#[test]
fn table_of_the_hand_over() {
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        row(
            mode,
            MemberState::Quiescing,
            &[("held", MemberState::Fencing), ("hold-failed", RECORDING)],
        );
        row(
            mode,
            MemberState::Fencing,
            &[
                ("fenced", MemberState::Resuming),
                ("fence-refused", RECORDING),
            ],
        );
        row(
            mode,
            MemberState::Resuming,
            &[
                ("resumed", MemberState::Upgraded),
                ("resume-failed", RECORDING),
            ],
        );
    }
}

#[test]
fn table_of_probation_and_commit() {
    let with = |more: &[(&'static str, MemberState)]| [&BACK[..], more].concat();
    let (settling, committing) = (MemberState::Settling, MemberState::Committing);
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        let maker = [("shadow-failed", RECORDING)];
        let maker = if mode == Mode::Plain { &[] } else { &maker[..] };
        let probation = [("commit", settling), ("errors", RECORDING)];
        row(
            mode,
            MemberState::Upgraded,
            &with(&[maker, &probation].concat()),
        );
        row(mode, settling, &with(maker));
    }
    let again = MemberState::CatchingUp;
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        row(
            mode,
            committing,
            &[("ended", MemberState::Committed), ("end-refused", again)],
        );
        row(mode, MemberState::Committed, &[]);
    }
    let mode = Mode::Online;
    row(mode, again, &with(&[("shadow-failed", RECORDING)]));
    let mut b = at(mode, again);
    b.feed(whole(7));
    let flush = MemberOutput::Instruct(Side::Target, Order::Flush);
    assert_eq!((b.state(), &b.out[..]), (again, &[flush][..]));
    b.feed(flushed());
    assert_eq!(
        (b.state(), &b.joint[..]),
        (committing, &[commit(Some(7))][..])
    );
}

#[test]
fn table_of_the_way_back() {
    let back = MemberState::Back;
    for mode in [Mode::Plain, Mode::Online, Mode::Backfill] {
        row(mode, RECORDING, &[("rolling", back(Back::Holding))]);
        row(
            mode,
            back(Back::Waiting),
            &[("source-ready", back(Back::Holding))],
        );
        row(
            mode,
            back(Back::Holding),
            &[
                ("held", back(Back::Fencing)),
                ("hold-failed", back(Back::Fencing)),
            ],
        );
        row(
            mode,
            back(Back::Fencing),
            &[
                ("fenced", back(Back::Resuming)),
                ("fence-refused", back(Back::Waiting)),
            ],
        );
        let live = match mode {
            Mode::Backfill => back(Back::Restoring),
            Mode::Plain | Mode::Online => back(Back::Settling),
        };
        row(
            mode,
            back(Back::Resuming),
            &[("resumed", live), ("resume-failed", back(Back::Waiting))],
        );
    }
    for mode in [Mode::Plain, Mode::Online] {
        row(
            mode,
            back(Back::Settling),
            &[
                ("source-gone", back(Back::Closing)),
                ("proxy-lost", back(Back::Closing)),
                ("source-rules", back(Back::Closing)),
                ("target-rules", back(Back::Closing)),
            ],
        );
        row(
            mode,
            back(Back::Closing),
            &[("ended", MemberState::RolledBack)],
        );
        row(mode, MemberState::RolledBack, &[]);
    }
}

#[test]
fn table_of_restoring_the_older_schema() {
    let back = MemberState::Back;
    let mode = Mode::Backfill;
    row(
        mode,
        back(Back::Restoring),
        &[
            ("source-gone", back(Back::Waiting)),
            ("proxy-lost", back(Back::Waiting)),
        ],
    );
    row(
        mode,
        back(Back::Swapping),
        &[
            ("ended", MemberState::RolledBack),
            ("end-refused", back(Back::Restoring)),
        ],
    );
    let mut b = at(mode, back(Back::Restoring));
    b.feed(made(8)).feed(whole(8));
    let flush = MemberOutput::Instruct(Side::Source, Order::Flush);
    assert_eq!(b.out, [flush]);
    b.feed(flushed());
    assert_eq!(b.out, [MemberOutput::RecordRolledBack(Some(8))]);
    assert_eq!(b.state(), back(Back::Swapping));
    b.feed(MemberInput::Ended);
    assert_eq!(b.out[0], MemberOutput::Instruct(Side::Source, Order::Go));
}
