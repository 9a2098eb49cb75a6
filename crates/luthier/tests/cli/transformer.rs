//! Jobs that fine-tune an encoder that was trained before: here a tiny one, of random weights.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use luthier_test::{Process, wait_for};

use crate::{Desk, Outcome};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn encoder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../luthier-pretrained/tests/fixtures/bert")
}

/// The job with `learners` and a transformer that starts from `checkpoint`.
fn desk(checkpoint: &str) -> Desk {
    let desk = Desk::with_job();
    let space = format!(
        "learners = [\"transformer\"]\n\n[tune.space.transformer]\ncheckpoint = \"{checkpoint}\"\n\
         learning_rate = {{ float = [3e-3, 1e-2] }}\nepochs = 8\nmax_length = 24"
    );
    desk.edit("trials = 6\nworkers = 2", &format!("trials = 3\nworkers = 2\n{space}"));
    desk
}

/// A desk with the encoder in a folder of the job.
pub(crate) fn desk_with_encoder() -> Desk {
    let desk = desk("encoder");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        desk.write(&format!("job/encoder/{file}"), std::fs::read(encoder().join(file)).unwrap());
    }
    desk
}

#[test]
fn an_encoder_goes_from_a_folder_to_a_bundle_that_answers() {
    let desk = desk_with_encoder();
    desk.luthier(&["run", "job"]).ok();
    let manifest = desk.json("job/run/bundle/manifest.json");
    assert_eq!(manifest["preprocess"]["kind"], "tokens");
    assert_eq!(manifest["lineage"]["trial"]["values"]["transformer.checkpoint"], "encoder");
    let scores = manifest["scores"].as_array().unwrap();
    let found = |part: &str| scores.iter().find(|s| s["part"] == part && s["metric"] == "accuracy");
    let accuracy = found("test").unwrap()["value"].as_f64().unwrap();
    assert!(accuracy > 0.8, "{accuracy}");
    desk.luthier(&["bundle", "verify", "job/run/bundle"]).ok();
    let answers =
        desk.luthier(&["--format", "json", "predict", "job/run/bundle", "lovely", ""]).json();
    assert_eq!(answers[0]["label"], "good", "{answers}");
}

#[test]
fn any_number_of_workers_ends_with_the_same_encoder() {
    let bundles = ["1", "3"].map(|workers| {
        let desk = desk_with_encoder();
        desk.edit("workers = 2", &format!("workers = {workers}"));
        desk.luthier(&["run", "job"]).ok();
        desk.folder("job/run/bundle")
    });
    assert!(bundles[0] == bundles[1]);
}

#[test]
fn another_checkpoint_of_the_same_name_begins_another_study() {
    let desk = desk_with_encoder();
    desk.luthier(&["tune", "job"]).ok();
    let path = "job/encoder/model.safetensors";
    let mut weights = desk.read(path);
    // The highest byte but one of the last number: another number, and still one.
    let place = weights.len() - 2;
    weights[place] ^= 1;
    desk.write(path, weights);
    let outcome = desk.luthier(&["tune", "job"]);
    assert!(outcome.err.contains("is set aside"), "{}", outcome.err);
    outcome.ok();
}

