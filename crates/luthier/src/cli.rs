//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::job::MOST_WORKERS;

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
    #[arg(long, global = true, value_enum, default_value = "text")]
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
    /// Show what is in the data: classes, lengths, duplicates, leaks, contradictions
    Data(DataArgs),
    /// Answer texts with a bundle
    Predict(PredictArgs),
    /// Score a bundle on labelled rows
    Eval(EvalArgs),
    /// Look at, check and pack bundles
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Serve bundles over HTTP, in TensorFlow Serving's REST protocol
    Serve(ServeArgs),
    /// Print a completion script for your shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// A luthier.toml, or the folder that holds one
    #[arg(default_value = ".")]
    pub(crate) job: PathBuf,
    /// Trials in all, instead of `tune.trials`
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    pub(crate) trials: Option<u64>,
    /// Trials at the same time, instead of `tune.workers`
    #[arg(long, value_parser = value_parser!(u16).range(1..=i64::from(MOST_WORKERS)))]
    pub(crate) workers: Option<u16>,
    /// Seed, instead of `tune.seed`
    #[arg(long)]
    pub(crate) seed: Option<u64>,
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

#[derive(Args)]
pub(crate) struct PredictArgs {
    /// The bundle: a folder or a packed file
    pub(crate) bundle: PathBuf,
    /// Texts to answer
    #[arg(required_unless_present = "input")]
    pub(crate) texts: Vec<String>,
    /// File of rows to answer (csv, tsv, jsonl, parquet); as JSON, one document per row
    #[arg(long, conflicts_with = "texts")]
    pub(crate) input: Option<PathBuf>,
    /// Text columns of the file
    #[arg(long, value_delimiter = ',', default_value = "text")]
    pub(crate) text: Vec<String>,
    /// Column of the file that names rows and is kept in the answers
    #[arg(long)]
    pub(crate) id: Option<String>,
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
    /// Metric of the comparison
    #[arg(long, default_value = "f1")]
    pub(crate) metric: String,
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
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Bundles: folders or packed files, each under its own name as version 1
    #[arg(required = true)]
    pub(crate) bundles: Vec<PathBuf>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port of the REST interface; 0 picks a free one
    #[arg(long, alias = "rest_api_port", default_value_t = 8501)]
    pub(crate) rest_port: u16,
    /// Port of the gRPC interface; reserved, nothing listens there yet
    #[arg(long, alias = "port", default_value_t = 8500)]
    pub(crate) grpc_port: u16,
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
    /// Which events are logged, as in `info` or `luthier_serve=debug`
    #[arg(long, default_value = "info", env = "LUTHIER_LOG")]
    pub(crate) log: String,
}
