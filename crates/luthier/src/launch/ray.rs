//! Jobs of Ray's, by the REST API of its dashboard.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Engine, Order, Phase, STORAGE_VARIABLE, Standing, last_lines_of, shell};
use crate::commands::probe::{Answer, ask};
use crate::failure::{Code, Failure};

/// Time for an answer; Ray takes seconds to start a job.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Where the dashboard is, unless said otherwise.
const ADDRESS: &str = "http://127.0.0.1:8265";

/// `[tune.tasks.ray]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) address: Option<String>,
}

pub(super) struct Ray {
    address: String,
    /// What each task is requested with, but for the environment.
    request: Value,
    storage: String,
    count: u16,
    /// The tasks, once they are there, and what was last known of them.
    jobs: Vec<(String, Phase)>,
}

impl Ray {
    pub(super) fn new(order: &Order<'_>) -> Result<Self, Failure> {
        let tasks = order.tasks();
        if tasks.time_limit.is_some() {
            return Err(Failure::input(
                "`tune.tasks.time_limit` is given, and Ray's jobs have none",
            )
            .hint("give `tune.timeout`, after which workers end by themselves"));
        }
        let mut request = json!({
            "entrypoint": shell(&order.command()?),
            "entrypoint_num_cpus": tasks.cpus,
            "metadata": {"job": order.job.name},
        });
        if let Some(mb) = tasks.memory_mb {
            request["entrypoint_memory"] = (u64::from(mb) * 1_000_000).into();
        }
        let address = tasks.ray.address.as_deref().unwrap_or(ADDRESS).trim_end_matches('/');
        if !address.starts_with("http://") {
            return Err(Failure::input(format!("Ray's address is `{address}`"))
                .hint(format!("give that of its dashboard, as {ADDRESS}")));
        }
        Ok(Self {
            address: address.to_owned(),
            request,
            storage: order.storage.to_owned(),
            count: tasks.count,
            jobs: Vec::new(),
        })
    }

    /// Asks Ray, and gives its answer if it is a success.
    fn ask(&self, path: &str, data: Option<&str>) -> Result<Option<Value>, Failure> {
        let url = format!("{}/api/jobs/{path}", self.address);
        let away = |failure: Failure| match failure.code {
            Code::Input => failure,
            _ => Failure { code: Code::Fault, ..failure },
        };
        let Answer { status, body } = ask(&url, data, TIMEOUT).map_err(away)?;
        let body = body.trim();
        match status {
            200..300 => serde_json::from_str(body)
                .map(Some)
                .map_err(|error| Failure::fault(format!("{url}: {error}"))),
            404 => Ok(None),
            // An error of Ray's is a traceback, whose last line says what it is about.
            _ => {
                let last = body.lines().last().unwrap_or_default();
                Err(Failure::fault(format!("{url}: {status} {last}")))
            }
        }
    }

    fn submit(&self) -> Result<String, Failure> {
        let mut request = self.request.clone();
        request["runtime_env"] = json!({"env_vars": {STORAGE_VARIABLE: self.storage}});
        let answer = self.ask("", Some(&request.to_string()))?;
        let id = answer.as_ref().and_then(|answer| answer["submission_id"].as_str());
        id.map(str::to_owned).ok_or_else(|| {
            Failure::fault(format!("{}: the answer is not that of Ray's jobs", self.address))
        })
    }

    fn phase(&self, id: &str) -> Result<Phase, Failure> {
        let answer = self.ask(id, None)?;
        Ok(match answer.as_ref().and_then(|answer| answer["status"].as_str()) {
            Some("PENDING") => Phase::Waiting,
            Some("RUNNING") => Phase::Running,
            Some("SUCCEEDED") => Phase::Done,
            _ => Phase::Failed,
        })
    }
}

impl Engine for Ray {
    fn text(&self) -> String {
        let request = serde_json::to_string_pretty(&self.request).unwrap_or_default();
        format!("{request}\n")
    }

    fn start(&mut self) -> Result<String, Failure> {
        for _ in 0..self.count {
            match self.submit() {
                Ok(id) => self.jobs.push((id, Phase::Waiting)),
                Err(failure) => {
                    let _ = self.stop();
                    return Err(failure);
                }
            }
        }
        let ids: Vec<&str> = self.jobs.iter().map(|(id, _)| id.as_str()).collect();
        Ok(format!("Ray's jobs {}", ids.join(", ")))
    }

    fn standing(&mut self) -> Result<Standing, Failure> {
        for index in 0..self.jobs.len() {
            let (id, phase) = &self.jobs[index];
            if matches!(phase, Phase::Waiting | Phase::Running) {
                self.jobs[index].1 = self.phase(id)?;
            }
        }
        Ok(Standing::of(self.jobs.iter().map(|(_, phase)| *phase)))
    }

    fn stop(&mut self) -> Result<(), Failure> {
        let mut stopped = Ok(());
        for (id, phase) in &self.jobs {
            if matches!(phase, Phase::Waiting | Phase::Running) {
                // All are told, also after one that could not be.
                stopped = stopped.and(self.ask(&format!("{id}/stop"), Some("")).map(drop));
            }
        }
        stopped
    }

    fn last_lines(&mut self) -> Option<String> {
        let (id, _) = self.jobs.iter().find(|(_, phase)| *phase == Phase::Failed)?;
        let told = |path: &str, key: &str| {
            let answer = self.ask(path, None).ok().flatten()?;
            answer[key].as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
        };
        let log = told(&format!("{id}/logs"), "logs").or_else(|| told(id, "message"))?;
        Some(format!("{id}:{}", last_lines_of(&log)))
    }
}