#[test]
fn a_fit_that_is_interrupted_goes_on_after_its_last_epoch() {
    let whole = desk_with_encoder();
    whole.edit("workers = 2", "workers = 1");
    whole.luthier(&["run", "job"]).ok();
    let desk = desk_with_encoder();
    desk.edit("workers = 2", "workers = 1");
    let mut command = desk.command(&["run", "job"]);
    let mut run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let begun =
        wait_for(Duration::from_secs(60), || kept(&desk.path("job/run")).into_iter().next());
    assert!(begun.is_some(), "no epoch was kept");
    let start = Instant::now();
    run.signal("INT");
    assert_eq!(run.child().wait().unwrap().code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    desk.luthier(&["run", "job"]).ok();
    assert!(desk.folder("job/run/bundle") == whole.folder("job/run/bundle"));
    assert!(!desk.path("job/run/fits").exists(), "nothing is left");
}

/// The states of fits that are kept somewhere in a folder.
pub(crate) fn kept(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of_entry = |entry: std::fs::DirEntry| match entry.path() {
        path if path.is_dir() => kept(&path),
        path if path.ends_with("state") => vec![path],
        _ => Vec::new(),
    };
    entries.flat_map(of_entry).collect()
}

#[test]
fn the_fit_of_the_chosen_trial_is_not_done_twice() {
    for folds in [0, 2] {
        let [with, without] = [true, false].map(|keep| {
            let desk = desk_with_encoder();
            if folds > 0 {
                desk.edit("valid = \"valid.csv\"", &format!("folds = {folds}"));
            }
            desk.luthier(&["tune", "job"]).ok();
            let states = kept(&desk.path("job/run"));
            assert_eq!(states.len(), folds.max(1));
            let mut told = Vec::new();
            match keep {
                true => told.extend(states.iter().map(|state| watched(state))),
                false => std::fs::remove_dir_all(desk.path("job/run/fits")).unwrap(),
            }
            desk.luthier(&["run", "job"]).ok();
            let is_read = |told: &Receiver<()>| told.recv_timeout(Duration::from_secs(5)).is_ok();
            assert!(told.iter().all(is_read), "a state was not read");
            assert!(!desk.path("job/run/fits").exists(), "nothing is left");
            desk.folder("job/run/bundle")
        });
        assert!(with == without);
    }
}

/// Makes a state a pipe that can be read once, and tells when it was. A fit that is done beside it all the
/// same cannot keep its own.
fn watched(state: &Path) -> Receiver<()> {
    let content = std::fs::read(state).unwrap();
    std::fs::remove_file(state).unwrap();
    assert!(Command::new("mkfifo").arg(state).status().unwrap().success());
    std::fs::create_dir(state.with_extension("partial")).unwrap();
    let (tell, told) = mpsc::channel();
    let state = state.to_owned();
    thread::spawn(move || std::fs::write(state, content).map(|()| tell.send(())));
    told
}

#[test]
fn texts_that_are_cut_are_told_of() {
    let desk = desk_with_encoder();
    let cut = desk.luthier(&["run", "job"]);
    let said = " of 320 texts have more than 24 tokens and lose their ends: see `max_length`";
    assert!(cut.err.contains(said), "{}", cut.err);
    desk.write("job/train.csv", "text,label\nbad,bad\nit,bad\nwarm,good\nthe,good\n".repeat(9));
    desk.write("job/valid.csv", "text,label\nrude,bad\nour,good\n");
    let whole = desk.luthier(&["run", "job"]);
    assert!(!whole.err.contains("lose their ends"), "{}", whole.err);
    whole.ok();
}

#[test]
fn a_loss_that_is_no_number_ends_its_trial_alone() {
    let desk = desk_with_encoder();
    desk.edit("{ float = [3e-3, 1e-2] }", "{ choice = [1e38, 5e-3] }");
    desk.edit("trials = 3", "trials = 6");
    let outcome = desk.luthier(&["tune", "job"]);
    let said = "failed: the loss is no number in step ";
    assert!(outcome.err.contains(said), "{}", outcome.err);
    outcome.ok();
}

#[test]
fn a_student_starts_from_the_layers_of_its_teacher() {
    let desk = desk_with_encoder();
    desk.luthier(&["run", "job"]).ok();
    // A compressed bundle has no layers to start from.
    let rename = |from: &str, to: &str| std::fs::rename(desk.path(from), desk.path(to)).unwrap();
    rename("job/run/model", "job/teacher");
    rename("job/run", "job/before");
    desk.edit("checkpoint = \"encoder\"", "checkpoint = \"teacher\"\nlayers = 1");
    desk.edit("[tune]", "[distill]\nteacher = \"teacher\"\naugment = 0\n\n[tune]");
    desk.luthier(&["run", "job"]).ok();
    let manifest = desk.json("job/run/model/manifest.json");
    let values = &manifest["lineage"]["trial"]["values"];
    assert_eq!(values["transformer.layers"], 1);
    assert!(values["transformer.teacher_share"].is_number(), "{values}");
    let size = |name: &str| desk.read(&format!("{name}/model.onnx")).len();
    assert!(size("job/run/model") < size("job/teacher"));
}

#[test]
fn a_transformer_needs_a_checkpoint() {
    let desk = Desk::with_job();
    desk.edit("trials = 6", "trials = 6\nlearners = [\"transformer\"]");
    let outcome = desk.luthier(&["run", "job"]);
    let said = "`tune.space.transformer.checkpoint` is missing";
    assert_eq!((outcome.code, outcome.err.contains(said)), (Some(2), true), "{}", outcome.err);
    let outcome = self::desk("nowhere").luthier(&["run", "job"]);
    let said = "no such folder";
    assert_eq!((outcome.code, outcome.err.contains(said)), (Some(2), true), "{}", outcome.err);
}

#[test]
fn checkpoints_of_the_hub_are_fetched_once() {
    let hub = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hub.local_addr().unwrap());
    thread::spawn(move || hub.incoming().flatten().for_each(|client| answer(&client)));
    let desk = desk("hf://someone/tiny@main");
    let cache = desk.path("cache");
    let cache = cache.to_str().unwrap();
    let tune = |endpoint: &str| {
        let variables = [("HF_ENDPOINT", endpoint), ("LUTHIER_CACHE", cache)];
        Outcome::of(desk.command(&["tune", "job"]).envs(variables))
    };
    tune(&endpoint).ok();
    // Nobody listens there.
    tune("http://127.0.0.1:9").ok();
    let offline = |cache: &str| {
        let variables = [("HF_ENDPOINT", endpoint.as_str()), ("LUTHIER_CACHE", cache)];
        Outcome::of(desk.command(&["tune", "job", "--offline"]).envs(variables))
    };
    offline(cache).ok();
    let outcome = offline(desk.path("another").to_str().unwrap());
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.err.contains("was not fetched before"), "{}", outcome.err);
    let files = desk.names(&format!("cache/hub/someone/tiny/{COMMIT}"));
    assert!(files.contains(&"model.safetensors".to_owned()), "{files:?}");
    let variables = [("HF_HUB_OFFLINE", "1"), ("LUTHIER_CACHE", "elsewhere")];
    let outcome = Outcome::of(desk.command(&["tune", "job"]).envs(variables));
    assert_eq!(
        (outcome.code, outcome.err.contains("was not fetched before")),
        (Some(2), true),
        "{}",
        outcome.err
    );
}

/// Answers one request for a file of the encoder as the hub does.
fn answer(mut client: &TcpStream) {
    let mut lines = BufReader::new(client).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let name =
        request.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let (status, body) = match std::fs::read(encoder().join(name)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = client.write_all(&[head.as_bytes(), &body].concat());
}
