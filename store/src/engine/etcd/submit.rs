//! Submission of a group to etcd. It is repeated until there is an answer, and commits the group at most once.

use etcd_client::{Compare, TxnOp};
use tokio::time::Instant;

use super::calls::{StoredValue, TxnOutcome};
use super::head::{FORMAT, GroupId, Head};
use super::link::CallError;
use super::redo::{self, PartsOutcome};
use super::{Etcd, PAUSE, plan};
use crate::engine::error::EngineError;
use crate::engine::group::Group;

/// Outcome of an attempt to write the head.
pub(super) enum Submission {
    Committed {
        at: i64,
        redo: bool,
    },
    LostRace,
    /// The parts that the head names do not exist.
    PartsMissing,
    NotCommitted(EngineError),
    Unknown(EngineError),
}

impl Etcd {
    pub(super) fn head(&self, id: &GroupId, group: &Group, redo: u32) -> Head {
        Head {
            format: FORMAT,
            revision: group.state.revision,
            group: Some(id.clone()),
            write_sets: Vec::new(),
            redo,
        }
    }

    pub(super) async fn write(
        &mut self,
        id: &GroupId,
        group: &Group,
        deadline: Instant,
    ) -> Submission {
        let key = self.keys.head();
        if !plan::fits(&group.write_sets) {
            return self.write_large(id, group, deadline).await;
        }
        let ops = plan::batches(&self.keys, &group.write_sets);
        let mut ops = match ops {
            Ok(ops) => ops.concat(),
            Err(error) => return Submission::NotCommitted(error),
        };
        let head = Head {
            write_sets: group.write_sets.clone(),
            ..self.head(id, group, 0)
        };
        ops.push(TxnOp::put(key.clone(), head.seal(&key), None));
        self.submit(id, &[], ops, deadline).await
    }

    async fn write_large(&mut self, id: &GroupId, group: &Group, deadline: Instant) -> Submission {
        let key = self.keys.head();
        let parts = redo::write(
            &mut self.link,
            &self.keys,
            self.heads.at(),
            id,
            &group.write_sets,
        );
        let parts = match parts.await {
            Ok(PartsOutcome::Written(parts)) => parts,
            Ok(PartsOutcome::LostRace) => {
                // The next preparation asks for the current head.
                self.unreachable = true;
                return Submission::LostRace;
            }
            Err(trouble) => return Submission::NotCommitted(trouble.into()),
        };
        let head = self.head(id, group, parts.len() as u32);
        let ops = vec![TxnOp::put(key.clone(), head.seal(&key), None)];
        self.submit(id, &parts, ops, deadline).await
    }

    /// Sends the transaction until there is an answer. It can be committed only once, because that changes the head.
    async fn submit(
        &mut self,
        id: &GroupId,
        compares: &[Compare],
        ops: Vec<TxnOp>,
        deadline: Instant,
    ) -> Submission {
        let key = self.keys.head();
        let large = !compares.is_empty();
        let mut unknown = false;
        loop {
            let answer = self
                .link
                .guarded(&key, self.heads.at(), compares, ops.clone());
            let error = match answer.await {
                Ok(TxnOutcome::Done(at)) => return Submission::Committed { at, redo: large },
                Ok(TxnOutcome::Mismatch(found)) => {
                    return self.judge(id, found, unknown, deadline).await;
                }
                // etcd gives this answer also to the very write that fills it, which it has committed: look at the
                // head.
                Err(CallError::Refused(error @ EngineError::EtcdFull)) => {
                    match self.link.get(&key).await {
                        Ok((found, _)) if found.as_ref().map_or(0, |f| f.at) != self.heads.at() => {
                            return self.judge(id, found, true, deadline).await;
                        }
                        Ok(_) if !unknown => return Submission::NotCommitted(error),
                        Ok(_) => error,
                        Err(trouble) => EngineError::from(trouble),
                    }
                }
                Err(CallError::Refused(error)) if !unknown => {
                    return Submission::NotCommitted(error);
                }
                Err(trouble) => EngineError::from(trouble),
            };
            unknown = true;
            self.report(Some(&error));
            if Instant::now() + PAUSE >= deadline {
                return Submission::Unknown(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Finds out whether a changed head is our own.
    async fn judge(
        &mut self,
        id: &GroupId,
        found: Option<StoredValue>,
        unknown: bool,
        deadline: Instant,
    ) -> Submission {
        let Some(found) = found.filter(|found| found.at >= self.heads.at()) else {
            self.heads.gap = Some("etcd has lost data that it had".into());
            return match unknown {
                true => Submission::Unknown(EngineError::Unreachable(
                    "etcd has lost data that it had".into(),
                )),
                false => Submission::LostRace,
            };
        };
        if found.at == self.heads.at() {
            return Submission::PartsMissing;
        }
        match self.ours(id, found.at, &found.value) {
            Ok(Some(committed)) => return committed,
            Ok(None) => self.heads.learn(Some(found.at)),
            Err(error) => return Submission::Unknown(error),
        }
        if !unknown {
            return Submission::LostRace;
        }
        // The first head after the one that was compared is ours, or ours can never be committed.
        loop {
            if let Some((at, value)) = self.heads.next() {
                return match self.ours(id, at, value) {
                    Ok(Some(committed)) => committed,
                    Ok(None) => Submission::LostRace,
                    Err(error) => Submission::Unknown(error),
                };
            }
            if let Err(error) = self.heads.wait_until(deadline).await {
                return Submission::Unknown(error);
            }
            if let Some(why) = &self.heads.gap {
                return Submission::Unknown(EngineError::Unreachable(why.clone()));
            }
        }
    }

    fn ours(&self, id: &GroupId, at: i64, value: &[u8]) -> Result<Option<Submission>, EngineError> {
        let head = Head::unseal(&self.keys.head(), value)?;
        let redo = head.redo > 0;
        let committed = Submission::Committed { at, redo };
        Ok((head.group.as_ref() == Some(id)).then_some(committed))
    }
}
