//! The checked plan, and the list of its files.

use luthier_bundle::Manifest;

use crate::settings::{
    image_parts, is_label, is_plain_column, is_plain_path, is_plain_url, is_service_name,
};
use crate::template::fill;
use crate::{File, Setting, Settings, ShipError, Thresholds, elastic, grafana};

/// Digits of the bundle's digest that make a tag.
const TAG_DIGITS: usize = 12;
/// Releases of the images beside the server's.
const PROMETHEUS_RELEASE: &str = "v3.5.0";
const ALERTMANAGER_RELEASE: &str = "v0.28.1";
/// Arguments of the server beyond those in the templates.
const SERVE_ARGUMENTS: [&str; 2] = ["--feedback-store", "/data/feedback.db"];

const PROMETHEUS: &str = include_str!("../templates/prometheus/prometheus.yml");
const ALERTMANAGER: &str = include_str!("../templates/prometheus/alertmanager.yml");
const ALERTS: &str = include_str!("../templates/prometheus/alerts.yml");

/// A path with the template of that name.
macro_rules! template {
    ($folder:literal, $name:literal) => {
        (concat!($folder, "/", $name), include_str!(concat!("../templates/", $folder, "/", $name)))
    };
}

/// The files that are templates, in the order in which they are told of.
const TEMPLATES: &[(&str, &str)] = &[
    ("README.md", include_str!("../templates/README.md")),
    (".gitignore", include_str!("../templates/gitignore")),
    template!("image", "Dockerfile"),
    ("image/.dockerignore", include_str!("../templates/image/dockerignore")),
    ("image/data/.keep", ""),
    ("compose.yml", include_str!("../templates/compose.yml")),
    ("prometheus/prometheus.yml", PROMETHEUS),
    ("prometheus/alerts.yml", ALERTS),
    template!("prometheus", "alerts_test.yml"),
    ("alertmanager/alertmanager.yml", ALERTMANAGER),
    template!("elastic", "filebeat.yml"),
    template!("elastic", "logstash.conf"),
    template!("elastic", "rsyslog.conf"),
    template!("chart", "Chart.yaml"),
    ("chart/.helmignore", include_str!("../templates/chart/helmignore")),
    template!("chart", "values.yaml"),
    template!("chart", "values.schema.json"),
    ("chart/files/alerts.yml", ALERTS),
    template!("chart/templates", "NOTES.txt"),
    template!("chart/templates", "_helpers.tpl"),
    template!("chart/templates", "dashboard.yaml"),
    template!("chart/templates", "deployment.yaml"),
    template!("chart/templates", "hpa.yaml"),
    template!("chart/templates", "networkpolicy.yaml"),
    template!("chart/templates", "pdb.yaml"),
    template!("chart/templates", "prometheusrule.yaml"),
    template!("chart/templates", "service.yaml"),
    template!("chart/templates", "serviceaccount.yaml"),
    template!("chart/templates", "servicemonitor.yaml"),
    template!("chart/templates/tests", "predict.yaml"),
    (".github/workflows/release.yml", include_str!("../templates/workflow/release.yml")),
];

/// What is shipped, and how: every name and number checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    name: String,
    repository: String,
    tag: String,
    namespace: String,
    job: String,
    gate_data: String,
    gate_options: String,
    webhook: Option<String>,
    thresholds: Thresholds,
    digest: String,
    model_bytes: u64,
    /// The options that lead to this plan, beside the image's name.
    options: String,
    image_option: String,
}

