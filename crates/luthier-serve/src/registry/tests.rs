use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use luthier_bundle::{Bundle, PredictScratch};
use luthier_test::Scratch;

use super::Loader;
use crate::models::ServedModel;
use crate::service::Version;
use crate::service::tests::{draft, texts};
use crate::versions::Versions;
use crate::{Models, RouteProblem, ServeConfig};

/// A base path, and a loader over it that works when told to.
struct Bench {
    scratch: Scratch,
    bundle: Bundle,
    loader: Loader,
    log: Log,
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Bench {
    /// One whose base path holds the `versions` of the model `a`, which have been loaded.
    fn new(versions: &[i64], policy: &str) -> Self {
        let scratch = Scratch::new();
        let bundle = draft("a").write(&scratch.path().join("bundle")).unwrap();
        let base = scratch.path().join("base");
        for version in versions {
            bundle.publish(&base.join("a"), Some(*version)).unwrap();
        }
        let config =
            ServeConfig { version_policy: policy.parse().unwrap(), ..ServeConfig::default() };
        let check = |path: &str| match path {
            "/healthz" => Err(RouteProblem::Reserved),
            _ => Ok(()),
        };
        let models = Models::find(&[base]).unwrap();
        let loader = Loader::new(models, &config, check, Arc::new(ArcSwap::default()));
        let mut bench = Self { scratch, bundle, loader, log: Log::default() };
        assert!(bench.versions().statuses.iter().all(|s| s.state.name() == "START"));
        bench.settle();
        bench
    }

    fn folder(&self, version: i64) -> PathBuf {
        self.scratch.path().join("base").join("a").join(version.to_string())
    }

    fn publish(&self, version: i64) {
        let model = self.scratch.path().join("base").join("a");
        self.bundle.publish(&model, Some(version)).unwrap();
    }

    /// One look and what follows from it.
    fn round(&mut self) {
        self.loader.look();
        self.settle();
    }

    fn settle(&mut self) {
        let log = self.log.clone();
        let make = move || log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(make).finish();
        tracing::subscriber::with_default(subscriber, || {
            self.loader.settle().unwrap();
            self.loader.release();
        });
    }

    fn versions(&self) -> Arc<Versions> {
        self.loader.current.load_full()
    }

    /// Version, state and error code of each version.
    #[track_caller]
    fn check(&self, expected: &[(i64, &str, &str)]) {
        let versions = self.versions();
        let found: Vec<_> = versions
            .statuses
            .iter()
            .map(|s| {
                let code = s.error.as_ref().map_or("OK", |error| error.code.name());
                (s.version, s.state.name(), code)
            })
            .collect();
        assert_eq!(found, expected);
    }

    fn latest(&self) -> Arc<ServedModel> {
        Arc::clone(self.versions().find("a", Version::Latest).unwrap())
    }

    /// How often a line with `text` has been logged.
    fn logged(&self, text: &str) -> usize {
        let log = self.log.0.lock().unwrap();
        String::from_utf8_lossy(&log).lines().filter(|line| line.contains(text)).count()
    }
}

#[test]
fn the_old_version_stays_while_a_request_holds_it() {
    let mut bench = Bench::new(&[1], "latest");
    bench.check(&[(1, "AVAILABLE", "OK")]);
    assert!(bench.versions().is_ready);
    let held = bench.latest();
    bench.publish(2);
    bench.round();
    bench.check(&[(2, "AVAILABLE", "OK"), (1, "UNLOADING", "OK")]);
    let scores = held.predict(&texts(1), 0..1, &mut PredictScratch::default()).unwrap();
    assert_eq!(scores.len(), 2);
    let weak = Arc::downgrade(&held);
    drop(held);
    assert!(weak.upgrade().is_some(), "its memory goes in the loader");
    bench.settle();
    assert!(weak.upgrade().is_none());
    bench.check(&[(2, "AVAILABLE", "OK"), (1, "END", "OK")]);
    assert_eq!((bench.logged("version answers"), bench.logged("version has left")), (2, 1));
    fs::remove_dir_all(bench.folder(1)).unwrap();
    bench.round();
    bench.check(&[(2, "AVAILABLE", "OK")]);
}

#[test]
fn a_version_that_is_wanted_back_before_it_has_left_comes_back() {
    let mut bench = Bench::new(&[1], "latest");
    let held = bench.latest();
    bench.publish(2);
    bench.round();
    fs::remove_dir_all(bench.folder(2)).unwrap();
    bench.round();
    bench.check(&[(2, "END", "OK"), (1, "AVAILABLE", "OK")]);
    assert!(Arc::ptr_eq(&held, &bench.latest()), "without being loaded again");
}

#[test]
fn half_written_and_broken_versions_are_reported_and_tried_again() {
    let mut bench = Bench::new(&[1], "latest");
    let folder = bench.folder(2);
    fs::create_dir(&folder).unwrap();
    for _ in 0..3 {
        bench.round();
        bench.check(&[(2, "START", "FAILED_PRECONDITION"), (1, "AVAILABLE", "OK")]);
    }
    assert_eq!(bench.logged("it has no manifest.json"), 1, "said once");
    let source = bench.bundle.path().to_owned();
    let copy = |name: &str| {
        fs::copy(source.join(name), folder.join(name)).unwrap();
    };
    copy("features.idx");
    copy("manifest.json");
    bench.round();
    bench.check(&[(2, "START", "FAILED_PRECONDITION"), (1, "AVAILABLE", "OK")]);
    bench.round();
    bench.check(&[(2, "END", "DATA_LOSS"), (1, "AVAILABLE", "OK")]);
    bench.round();
    assert_eq!(bench.logged("model.onnx in bundle"), 1, "said once");
    let status = bench.versions().status("a", Version::Specific(2)).unwrap();
    let message = &status[0].error.as_ref().unwrap().message;
    assert!(message.starts_with("model a version 2 cannot be served: model.onnx in"), "{message}");
    copy("model.onnx");
    bench.round();
    bench.round();
    bench.check(&[(2, "AVAILABLE", "OK"), (1, "END", "OK")]);
}

#[test]
fn a_model_that_answers_otherwise_is_not_served() {
    let mut bench = Bench::new(&[1], "latest");
    damage_probe(&bench.bundle, &bench.folder(2));
    bench.round();
    bench.check(&[(2, "END", "INTERNAL"), (1, "AVAILABLE", "OK")]);
    assert_eq!(bench.latest().version, 1);
}

/// Writes the bundle to `folder`, with a probe that its model does not answer.
fn damage_probe(bundle: &Bundle, folder: &Path) {
    let probe = luthier_bundle::Probe::of_text("warm".to_owned(), vec![2.0, -1.0]);
    let mut manifest = bundle.manifest().clone();
    manifest.probes = vec![probe];
    let digest = std::mem::replace(&mut manifest.digest, "0".repeat(64));
    let text = serde_json::to_string(&manifest).unwrap();
    let text = text.replace(&"0".repeat(64), &luthier_bundle::sha256_hex(text.as_bytes()));
    assert!(!text.contains(&digest));
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(bundle.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    fs::write(folder.join("manifest.json"), text).unwrap();
}

#[test]
fn vanished_versions_give_way_and_the_last_one_stays() {
    let mut bench = Bench::new(&[1, 2], "latest");
    bench.check(&[(2, "AVAILABLE", "OK")]);
    fs::remove_dir_all(bench.folder(2)).unwrap();
    bench.round();
    bench.check(&[(2, "END", "OK"), (1, "AVAILABLE", "OK")]);
    fs::remove_dir_all(bench.folder(1).parent().unwrap()).unwrap();
    bench.round();
    bench.round();
    bench.check(&[(1, "AVAILABLE", "OK")]);
    let warned = "model a: version 1 goes on answering: its folder holds no version any more";
    assert_eq!(bench.logged(warned), 1, "said once");
    fs::remove_dir_all(bench.scratch.path().join("base")).unwrap();
    bench.round();
    bench.check(&[(1, "AVAILABLE", "OK")]);
    assert_eq!(bench.logged("No such file or directory"), 1);
    bench.publish(3);
    bench.round();
    bench.check(&[(3, "AVAILABLE", "OK"), (1, "END", "OK")]);
    assert!(bench.versions().is_ready);
}

#[test]
fn labels_keep_versions_and_move() {
    let mut bench = Bench::new(&[1, 2, 3], "latest");
    bench.check(&[(3, "AVAILABLE", "OK")]);
    bench.scratch.write("base/a/labels.json", r#"{"stable": 1, "canary": 3}"#);
    bench.round();
    bench.check(&[(3, "AVAILABLE", "OK"), (1, "AVAILABLE", "OK")]);
    let labelled = |bench: &Bench, label| {
        let versions = bench.versions();
        versions.find("a", Version::Label(label)).map(|model| model.version).ok()
    };
    assert_eq!((labelled(&bench, "stable"), labelled(&bench, "canary")), (Some(1), Some(3)));
    bench.scratch.write("base/a/labels.json", r#"{"stable": 2"#);
    bench.round();
    bench.round();
    assert_eq!(labelled(&bench, "stable"), Some(1), "labels that cannot be read change nothing");
    assert_eq!(bench.logged("labels.json: EOF"), 1);
    bench.scratch.write("base/a/labels.json", r#"{"stable": 2}"#);
    bench.round();
    assert_eq!((labelled(&bench, "stable"), labelled(&bench, "canary")), (Some(2), None));
    bench.check(&[(3, "AVAILABLE", "OK"), (2, "AVAILABLE", "OK"), (1, "END", "OK")]);
}

#[test]
fn models_come_with_their_routes() {
    let mut bench = Bench::new(&[1], "all");
    let route = |path: &str| {
        let (input, output) = (Some("text".to_owned()), "score".to_owned());
        Some(luthier_bundle::Route { path: path.to_owned(), input, output })
    };
    let publish = |bench: &Bench, name: &str, path: &str| {
        let draft = luthier_bundle::Draft { route: route(path), ..draft(name) };
        let bundle = draft.write(&bench.scratch.path().join(name)).unwrap();
        bundle.publish(&bench.scratch.path().join("base").join(name), None).unwrap();
    };
    publish(&bench, "b", "/b");
    publish(&bench, "c", "/b");
    publish(&bench, "d", "/healthz");
    bench.round();
    bench.round();
    let check = |bench: &Bench, expected: &[(&str, &str)]| {
        let versions = bench.versions();
        let routes = versions.routes.iter().map(|route| (&*route.path, &*route.model));
        assert_eq!(routes.collect::<Vec<_>>(), expected);
    };
    check(&bench, &[("/b", "b")]);
    assert_eq!(bench.logged("route /b: the path is given twice"), 1);
    assert_eq!(bench.logged("route /healthz: the path belongs to the server"), 1);
    publish(&bench, "b", "/new");
    bench.round();
    check(&bench, &[("/new", "b"), ("/b", "c")]);
    assert_eq!(bench.versions().statuses.len(), 5);
}

#[test]
fn a_new_model_that_is_broken_does_not_end_readiness() {
    let mut bench = Bench::new(&[1], "latest");
    fs::create_dir_all(bench.scratch.path().join("base/b/1")).unwrap();
    bench.round();
    assert!(bench.versions().is_ready);
    let found = bench.versions().find("b", Version::Latest).map(|_| ());
    let message = "Servable b version 1 is not available: START";
    assert_eq!(found.unwrap_err().to_string(), message);
    fs::remove_dir_all(bench.scratch.path().join("base/b")).unwrap();
    bench.round();
    let found = bench.versions().find("b", Version::Latest).map(|_| ());
    assert_eq!(found.unwrap_err().to_string(), "Servable not found for request: Latest(b)");
}

#[test]
fn without_polling_what_cannot_be_served_is_an_error() {
    let mut bench = Bench::new(&[1, 2], "latest");
    bench.loader.poll = None;
    bench.loader.is_ready = false;
    bench.loader.models.clear();
    fs::write(bench.folder(2).join("manifest.json"), "{").unwrap();
    bench.loader.look();
    assert!(bench.loader.settle().is_ok(), "version 1 is there");
    bench.loader.is_ready = false;
    bench.loader.models.clear();
    fs::remove_file(bench.folder(1).join("manifest.json")).unwrap();
    bench.loader.look();
    let error = bench.loader.settle().unwrap_err().to_string();
    assert!(error.starts_with("model a cannot be served: model a version 2 cannot"), "{error}");
}
