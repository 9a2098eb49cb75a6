//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use luthier_serve::VersionPolicy;

use crate::job::MOST_WORKERS;
use crate::launch::MOST_TASKS;

/// From labelled rows to a served, measured model, in one binary.
#[derive(Parser)]
#[command(name = "luthier", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 fine, 1 a check said no, 2 something in your input is wrong, \
                        3 something else failed, 130 interrupted (run it again to go on)."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// How results are printed: for people, or one JSON document
    #[arg(long, global = true, value_enum, default_value = "text", display_order = 900)]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Do a whole job: data, tune, compress, finish, bundle; goes on where it was stopped
    Run(RunArgs),
    /// Search for the best trial of a job, and stop there; goes on where it was stopped
    Tune(TuneArgs),
    /// Evaluate trials of a search that `luthier tune` or `luthier run` has begun elsewhere
    Worker(WorkerArgs),
    /// Show what is in the data: classes, lengths, duplicates, leaks, contradictions
    Data(DataArgs),
    /// Look at the trials of a study: the best, plots, importance of parameters; import and export
    #[command(subcommand)]
    Study(StudyCommand),
    /// Answer texts with a bundle
    Predict(PredictArgs),
    /// Score a bundle on labelled rows, or compare two
    Eval(EvalArgs),
    /// Look at, check and pack bundles
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Serve bundles in TensorFlow Serving's REST and gRPC protocols
    Serve(ServeArgs),
    /// Say whether a bundle may replace another: score, calibration, latency, size
    Gate(GateArgs),
    /// Write what a bundle needs in production: image, chart, workflow, alerts, dashboard, logs
    Ship(Box<ShipArgs>),
    /// Send one HTTP request; the exit code says whether the answer is a success
    Probe(ProbeArgs),
    /// End the process groups on standard input once it is closed
    #[command(hide = true)]
    Guard {
        /// Milliseconds between SIGTERM and SIGKILL
        #[arg(long)]
        grace_ms: u64,
    },
    /// Print a completion script for your shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What all commands take that work on a job.
#[derive(Args)]
pub(crate) struct JobArgs {
    /// A luthier.toml, or the folder that holds one
    #[arg(value_name = "JOB", default_value = ".")]
    pub(crate) path: PathBuf,
    /// Trials in all, instead of `tune.trials`
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    pub(crate) trials: Option<u64>,
    /// Trials at the same time, instead of `tune.workers`
    #[arg(long, value_parser = value_parser!(u16).range(1..=i64::from(MOST_WORKERS)))]
    pub(crate) workers: Option<u16>,
    /// Seed, instead of `tune.seed`
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Where the study is, instead of `tune.storage`; `${NAME}` in it is the environment variable
    #[arg(long, env = STORAGE_VARIABLE, hide_env_values = true)]
    pub(crate) storage: Option<String>,
    /// Fetch no checkpoints; those that were fetched before are used
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Keep the trials of a study whose space was smaller, and go on in the space of the job
    #[arg(long)]
    pub(crate) extend_space: bool,
    /// What a parameter that is new in the space has been in earlier trials; may be repeated
    #[arg(long, value_name = "PARAMETER=VALUE", requires = "extend_space", value_parser = assignment)]
    pub(crate) was: Vec<(String, String)>,
}

fn assignment(text: &str) -> Result<(String, String), &'static str> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or("expected a name, `=` and a value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The environment variable that stands for `--storage`.
pub(crate) const STORAGE_VARIABLE: &str = "LUTHIER_STORAGE";

#[derive(Args)]
pub(crate) struct TuneArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Let tasks do the work: an array of Slurm's, jobs of Ray's or an Indexed Job of Kubernetes, as
    /// `[tune.tasks]` describes them
    #[arg(long, value_enum)]
    pub(crate) on: Option<Cluster>,
    /// Number of tasks, instead of `tune.tasks.count`
    #[arg(long, requires = "on", value_parser = value_parser!(u16).range(1..=i64::from(MOST_TASKS)))]
    pub(crate) tasks: Option<u16>,
    /// Address of Ray's dashboard, instead of `tune.tasks.ray.address`
    #[arg(long, env = "RAY_ADDRESS", hide_env_values = true)]
    pub(crate) address: Option<String>,
    /// Print what would be submitted, and submit nothing
    #[arg(long, requires = "on")]
    pub(crate) print: bool,
}