impl Plan {
    /// Checks `settings` for the bundle of that manifest.
    pub fn new(manifest: &Manifest, settings: &Settings) -> Result<Self, ShipError> {
        let name = manifest.name.clone();
        if !is_service_name(&name) {
            return Err(ShipError::Name { name });
        }
        let image = settings.image.clone().unwrap_or_else(|| format!("localhost/{name}"));
        let (repository, tag) = image_parts(&image).ok_or_else(|| ShipError::Setting {
            setting: Setting::Image,
            value: image.clone(),
            must: "as in registry.example:5000/team/model:tag, in lower case, without a digest",
        })?;
        let namespace = settings.namespace.clone().unwrap_or_else(|| name.clone());
        let must = "lower-case letters, digits and `-` inside, at most 63 characters";
        check(Setting::Namespace, &namespace, is_label, must)?;
        let must = "a path in the repository, of letters, digits and `._-/`";
        let job = settings.job.clone().unwrap_or_else(|| ".".to_owned());
        check(Setting::Job, &job, is_plain_path, must)?;
        let gate_data = settings.gate_data.clone().unwrap_or_else(|| inside(&job, "data/test.csv"));
        check(Setting::GateData, &gate_data, is_plain_path, must)?;
        let must = "names of columns, of letters, digits, blanks and `._-,:/()`";
        let columns =
            [(Setting::GateText, &settings.gate_text), (Setting::GateLabel, &settings.gate_label)];
        for (setting, column) in columns {
            column.iter().try_for_each(|name| check(setting, name, is_plain_column, must))?;
        }
        if let Some(webhook) = &settings.webhook {
            let must = "an address of http or https without quotes and blanks";
            check(Setting::Webhook, webhook, is_plain_url, must)?;
        }
        let digits = manifest.digest.get(..TAG_DIGITS).unwrap_or("unknown");
        Ok(Self {
            repository: repository.to_owned(),
            tag: tag.unwrap_or(digits).to_owned(),
            namespace,
            job,
            gate_data,
            gate_options: gate_options(settings),
            webhook: settings.webhook.clone(),
            thresholds: Thresholds::new(manifest, settings)?,
            digest: manifest.digest.clone(),
            model_bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            options: options(settings),
            image_option: settings
                .image
                .as_ref()
                .map_or(String::new(), |i| format!(" --image {i}")),
            name,
        })
    }

    /// Name of the model, of the release and of the service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the image with its tag.
    pub fn image(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// Namespace in the cluster.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// When alerts are raised.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// All files, by path in the order in which they are told of. Beside them the image needs the
    /// program as `image/luthier` and the bundle as [`Plan::bundle_path`].
    pub fn files(&self) -> Vec<File> {
        let values = self.values();
        let filled = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            contents: fill(text, &values),
        };
        let mut files: Vec<File> = TEMPLATES.iter().map(filled).collect();
        let dashboard = grafana::dashboard(&self.name, &self.thresholds);
        for path in ["grafana/dashboard.json", "chart/files/dashboard.json"] {
            files.push(File { path: path.to_owned(), contents: dashboard.clone() });
        }
        let path = "elastic/index-template.json".to_owned();
        files.push(File { path, contents: elastic::index_template() });
        files
    }

    /// Where the bundle goes, as TensorFlow Serving lays models out.
    pub fn bundle_path(&self) -> String {
        format!("image/models/{}/1", self.name)
    }

    /// A scrape configuration for a server at `server` with an Alertmanager at `alertmanager`, both
    /// as `host:port`, and the rules in the file `rules`, a path from where it lies.
    pub fn prometheus_config(&self, server: &str, alertmanager: &str, rules: &str) -> String {
        let values = [
            ("name", self.name.clone()),
            ("server", server.to_owned()),
            ("alertmanager", alertmanager.to_owned()),
            ("rules", rules.to_owned()),
        ];
        fill(PROMETHEUS, &values)
    }

    /// The image of `prometheus` or `alertmanager`.
    pub fn watcher_image(&self, name: &str) -> String {
        let release = if name == "prometheus" { PROMETHEUS_RELEASE } else { ALERTMANAGER_RELEASE };
        format!("docker.io/prom/{name}:{release}")
    }

    /// Memory that the server is held to, in MiB.
    pub fn memory_limit_mb(&self) -> u64 {
        memory_mb(self.model_bytes).1
    }

