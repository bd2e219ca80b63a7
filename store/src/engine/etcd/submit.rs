//! Getting a group into etcd: sent until there is an answer, and landed once or not at all.

use etcd_client::{Compare, TxnOp};
use tokio::time::Instant;

use super::calls::{Answer, Found};
use super::head::{FORMAT, GroupId, Head};
use super::link::Trouble;
use super::redo::{self, Written};
use super::{Etcd, PAUSE, plan};
use crate::engine::backend::Group;
use crate::engine::error::EngineError;

/// What a try to write the head comes to.
pub(super) enum Submitted {
    Landed {
        at: i64,
        redo: bool,
    },
    Overtaken,
    /// Parts of the redo that it names are not there.
    Torn,
    Nothing(EngineError),
    Unknown(EngineError),
}

impl Etcd {
    pub(super) fn head(&self, id: &GroupId, group: &Group, redo: u32) -> Head {
        Head {
            format: FORMAT,
            revision: group.state.revision,
            group: Some(id.clone()),
            steps: Vec::new(),
            redo,
        }
    }

    pub(super) async fn write(
        &mut self,
        id: &GroupId,
        group: &Group,
        deadline: Instant,
    ) -> Submitted {
        let key = self.keys.head();
        if !plan::fits(&group.steps) {
            return self.write_large(id, group, deadline).await;
        }
        let ops = plan::batches(&self.keys, &group.steps);
        let mut ops = match ops {
            Ok(ops) => ops.concat(),
            Err(error) => return Submitted::Nothing(error),
        };
        let head = Head {
            steps: group.steps.clone(),
            ..self.head(id, group, 0)
        };
        ops.push(TxnOp::put(key.clone(), head.seal(&key), None));
        self.submit(id, &[], ops, deadline).await
    }

    async fn write_large(&mut self, id: &GroupId, group: &Group, deadline: Instant) -> Submitted {
        let key = self.keys.head();
        let parts = redo::write(&mut self.link, &self.keys, self.known, id, &group.steps);
        let parts = match parts.await {
            Ok(Written::Parts(parts)) => parts,
            Ok(Written::Overtaken) => {
                // What it is by now is found out by asking.
                self.away = true;
                return Submitted::Overtaken;
            }
            Err(trouble) => return Submitted::Nothing(trouble.into()),
        };
        let head = self.head(id, group, parts.len() as u32);
        let ops = vec![TxnOp::put(key.clone(), head.seal(&key), None)];
        self.submit(id, &parts, ops, deadline).await
    }

    /// Sends it until there is an answer. It can land once only: the head is not what it was afterwards.
    async fn submit(
        &mut self,
        id: &GroupId,
        compares: &[Compare],
        ops: Vec<TxnOp>,
        deadline: Instant,
    ) -> Submitted {
        let key = self.keys.head();
        let large = !compares.is_empty();
        let mut doubt = false;
        loop {
            let answer = self.link.guarded(&key, self.known, compares, ops.clone());
            let error = match answer.await {
                Ok(Answer::Done(at)) => return Submitted::Landed { at, redo: large },
                Ok(Answer::Behind(found)) => {
                    return self.judge(id, found, doubt, deadline).await;
                }
                // etcd says so of the very write that fills it too, which it has done: look.
                Err(Trouble::Refused(error @ EngineError::EtcdFull)) => {
                    match self.link.get(&key).await {
                        Ok((found, _)) if found.as_ref().map_or(0, |f| f.at) != self.known => {
                            return self.judge(id, found, true, deadline).await;
                        }
                        Ok(_) if !doubt => return Submitted::Nothing(error),
                        Ok(_) => error,
                        Err(trouble) => EngineError::from(trouble),
                    }
                }
                Err(Trouble::Refused(error)) if !doubt => return Submitted::Nothing(error),
                Err(trouble) => EngineError::from(trouble),
            };
            doubt = true;
            self.tell(Some(&error));
            if Instant::now() + PAUSE >= deadline {
                return Submitted::Unknown(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The head is not what it was. Was it us?
    async fn judge(
        &mut self,
        id: &GroupId,
        found: Option<Found>,
        doubt: bool,
        deadline: Instant,
    ) -> Submitted {
        let Some(found) = found.filter(|found| found.at >= self.known) else {
            self.gap = Some("etcd has lost what it had".into());
            return match doubt {
                true => Submitted::Unknown(EngineError::Away("etcd has lost what it had".into())),
                false => Submitted::Overtaken,
            };
        };
        if found.at == self.known {
            return Submitted::Torn;
        }
        match self.ours(id, found.at, &found.value) {
            Ok(Some(landed)) => return landed,
            Ok(None) => self.behind = Some(found.at),
            Err(error) => return Submitted::Unknown(error),
        }
        if !doubt {
            return Submitted::Overtaken;
        }
        // The first head after the one that was compared: ours, or ours can never land.
        loop {
            self.seen.retain(|(at, _)| *at > self.known);
            if let Some((at, value)) = self.seen.front() {
                return match self.ours(id, *at, value) {
                    Ok(Some(landed)) => landed,
                    Ok(None) => Submitted::Overtaken,
                    Err(error) => Submitted::Unknown(error),
                };
            }
            if let Err(error) = self.wait_fed(deadline).await {
                return Submitted::Unknown(error);
            }
            if let Some(why) = &self.gap {
                return Submitted::Unknown(EngineError::Away(why.clone()));
            }
        }
    }

    fn ours(&self, id: &GroupId, at: i64, value: &[u8]) -> Result<Option<Submitted>, EngineError> {
        let head = Head::unseal(&self.keys.head(), value)?;
        let redo = head.redo > 0;
        let landed = Submitted::Landed { at, redo };
        Ok((head.group.as_ref() == Some(id)).then_some(landed))
    }
}
