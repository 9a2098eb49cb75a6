//! An Indexed Job of Kubernetes, by `kubectl`.

use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use super::{Engine, Order, STORAGE_VARIABLE, Standing, call, last_lines_of};
use crate::failure::Failure;

/// The program in images that `luthier ship` makes.
const PROGRAM: &str = "/luthier";
/// Where tasks find the job, unless said otherwise.
const JOB: &str = "/job";
/// The Secret whose key `storage` says where the study is, unless another is named.
const SECRET: &str = "luthier-storage";
/// Longest name of a Job that leaves room for a suffix and for the names of its pods.
const MAX_NAME: usize = 40;

/// `[tune.tasks.kubernetes]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    image: Option<String>,
    namespace: Option<String>,
    /// Secret whose key `storage` is the address of the database.
    secret: Option<String>,
    /// Claim of the volume that holds the job; without one, the image holds it.
    claim: Option<String>,
}

pub(super) struct Kubernetes {
    manifest: String,
    namespace: Option<String>,
    count: usize,
    /// The Job, as `job.batch/name`, once it is there.
    job: Option<String>,
}

impl Kubernetes {
    pub(super) fn new(order: &Order<'_>) -> Result<Self, Failure> {
        let settings = &order.tasks().kubernetes;
        if order.job.tune.program.is_some() && settings.claim.is_none() {
            return Err(Failure::input(
                "a program of `tune.command` has nowhere to write in Kubernetes",
            )
            .hint("name a claim that holds the job, in `tune.tasks.kubernetes.claim`"));
        }
        Ok(Self {
            manifest: manifest(order)?,
            namespace: settings.namespace.clone(),
            count: order.tasks().count.into(),
            job: None,
        })
    }

    fn kubectl(&self, words: &[&str]) -> Command {
        let mut kubectl = Command::new("kubectl");
        let namespace = self.namespace.iter().map(|name| format!("--namespace={name}"));
        kubectl.args(words).args(namespace);
        kubectl
    }
}

/// The Job. Texts are quoted as JSON has it, which YAML reads.
fn manifest(order: &Order<'_>) -> Result<String, Failure> {
    let (tasks, name) = (order.tasks(), &order.job.name);
    let settings = &tasks.kubernetes;
    let image = settings.image.as_deref().ok_or_else(|| {
        Failure::input("`tune.tasks.kubernetes.image` is missing")
            .hint("name an image that holds luthier, and the job unless a claim holds that")
    })?;
    let job = tasks.job.as_deref().unwrap_or(JOB);
    let program = tasks.program.as_deref().unwrap_or(PROGRAM);
    let words = order.command_of(program.to_owned(), job.to_owned());
    let command: String =
        words.iter().map(|word| format!("\n            - {}", quoted(word))).collect();
    let line = |indent: usize, text: Option<String>| {
        text.map_or_else(String::new, |text| format!("\n{:indent$}{text}", ""))
    };
    let namespace =
        line(2, settings.namespace.as_ref().map(|n| format!("namespace: {}", quoted(n))));
    let deadline = line(
        2,
        tasks.time_limit.map(|limit| format!("activeDeadlineSeconds: {}", limit.as_secs().max(1))),
    );
    // A limit of memory only: one of processors would slow a task down where others are idle.
    let memory = tasks.memory_mb.map(|mb| format!("memory: {mb}M"));
    let requested = line(14, memory.clone());
    let limits = memory.map(|memory| format!("limits:\n              {memory}"));
    let limits = line(12, limits);
    let mount = line(
        12,
        settings
            .claim
            .as_ref()
            .map(|_| format!("- name: job\n              mountPath: {}", quoted(job))),
    );
    let volume = line(
        8,
        settings.claim.as_ref().map(|claim| {
            let claim = quoted(claim);
            format!("- name: job\n          persistentVolumeClaim: {{claimName: {claim}}}")
        }),
    );
    let labels = |indent: usize| {
        let labels = [("name", "luthier-worker"), ("instance", name), ("managed-by", "luthier")];
        let line = |(key, value): (&str, &str)| {
            format!("\n{:indent$}app.kubernetes.io/{key}: {}", "", quoted(value))
        };
        labels.map(line).concat()
    };
    let (count, cpus) = (tasks.count, tasks.cpus);
    let secret = quoted(settings.secret.as_deref().unwrap_or(SECRET));
    let (prefix, image) = (quoted(&format!("{}-", label(name))), quoted(image));
    let (own_labels, pod_labels) = (labels(4), labels(8));
    Ok(format!(
        r#"apiVersion: batch/v1
kind: Job
metadata:
  generateName: {prefix}{namespace}
  labels:{own_labels}
spec:
  completionMode: Indexed
  completions: {count}
  parallelism: {count}{deadline}
  ttlSecondsAfterFinished: 86400
  # What a task was doing is done by others, and it is started again, unless its input is wrong.
  backoffLimitPerIndex: 3
  podFailurePolicy:
    rules:
      - action: Ignore
        onPodConditions:
          - {{type: DisruptionTarget, status: "True"}}
      - action: FailIndex
        onExitCodes: {{containerName: worker, operator: In, values: [2]}}
  template:
    metadata:
      labels:{pod_labels}
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: worker
          image: {image}
          command:{command}
          env:
            - name: {STORAGE_VARIABLE}
              valueFrom:
                secretKeyRef: {{name: {secret}, key: storage}}
          resources:
            requests:
              cpu: "{cpus}"{requested}{limits}
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop: ["ALL"]
            readOnlyRootFilesystem: true
          volumeMounts:
            - name: tmp
              mountPath: /tmp{mount}
      volumes:
        - name: tmp
          emptyDir: {{}}{volume}
"#
    ))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A name as Kubernetes has them: lower-case letters, digits and `-`, a letter first.
fn label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).take(MAX_NAME).collect();
    let name = name.trim_matches('-');
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name.to_owned(),
        false => format!("luthier-{name}"),
    }
}