/// What runs tasks on many machines.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cluster {
    Slurm,
    Ray,
    Kubernetes,
}

#[derive(Args)]
#[command(after_help = "\
The study has to be in PostgreSQL. A worker takes trials until the study has enough of them or
nothing is left to try. On SIGTERM it gives back what it has not finished, and others evaluate that;
so they do with the trials of a worker that is killed.")]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Seconds to wait for the study to be begun
    #[arg(long, default_value_t = 60.0)]
    pub(crate) wait: f64,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DataCommand>,
    /// A luthier.toml, the folder that holds one, or a data file (csv, tsv, jsonl, parquet)
    #[arg(required = true)]
    pub(crate) path: Option<PathBuf>,
    /// Fit on growing parts of the training rows and say whether more rows would help
    #[arg(long)]
    pub(crate) learning_curve: bool,
}

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Split a file into train, valid and test, or into folds, by seed and content
    Split(SplitArgs),
}

#[derive(Args)]
pub(crate) struct SplitArgs {
    /// The file (csv, tsv, jsonl, parquet)
    pub(crate) file: PathBuf,
    /// Folder for the parts; the file's own folder by default
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Text columns; equal texts stay in one part
    #[arg(long, value_delimiter = ',', default_value = "text")]
    pub(crate) text: Vec<String>,
    /// Label column; every part gets its share of each class
    #[arg(long, default_value = "label")]
    pub(crate) label: String,
    /// Share of the validation part
    #[arg(long, default_value_t = 0.1)]
    pub(crate) valid: f64,
    /// Share of the test part
    #[arg(long, default_value_t = 0.1)]
    pub(crate) test: f64,
    /// Number of folds, instead of three parts
    #[arg(long, conflicts_with_all = ["valid", "test", "time"])]
    pub(crate) folds: Option<u32>,
    /// Seed of the draw
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Column whose equal values stay in one part, such as a user
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Column of times; the oldest rows train, the newest test
    #[arg(long, conflicts_with = "group")]
    pub(crate) time: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum StudyCommand {
    /// List studies with their trials and best scores
    List {
        /// SQLite files, folders that hold one (a job's or its run's), and databases
        /// (`postgres://…`), all studies of which are listed
        #[arg(required = true)]
        storages: Vec<String>,
        /// Only studies with this tag
        #[arg(long)]
        tag: Option<String>,
    },
    /// Show how a study is set up and how it stands, with its latest trials; or one trial
    Show {
        #[command(flatten)]
        study: StudyArgs,
        /// Number of trials to show
        #[arg(long, default_value_t = 10)]
        last: usize,
        /// Only trials with this tag
        #[arg(long)]
        tag: Option<String>,
        /// Show all of this trial instead
        #[arg(long, value_name = "NUMBER", conflicts_with_all = ["last", "tag"])]
        trial: Option<u64>,
    },
    /// Show the best trial, or with several objectives those that nothing dominates
    Best {
        #[command(flatten)]
        study: StudyArgs,
    },
    /// Write a page of plots, which opens in any browser without a network
    Plot {
        #[command(flatten)]
        study: StudyArgs,
        /// The file to write
        #[arg(long, short, default_value = "study.html")]
        output: PathBuf,
        /// The two parameters of the contour plot; the most important ones by default
        #[arg(long, value_delimiter = ',', num_args = 1, value_name = "A,B")]
        contour: Vec<String>,
    },
    /// Say how much each parameter has to do with how good a trial is (PED-ANOVA)
    Importance {
        #[command(flatten)]
        study: StudyArgs,
    },
    /// Write all trials: as CSV or with --format json to standard output, or to a file
    Export {
        #[command(flatten)]
        study: StudyArgs,
        /// The file to write (csv, tsv, jsonl, parquet, json); only JSON has the scores by step
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Note something about a study or its trials: a remark, tags, anything by name
    Note(StudyNoteArgs),
    /// Have a configuration tried next
    Enqueue {
        #[command(flatten)]
        study: StudyArgs,
        /// The value of each parameter
        #[arg(required = true, value_name = "PARAMETER=VALUE", value_parser = assignment)]
        values: Vec<(String, String)>,
    },
    /// Take in a study from elsewhere: one of Optuna, exported trials, results in a table
    Import(StudyImportArgs),
    /// Give out trials over HTTP to programs that keep their own loop
    Serve(StudyServeArgs),
}

#[derive(Args)]
pub(crate) struct StudyNoteArgs {
    #[command(flatten)]
    pub(crate) study: StudyArgs,
    /// A remark, instead of the one that is there; an empty one takes it away
    pub(crate) text: Option<String>,
    /// Trials that it is about, as in `3,7`; the study as a whole by default
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    pub(crate) trial: Vec<u64>,
    /// Add a tag; may be repeated
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// Take a tag away; may be repeated
    #[arg(long, value_name = "TAG")]
    pub(crate) untag: Vec<String>,
    /// Note a value, in JSON or as a text, under a name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
    /// Take away what is noted under a name; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,
}

#[derive(Args)]
pub(crate) struct StudyImportArgs {
    /// An SQLite file of Optuna; a file that `luthier study export` or another program has written
    /// (json, csv, tsv, jsonl, parquet); or a study of Luthier, which is copied
    pub(crate) from: String,
    /// Where to: an SQLite file, a folder for `<study>.db`, or a database (`postgres://…`). Trials that
    /// the study there has already are not added again
    #[arg(long, default_value = ".")]
    pub(crate) storage: String,
    /// Which study, where there are several
    #[arg(long)]
    pub(crate) study: Option<String>,
    /// What it is called from then on, instead of its own name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// TOML file that describes the study as for `luthier study serve`. Tables need it, unless the study
    /// that they belong to is there
    #[arg(long, value_name = "FILE")]
    pub(crate) setup: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct StudyServeArgs {
    /// The studies: an SQLite file, a folder of them (`<study>.db`), or a database
    /// (`postgres://…`). New studies are made there when a client sets them up
    #[arg(required_unless_present = "grpc_port")]
    pub(crate) storage: Option<String>,
    /// Address to listen on; one that other machines reach needs a token
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port; 0 picks a free one
    #[arg(long, default_value_t = 8470)]
    pub(crate) port: u16,
    /// Port for Katib, which brings no token: its `Suggestion` service over gRPC, which needs no
    /// storage and keeps nothing; 0 picks a free one
    #[arg(long)]
    pub(crate) grpc_port: Option<u16>,
    /// File that holds the token which clients have to bring
    #[arg(long, requires = "storage")]
    pub(crate) token_file: Option<PathBuf>,
    /// Set up the study that a TOML file describes, as clients do in JSON; may be given again
    #[arg(long, value_name = "FILE", requires = "storage")]
    pub(crate) setup: Vec<PathBuf>,
    /// Trials in each study; any number by default
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    pub(crate) trials: Option<u64>,
    /// Seconds after which a client that says nothing loses its trial
    #[arg(long, default_value_t = 600.0)]
    pub(crate) silence: f64,
    /// Largest body of a request, in bytes
    #[arg(long, default_value_t = 4 << 20)]
    pub(crate) max_body_bytes: usize,
    /// Which events are logged, as in `info` or `luthier_serve=debug`
    #[arg(long, default_value = "info", env = "LUTHIER_LOG")]
    pub(crate) log: String,
}

/// A study that exists.
#[derive(Args)]
pub(crate) struct StudyArgs {
    /// Where it is: its SQLite file, a folder that holds it (a job's or its run's), or a database
    /// (`postgres://…`)
    pub(crate) storage: String,
    /// Its name, in a database that holds several
    #[arg(long)]
    pub(crate) study: Option<String>,
}

#[derive(Args)]
pub(crate) struct PredictArgs {
    /// The bundle: a folder or a packed file
    pub(crate) bundle: PathBuf,
    /// Rows to answer: texts, or JSON objects with the columns of a table
    #[arg(value_name = "ROWS", required_unless_present = "input")]
    pub(crate) rows: Vec<String>,
    /// File of rows to answer (csv, tsv, jsonl, parquet); as JSON, one document per row
    #[arg(long, conflicts_with = "rows")]
    pub(crate) input: Option<PathBuf>,
    /// Text columns of the file
    #[arg(long, value_delimiter = ',', default_value = "text")]
    pub(crate) text: Vec<String>,
    /// Column of the file that names rows and is kept in the answers
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Also tell what each column adds to the answer (boosted trees)
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// The bundle: a folder or a packed file
    pub(crate) bundle: PathBuf,
    /// File of labelled rows (csv, tsv, jsonl, parquet)
    #[arg(long)]
    pub(crate) input: PathBuf,
    /// Text columns of the file
    #[arg(long, value_delimiter = ',', default_value = "text")]
    pub(crate) text: Vec<String>,
    /// Label column of the file
    #[arg(long, default_value = "label")]
    pub(crate) label: String,
    /// A second bundle to compare with on the same rows
    #[arg(long)]
    pub(crate) against: Option<PathBuf>,
    /// Metric of the comparison: f1 where not given, rmse of numbers
    #[arg(long)]
    pub(crate) metric: Option<String>,
}

#[derive(Args)]
#[command(after_help = "\
A check passes where the rows prove that the limit is kept, at 95 % confidence, and fails where the
measured value is beyond it. In between the rows are too few to tell: that is undecidable, and the gate
says no unless --allow-undecidable is given.")]
pub(crate) struct GateArgs {
    /// The bundle that is to go to production: a folder or a packed file
    pub(crate) candidate: PathBuf,
    /// The bundle that is there now
    #[arg(long, value_name = "PRODUCTION")]
    pub(crate) against: PathBuf,
    /// File of labelled rows that neither was trained on (csv, tsv, jsonl, parquet)
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Text columns of the file
    #[arg(long, value_delimiter = ',', default_value = "text")]
    pub(crate) text: Vec<String>,
    /// Label column of the file
    #[arg(long, default_value = "label")]
    pub(crate) label: String,
    /// Metric that may not drop; the one that the candidate was tuned for by default
    #[arg(long)]
    pub(crate) metric: Option<String>,
    /// How much the metric may drop, in its own units
    #[arg(long, default_value_t = 0.01)]
    pub(crate) max_drop: f64,
    /// How much the expected calibration error may rise
    #[arg(long, default_value_t = 0.03)]
    pub(crate) max_ece_rise: f64,
    /// How many times as long one row may take, at the median and at the 99th percentile; 0.1 ms more
    /// is never too slow
    #[arg(long, default_value_t = 1.5)]
    pub(crate) max_slower: f64,
    /// How many times as large the bundle may be; 1 MB more is never too large
    #[arg(long, default_value_t = 1.5)]
    pub(crate) max_larger: f64,
    /// Let checks pass for which the rows are too few
    #[arg(long)]
    pub(crate) allow_undecidable: bool,
    /// File for the findings in JUnit's XML, which CI systems show
    #[arg(long)]
    pub(crate) junit: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum BundleCommand {
    /// Show what a bundle is, where it comes from and what it scored
    Show {
        /// The bundle: a folder or a packed file
        bundle: PathBuf,
    },
    /// Check every digest, load the model and check that it answers as it did
    Verify {
        /// The bundle: a folder or a packed file
        bundle: PathBuf,
    },
    /// Pack a bundle into one file
    Pack {
        /// The bundle
        bundle: PathBuf,
        /// The file to write; `<bundle>.luthier` by default
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Copy a bundle into a base path as the next version of a model; servers take it up
    Publish {
        /// The bundle: a folder or a packed file
        bundle: PathBuf,
        /// Folder of the model, `<base>/<model>`; made if need be
        model: PathBuf,
        /// Number of the version; the highest there plus one by default
        #[arg(long, value_parser = value_parser!(i64).range(0..))]
        version: Option<i64>,
    },
}

#[derive(Args)]
pub(crate) struct ShipArgs {
    /// The bundle: a folder or a packed file
    pub(crate) bundle: PathBuf,
    /// Folder to write to; files in it that you have edited since are kept
    #[arg(long, default_value = "ship")]
    pub(crate) out: PathBuf,
    /// Overwrite what you have edited, or what somebody else wrote
    #[arg(long)]
    pub(crate) force: bool,
    /// Build the image and run it here with Prometheus and Alertmanager, until Ctrl-C
    #[arg(long)]
    pub(crate) local: bool,
    /// Take away what --local started
    #[arg(long, conflicts_with = "local")]
    pub(crate) down: bool,
    /// What builds and runs images; the first of the two that works by default
    #[arg(long, value_enum)]
    pub(crate) engine: Option<Engine>,
    /// Add this to the ports 8500, 8501, 9090 and 9093 of --local
    #[arg(long, default_value_t = 0)]
    pub(crate) port_offset: u16,
    /// Static build of luthier for the image, instead of this program
    #[arg(long)]
    pub(crate) program: Option<PathBuf>,
    /// Name of the image, with or without a tag; `localhost/<model>` with a tag by its content
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// Namespace in the cluster; the model's name by default
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Address that alerts are posted to
    #[arg(long)]
    pub(crate) webhook: Option<String>,
    /// Folder of the job in its repository, for the workflow; the repository itself by default
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// Rows that the workflow's gate measures on; `data/test.csv` of the job by default
    #[arg(long)]
    pub(crate) gate_data: Option<String>,
    /// Text columns of these rows; `text` by default
    #[arg(long)]
    pub(crate) gate_text: Option<String>,
    /// Label column of these rows; `label` by default
    #[arg(long)]
    pub(crate) gate_label: Option<String>,
    /// Let the workflow's gate pass checks for which these rows are too few
    #[arg(long)]
    pub(crate) allow_undecidable: bool,
    /// Alert when the 99th percentile of a request is above this; 50 by default
    #[arg(long)]
    pub(crate) target_p99_ms: Option<f64>,
    /// Alert when a larger share of requests fails; 0.01 by default
    #[arg(long)]
    pub(crate) error_rate: Option<f64>,
    /// Alert when the live accuracy is surely below this; by default the lower end of the
    /// bundle's interval
    #[arg(long)]
    pub(crate) min_accuracy: Option<f64>,
    /// Alert when a population stability index is above this; by default 0.25, or more where the
    /// validation rows are few
    #[arg(long)]
    pub(crate) max_psi: Option<f64>,
}

/// What builds and runs images.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    Podman,
    Docker,
}

#[derive(Args)]
pub(crate) struct ProbeArgs {
    /// Where to, as in `http://127.0.0.1:8501/readyz`
    pub(crate) url: String,
    /// Body to POST; without it, GET
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Seconds to wait for the whole answer
    #[arg(long, default_value_t = 3.0)]
    pub(crate) timeout: f64,
    /// Seconds for which to ask again while nothing answers, or an answer says that it is not the
    /// time or place; without it, ask once
    #[arg(long, value_name = "SECONDS")]
    pub(crate) retry: Option<f64>,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Bundles (folders or packed files, each under its own name as version 1) and base paths that
    /// hold `<model>/<version>/`, whose new versions are taken up while the server runs
    #[arg(required = true)]
    pub(crate) bundles: Vec<PathBuf>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port of the REST interface; 0 picks a free one
    #[arg(long, alias = "rest_api_port", default_value_t = 8501)]
    pub(crate) rest_port: u16,
    /// Port of the gRPC interface; 0 picks a free one. Both ports speak both protocols
    #[arg(long, alias = "port", default_value_t = 8500)]
    pub(crate) grpc_port: u16,
    /// Seconds between two looks at the base paths; 0 looks only once
    #[arg(long, alias = "file_system_poll_wait_seconds", default_value_t = 1.0)]
    pub(crate) poll: f64,
    /// Which versions of a model in a base path are served: `latest`, `latest:2`, `all` or
    /// `specific:1,2`
    #[arg(long, default_value = "latest")]
    pub(crate) version_policy: VersionPolicy,
    /// Threads that answer; one per core by default
    #[arg(long, value_parser = value_parser!(u16).range(1..=i64::from(MOST_WORKERS)))]
    pub(crate) workers: Option<u16>,
    /// Requests that may wait before others are refused with 429
    #[arg(long, default_value_t = 1024)]
    pub(crate) queue: usize,
    /// Largest body of a request, in bytes
    #[arg(long, default_value_t = 4 << 20)]
    pub(crate) max_body_bytes: usize,
    /// Seconds after which a request is given up
    #[arg(long, default_value_t = 30.0)]
    pub(crate) timeout: f64,
    /// Seconds that requests in flight get when the server is told to stop
    #[arg(long, default_value_t = 30.0)]
    pub(crate) drain_timeout: f64,
    /// SQLite file in which predictions wait for labels, for live accuracy; without it, labels are
    /// not taken
    #[arg(long)]
    pub(crate) feedback_store: Option<PathBuf>,
    /// Which events are logged, as in `info` or `luthier_serve=debug`
    #[arg(long, default_value = "info", env = "LUTHIER_LOG")]
    pub(crate) log: String,
}
