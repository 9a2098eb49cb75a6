//! Bundles to serve, and servers that serve them.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use luthier_bundle::{Bundle, Draft, Lineage, PredictScratch, Probe};
use luthier_engine::Threads;
use luthier_model::Decision;
use luthier_serve::{Drained, ModelSource, Models, Route, ServeConfig, ServeError, Server};
use luthier_space::{Distribution, Value};
use luthier_test::{Scratch, wait_for};
use luthier_train::{Data, Inputs, Job, Learner, Linear, Row, TextData};
use tokio::sync::oneshot;

use crate::client::Client;

/// Series that counts the requests for `mood` that a worker has begun.
pub(crate) const STARTED: &str =
    "luthier_stage_duration_seconds_count{model=\"mood\",version=\"3\",stage=\"queue\"}";

/// A running server with `mood` versions 1 and 3 (binary, `good` is positive) and `topic` version 1
/// (three classes); `/sentiment` and `/topics` are aliases.
pub(crate) struct Stage {
    /// Where REST is expected.
    pub(crate) addr: SocketAddr,
    /// Where gRPC is expected.
    pub(crate) grpc: SocketAddr,
    pub(crate) scratch: Scratch,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<Drained, ServeError>>>,
}

impl Stage {
    /// A server with the settings of tests, ready.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A server with settings changed by `change`, ready.
    pub(crate) fn with(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let scratch = Scratch::new();
        let models = models(scratch.path());
        let stage = Self::start(scratch, models, |config| {
            config.routes = vec![
                Route::new("/sentiment", "mood"),
                Route { output: "to\"pics".to_owned(), ..Route::new("/topics", "topic") },
            ];
            change(config);
        });
        stage.wait_until_ready();
        stage
    }

    /// A server of `models`, which come from `scratch`; it may not be ready yet.
    pub(crate) fn start(
        scratch: Scratch,
        models: Models,
        change: impl FnOnce(&mut ServeConfig),
    ) -> Self {
        let mut config = ServeConfig { workers: 1, ..free_ports() };
        change(&mut config);
        let server = Server::bind(&config, models).unwrap();
        let (addr, grpc) = (server.local_addr(), server.grpc_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            runtime().block_on(server.run(async {
                let _ = stopped.await;
            }))
        });
        Self { addr, grpc, scratch, stop: Some(stop), thread: Some(thread) }
    }

    /// Waits until every model answers.
    pub(crate) fn wait_until_ready(&self) {
        let ready = || (self.client().ask("GET", "/readyz", "").status == 200).then_some(());
        wait_for(Duration::from_secs(30), ready).expect("the server gets ready");
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().expect("stopped once").send(());
    }

    /// Waits for the end of the shutdown.
    pub(crate) fn drained(mut self) -> Drained {
        self.thread.take().unwrap().join().unwrap().unwrap()
    }

    /// One value of `/metrics`, 0 where the series is absent.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.client().ask("GET", "/metrics", "").body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a value of `/metrics` is `expected`.
    #[track_caller]
    pub(crate) fn wait_for_metric(&self, series: &str, expected: f64) {
        let reached = || (self.metric(series) == expected).then_some(());
        wait_for(Duration::from_secs(20), reached).unwrap_or_else(|| panic!("{series}"));
    }

    /// Probabilities by the bundle itself, without a server.
    pub(crate) fn expected(&self, model: &str, texts: &[&str]) -> Vec<f32> {
        let path = self.scratch.path().join(model).join("1");
        let predictor = Bundle::open(&path).unwrap().predictor(&Threads::new(1)).unwrap();
        predictor.predict(texts, &mut PredictScratch::default()).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Settings that leave the ports to the system.
pub(crate) fn free_ports() -> ServeConfig {
    ServeConfig { rest_port: 0, grpc_port: 0, ..ServeConfig::default() }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Writes the bundles of a stage to `folder` in a registry's layout, and loads them.
fn models(folder: &Path) -> Models {
    let draft = draft("mood", 2);
    draft.write(&make_path(folder, "mood", 1)).unwrap();
    draft.write(&make_path(folder, "mood", 3)).unwrap();
    self::draft("topic", 3).write(&make_path(folder, "topic", 1)).unwrap();
    let source = |name: &str, version| ModelSource {
        name: name.to_owned(),
        version,
        path: make_path(folder, name, version),
    };
    Models::load(&[source("mood", 1), source("topic", 1), source("mood", 3)]).unwrap()
}

fn make_path(folder: &Path, name: &str, version: i64) -> std::path::PathBuf {
    std::fs::create_dir_all(folder.join(name)).unwrap();
    folder.join(name).join(version.to_string())
}

/// A small model of `classes` classes; with two, the second is positive.
pub(crate) fn draft(name: &str, classes: u32) -> Draft {
    draft_of(name, classes, 90)
}

/// [`draft`] trained on that many rows; each number of rows gives other scores.
pub(crate) fn draft_of(name: &str, classes: u32, rows: u32) -> Draft {
    const WORDS: [[&str; 3]; 3] =
        [["cold", "dull", "难吃"], ["warm", "lovely", "好吃"], ["red", "green", "blue"]];
    let data = TextData::new(classes as usize, |_, visit| {
        for i in 0..rows {
            let label = i % classes;
            let word = WORDS[label as usize][(i / classes % 3) as usize];
            visit(Row::labelled(&format!("a {word} thing, number {i}"), label));
        }
        Ok(())
    })
    .unwrap();
    let data = Data::from(data);
    let learner = Linear;
    let values = learner.space().pick(|_, dimension| match &dimension.distribution {
        Distribution::Float { high, .. } => Value::Float(*high / 2.0),
        Distribution::Int { high, .. } => Value::Int(*high),
        other => other.options().last().unwrap().clone(),
    });
    let job = Job::new(&data, &values, 1);
    let network = learner.fit(&job, &mut |_| ControlFlow::Continue(())).unwrap().network();
    let texts: Vec<String> = WORDS.concat().into_iter().map(str::to_owned).collect();
    let answers = network.answer(Inputs::Texts(&texts)).unwrap();
    let answers = answers.chunks(classes as usize).map(<[f32]>::to_vec);
    let labels = ["bad", "good", "colour \"c\""][..classes as usize].iter();
    let labels = labels.map(|label| (*label).to_owned()).collect();
    let decision = Decision::of_classes(labels, (classes == 2).then_some(1));
    Draft {
        model: network.to_model(decision, None).unwrap(),
        probes: texts.into_iter().zip(answers).map(|(t, a)| Probe::of_text(t, a)).collect(),
        name: name.to_owned(),
        task: "text-classification".to_owned(),
        scores: Vec::new(),
        lineage: Lineage::default(),
        test_openings: 0,
        documents: Vec::new(),
        route: None,
    }
}

/// The body of a request that takes seconds.
pub(crate) fn heavy_body() -> String {
    let text = "a warm thing and a cold one, 好吃 or not, told at length; ".repeat(40);
    let instances = vec![format!("\"{text}\""); 12_000];
    format!("{{\"instances\": [{}]}}", instances.join(","))
}