    fn values(&self) -> Vec<(&'static str, String)> {
        let Thresholds { target_p99_ms, error_rate, min_accuracy, max_psi } = self.thresholds;
        let release = env!("CARGO_PKG_VERSION");
        let (request_mb, limit_mb) = memory_mb(self.model_bytes);
        let webhook = self.webhook.as_ref().map_or(String::new(), |url| {
            format!("\n    webhook_configs:\n      - url: \"{url}\"\n        send_resolved: true")
        });
        let quoted = |argument: &&str| format!(", \"{argument}\"");
        let listed = |argument: &&str| format!("\n            - \"{argument}\"");
        vec![
            ("name", self.name.clone()),
            ("release", release.to_owned()),
            ("digest", self.digest.clone()),
            ("tag", self.tag.clone()),
            ("image", self.image()),
            ("repository", self.repository.clone()),
            ("namespace", self.namespace.clone()),
            ("chart_version", format!("{release}+{}", self.tag.replace('_', "-"))),
            ("memory_request_mb", request_mb.to_string()),
            ("memory_limit_mb", limit_mb.to_string()),
            ("prometheus_version", PROMETHEUS_RELEASE.to_owned()),
            ("alertmanager_version", ALERTMANAGER_RELEASE.to_owned()),
            ("server", "server:8501".to_owned()),
            ("alertmanager", "alertmanager:9093".to_owned()),
            ("rules", "alerts.yml".to_owned()),
            ("webhook", webhook),
            ("p99_ms", decimal(target_p99_ms)),
            ("p99_seconds", decimal(target_p99_ms / 1e3)),
            ("error_rate", decimal(error_rate)),
            ("error_percent", decimal(error_rate * 100.0)),
            ("min_accuracy", decimal(min_accuracy)),
            ("low_accuracy", format!("{:.3}", min_accuracy / 2.0)),
            ("max_psi", decimal(max_psi)),
            ("high_psi", format!("{:.3}", max_psi * 2.0)),
            ("serve_words", SERVE_ARGUMENTS.iter().map(quoted).collect()),
            ("serve_items", SERVE_ARGUMENTS.iter().map(listed).collect()),
            ("job", self.job.clone()),
            ("job_glob", if self.job == "." { String::new() } else { format!("{}/", self.job) }),
            ("gate_data", self.gate_data.clone()),
            ("gate_options", self.gate_options.clone()),
            ("workflow_image", self.workflow_image()),
            ("options", self.options.clone()),
            ("all_options", format!("{}{}", self.image_option, self.options)),
        ]
    }

    /// The image's name without a tag, as a workflow pushes it: to GitHub's own registry where
    /// the plan names none.
    fn workflow_image(&self) -> String {
        match self.repository.strip_prefix("localhost/") {
            Some(path) => format!("ghcr.io/${{{{ github.repository_owner }}}}/{path}"),
            None => self.repository.clone(),
        }
    }
}

fn check(
    setting: Setting,
    value: &str,
    allowed: fn(&str) -> bool,
    must: &'static str,
) -> Result<(), ShipError> {
    match allowed(value) {
        true => Ok(()),
        false => Err(ShipError::Setting { setting, value: value.to_owned(), must }),
    }
}

/// `path` in the folder `job`.
fn inside(job: &str, path: &str) -> String {
    if job == "." { path.to_owned() } else { format!("{job}/{path}") }
}

/// The chosen settings as options of a command line, each with a blank before it. All values are
/// plain words, but for the address and names of columns, which are quoted.
fn options(settings: &Settings) -> String {
    let mut options = String::new();
    let texts = [
        (Setting::Namespace, settings.namespace.clone()),
        (Setting::Webhook, settings.webhook.as_deref().map(in_quotes)),
        (Setting::Job, settings.job.clone()),
        (Setting::GateData, settings.gate_data.clone()),
        (Setting::GateText, settings.gate_text.as_deref().map(in_quotes)),
        (Setting::GateLabel, settings.gate_label.as_deref().map(in_quotes)),
        (Setting::TargetP99, settings.target_p99_ms.map(decimal)),
        (Setting::ErrorRate, settings.error_rate.map(decimal)),
        (Setting::MinAccuracy, settings.min_accuracy.map(decimal)),
        (Setting::MaxPsi, settings.max_psi.map(decimal)),
    ];
    for (setting, value) in texts {
        if let Some(value) = value {
            options += &format!(" {setting} {value}");
        }
    }
    options + &flag(Setting::AllowUndecidable, settings.allow_undecidable)
}

/// The chosen settings that the gate takes, as its options.
fn gate_options(settings: &Settings) -> String {
    let column = |option: &str, name: &Option<String>| {
        name.as_deref().map_or(String::new(), |name| format!(" {option} {}", in_quotes(name)))
    };
    column("--text", &settings.gate_text)
        + &column("--label", &settings.gate_label)
        + &flag(Setting::AllowUndecidable, settings.allow_undecidable)
}

/// A word in the quotes of a shell, which it is known not to leave.
fn in_quotes(word: &str) -> String {
    format!("'{word}'")
}

/// A setting without a value as an option, with a blank before it, where it is on.
fn flag(setting: Setting, is_on: bool) -> String {
    if is_on { format!(" {setting}") } else { String::new() }
}

/// A number without an exponent, with at most six digits behind the point and no needless ones.
fn decimal(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Memory to ask for and to be held to, in MiB: a start of the program, and the model's tables
/// beside the file that they are read from. The limit leaves room for requests in the queue.
fn memory_mb(model_bytes: u64) -> (u64, u64) {
    let model = model_bytes.div_ceil(1 << 20);
    ((64 + 3 * model).next_multiple_of(32), (256 + 6 * model).next_multiple_of(64))
}
