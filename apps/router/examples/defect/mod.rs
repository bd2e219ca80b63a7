//! Router 1.0.0 with one method of its own: examples that the end-to-end tests upgrade to.

use std::marker::PhantomData;
use std::process::ExitCode;

use morph_sdk::{App, AppError, Changes, Event, RuleInput, Rules, TableShape, Turn, View};
use router::rules::Group;
use router::{Router, V1};

/// Defect of a router. Each method does by default as the router does.
pub(crate) trait Defect: Send + 'static {
    /// Tables of other apps that the router declares.
    fn reads() -> Vec<TableShape> {
        Router::<V1>::reads()
    }

    /// Handles an event.
    fn event(router: &mut Router<V1>, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        router.event(event, turn)
    }

    /// States the rules of a group.
    fn rules(router: &Router<V1>, group: &Group, view: &View<'_>, rules: &mut Rules) {
        router.rules(group, view, rules);
    }
}

struct Defective<D>(Router<V1>, PhantomData<D>);

impl<D: Defect> App for Defective<D> {
    type Group = Group;

    fn tables() -> Vec<TableShape> {
        Router::<V1>::tables()
    }

    fn reads() -> Vec<TableShape> {
        D::reads()
    }

    fn event(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
        D::event(&mut self.0, event, turn)
    }

    fn changed(&mut self, changes: &Changes, turn: &mut Turn<'_>) -> Result<(), AppError> {
        self.0.changed(changes, turn)
    }

    fn groups(&self, input: &RuleInput<'_>, view: &View<'_>) -> Vec<Group> {
        self.0.groups(input, view)
    }

    fn rules(&self, group: &Group, view: &View<'_>, rules: &mut Rules) {
        D::rules(&self.0, group, view, rules);
    }
}

/// Runs the router with this defect.
pub(crate) fn run<D: Defect>() -> ExitCode {
    morph_sdk::run(|| Defective(Router::new(), PhantomData::<D>))
}
