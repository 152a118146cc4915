//! What becomes of a decision of this agent: told, seen through on every PgBouncer, reported, or
//! given up for another agent's later one.

use super::{Action, Cluster, Phase};
use crate::config::NodeId;
use crate::core::outcome::{End, Outcome};
use crate::core::plan::Decision;
use crate::core::worker::Status;

impl Cluster {
    /// Later decisions in the files of PgBouncers that are still on the failed node. One that came
    /// there since the failure, and leads to that node, is another agent's, which sees it alive:
    /// not to be fought. Any other is topped: it is older than the failure and only seen now, or
    /// its agent went the same way and did not finish.
    fn superseded(&mut self, decision: &mut Decision) -> Option<Action> {
        let reached = self.reached();
        let incident = self.incident.as_mut()?;
        let known = std::mem::replace(&mut incident.known, reached);
        let later = |(_, status): &(&String, &Status)| {
            let open = status.paused || status.serves.contains(&decision.failed);
            status.reached && open && status.generation > decision.generation
        };
        let later: Vec<_> = self.poolers.iter().filter(later).collect();
        let contrary = later.iter().find(|(name, status)| {
            status.file_active == Some(decision.failed) && known.contains(*name)
        });
        if let Some((_, status)) = contrary {
            let (by, failed) = (status.generation, decision.failed);
            self.close_incident(failed);
            self.members.stand_back(failed);
            let decision = decision.clone();
            return Some(Action::Superseded { decision, by });
        }
        if !later.is_empty() {
            decision.generation = self.highest.max(self.last_decided).next(decision.active);
            (self.highest, self.last_decided) = (decision.generation, decision.generation);
            incident.news = true;
            incident.phase = Phase::Acting {
                decision: decision.clone(),
                reported: false,
            };
        }
        None
    }

    pub(super) fn follow_up(&mut self, mut decision: Decision, reported: bool) -> Option<Action> {
        let later = match self.agreement {
            Some(_) => self.overtaken(&mut decision),
            None => self.superseded(&mut decision),
        };
        if let Some(action) = later {
            return Some(action);
        }
        let settled = |status: &Status| status.settled == Some(decision.generation);
        let failed = |status: &Status| status.outcome.as_ref().is_some_and(|o| !o.serves());
        // One that was not looked at yet has no trouble either: there is nothing to report of it.
        let tried = |status: &Status| settled(status) || status.trouble.is_some() || failed(status);
        let ended = self.poolers.values().all(settled);
        let all_tried = self.poolers.values().all(tried);
        let incident = self.incident.as_mut()?;
        if !std::mem::replace(&mut incident.announced, true) {
            let news = incident.news;
            return Some(Action::Announce { decision, news });
        }
        if ended {
            let (failed, news) = (incident.failed, incident.news);
            let serves = |status: &Status| status.serves_by(decision.generation);
            let complete = self.poolers.values().all(serves);
            self.close_incident(failed);
            if !news {
                return None;
            }
            let skipped = |outcome: &Outcome| matches!(outcome.end, End::Skipped(_));
            let skipped = |status: &Status| status.outcome.as_ref().is_some_and(skipped);
            // Another agent was faster than this one could see.
            let done_already = complete && !reported && self.poolers.values().all(skipped);
            return Some(Action::Report {
                decision,
                complete,
                news: !done_already,
            });
        }
        if all_tried && !reported {
            incident.phase = Phase::Acting {
                decision: decision.clone(),
                reported: true,
            };
            return Some(Action::Report {
                decision,
                complete: false,
                news: true,
            });
        }
        None
    }

    pub(super) fn close_incident(&mut self, failed: NodeId) {
        self.incident = None;
        self.members.deal_with(failed);
    }
}