/// What a Job's status says of `count` tasks.
fn standing(job: &Value, count: usize) -> Standing {
    let status = &job["status"];
    let number = |key: &str| status[key].as_u64().unwrap_or(0) as usize;
    let is = |kind: &str| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|c| c["type"] == *kind && c["status"] == *"True")
    };
    let done = number("succeeded").min(count);
    let left = count - done;
    if is("Failed") || is("Complete") {
        return Standing { done, failed: left, ..Standing::default() };
    }
    let failed = indexes(status["failedIndexes"].as_str().unwrap_or("")).min(left);
    let running = number("ready").min(left - failed);
    Standing { waiting: left - failed - running, running, done, failed }
}

/// How many indexes a list such as `1,3-5` has.
fn indexes(list: &str) -> usize {
    let span = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first).map(|span| span + 1)
    };
    list.split(',').filter_map(span).sum()
}

impl Engine for Kubernetes {
    fn text(&self) -> String {
        self.manifest.clone()
    }

    fn start(&mut self) -> Result<String, Failure> {
        let mut create = self.kubectl(&["create", "--filename=-", "--output=name"]);
        let job = call(&mut create, &self.manifest)?.trim().to_owned();
        self.job = Some(job.clone());
        Ok(format!("Kubernetes' {job}"))
    }

    fn standing(&mut self) -> Result<Standing, Failure> {
        let Some(job) = self.job.as_deref() else { return Ok(Standing::default()) };
        let gone = Standing { failed: self.count, ..Standing::default() };
        match call(&mut self.kubectl(&["get", job, "--output=json"]), "") {
            Ok(text) => serde_json::from_str(&text)
                .map(|job| standing(&job, self.count))
                .map_err(|error| Failure::fault(format!("kubectl get {job}: {error}"))),
            Err(failure) if failure.message.contains("NotFound") => Ok(gone),
            Err(failure) => Err(failure),
        }
    }

    fn stop(&mut self) -> Result<(), Failure> {
        let Some(job) = self.job.as_deref() else { return Ok(()) };
        let words = ["delete", job, "--ignore-not-found", "--wait=false"];
        call(&mut self.kubectl(&words), "").map(drop)
    }

    fn last_lines(&mut self) -> Option<String> {
        let job = self.job.as_deref()?;
        let selector = format!("--selector=job-name={}", job.rsplit('/').next()?);
        let log = call(&mut self.kubectl(&["logs", &selector, "--tail=4", "--prefix"]), "").ok()?;
        (!log.trim().is_empty()).then(|| format!("{job}:{}", last_lines_of(&log)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{indexes, label, standing};

    #[test]
    fn names_become_labels() {
        assert_eq!(label("My_model.v2"), "my-model-v2");
        assert_eq!(label("2nd"), "luthier-2nd");
        assert_eq!(label("__"), "luthier-");
        assert_eq!(label(&"a".repeat(63)).len(), 40);
    }

    #[test]
    fn a_status_is_read() {
        let of = |status| standing(&json!({ "status": status }), 4).to_string();
        assert_eq!(of(json!({})), "4 waiting");
        assert_eq!(of(json!({"active": 3, "ready": 2})), "2 running, 2 waiting");
        let mixed = json!({"active": 1, "ready": 1, "succeeded": 1, "failedIndexes": "0,2"});
        assert_eq!(of(mixed), "1 running, 1 done, 2 failed");
        let ended = |kind| json!([{ "type": kind, "status": "True" }]);
        assert_eq!(of(json!({"succeeded": 4, "conditions": ended("Complete")})), "4 done");
        assert_eq!(of(json!({"succeeded": 1, "conditions": ended("Failed")})), "1 done, 3 failed");
    }

    #[test]
    fn indexes_are_counted() {
        assert_eq!(["", "1", "1,3-5", "0-99"].map(indexes), [0, 1, 4, 100]);
    }
}
