//! Fetching from a server that does what servers and networks do.

mod server;

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use luthier_hub::{Hub, HubError, Progress, Reference, Settings};
use luthier_test::Scratch;
use server::{Reply, Server};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// What `sha256sum` says of [`content`].
const LARGE_SHA256: &str = "b1cf7538cf80d01efe3e0b8e45dc930048a138c7b6f8c4aff08f478e4695e631";
/// What `git hash-object` says of [`SMALL`].
const SMALL_SHA1: &str = "dc1fb7b6703fe03317c1a080b523bf475f3d4818";
const SMALL: &[u8] = b"{\"model_type\": \"bert\"}\n";

/// 300,000 bytes.
fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect()
}

fn settings(endpoint: &str, scratch: &Scratch) -> Settings {
    Settings {
        endpoint: endpoint.to_owned(),
        token: Some("secret".to_owned()),
        cache: scratch.path().to_owned(),
        is_offline: false,
        timeout: Duration::from_millis(500),
        attempts: 3,
        pause: Duration::from_millis(1),
        max_bytes: 1 << 20,
    }
}

fn fetch_with(
    settings: Settings,
    reference: &str,
    file: &str,
) -> Result<Option<PathBuf>, HubError> {
    let reference: Reference = reference.parse()?;
    let hub = Hub::new(settings);
    hub.snapshot(&reference)?.fetch(file, &mut |_| ControlFlow::Continue(()))
}

fn fetch(server: &Server, scratch: &Scratch, file: &str) -> Result<Option<PathBuf>, HubError> {
    fetch_with(settings(&server.address(), scratch), "hf://a/b@main", file)
}

/// As the hub gives small files.
fn small() -> Reply {
    let tag = format!("\"{SMALL_SHA1}\"");
    Reply::ok(SMALL).header("ETag", &tag).header("X-Repo-Commit", COMMIT)
}

/// As the hub tells where large files are.
fn elsewhere(location: &str) -> Reply {
    Reply::status(302)
        .header("Location", location)
        .header("X-Repo-Commit", COMMIT)
        .header("X-Linked-Etag", &format!("\"{LARGE_SHA256}\""))
        .header("X-Linked-Size", "300000")
}

/// As a store of large files, which knows parts.
fn part(request: &server::Request) -> Reply {
    match request.from() {
        Some(from) => Reply::part(&content(), from),
        None => Reply::ok(&content()),
    }
    .header("ETag", "\"of-the-store\"")
}

#[test]
fn small_files_come_directly_and_once() {
    let (server, scratch) = (Server::new(|_| small()), Scratch::new());
    for _ in 0..2 {
        let path = fetch(&server, &scratch, "config.json").unwrap().unwrap();
        assert_eq!(path, scratch.path().join("a/b").join(COMMIT).join("config.json"));
        assert_eq!(fs::read(path).unwrap(), SMALL);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, "/a/b/resolve/main/config.json");
    assert_eq!(requests[0].header("authorization"), Some("Bearer secret"));
}

#[test]
fn a_branch_is_looked_up_once() {
    let (server, scratch) = (Server::new(|_| small()), Scratch::new());
    let hub = Hub::new(settings(&server.address(), &scratch));
    let mut snapshot = hub.snapshot(&"hf://a/b@pr/1".parse().unwrap()).unwrap();
    assert_eq!(snapshot.commit(), None);
    for file in ["config.json", "tokenizer.json"] {
        snapshot.fetch(file, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
    }
    let again = hub.snapshot(&"hf://a/b@pr/1".parse().unwrap()).unwrap();
    assert_eq!((snapshot.commit(), again.commit()), (Some(COMMIT), Some(COMMIT)));
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths[0], "/a/b/resolve/pr%2F1/config.json");
    assert_eq!(paths[1], format!("/a/b/resolve/{COMMIT}/tokenizer.json"));
}

#[test]
fn the_token_stays_with_the_endpoint() {
    let scratch = Scratch::new();
    let store = Server::new(part);
    let location = format!("{}/store?signature=1", store.address());
    let server = Server::new(move |_| elsewhere(&location));
    let path = fetch(&server, &scratch, "model.safetensors").unwrap().unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer secret"));
    assert_eq!(store.requests()[0].header("authorization"), None);
    assert_eq!(store.requests()[0].path, "/store?signature=1");
}

#[test]
fn redirects_within_the_endpoint_may_be_relative() {
    let server = Server::new(|request| match request.path.as_str() {
        "/cached" => small(),
        _ => Reply::status(307).header("Location", "/cached"),
    });
    let scratch = Scratch::new();
    assert!(fetch(&server, &scratch, "config.json").unwrap().is_some());
    assert_eq!(server.requests()[1].header("authorization"), Some("Bearer secret"));
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let scratch = Scratch::new();
    let store = Server::new(|request| match request.number {
        0..4 => part(request).broken_after(60_000),
        _ => part(request),
    });
    let location = format!("{}/store", store.address());
    let server = Server::new(move |_| elsewhere(&location));
    let path = fetch(&server, &scratch, "model.safetensors").unwrap().unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    // Each attempt brings something, so that five are not too many.
    let starts: Vec<Option<u64>> = store.requests().iter().map(server::Request::from).collect();
    assert_eq!(starts.len(), 5);
    assert_eq!(starts[0], None);
    assert!(starts[1..].iter().all(|from| from.is_some_and(|from| from > 0)), "{starts:?}");
    assert!(starts[1..].is_sorted());
}

#[test]
fn another_process_goes_on_with_what_is_there() {
    let scratch = Scratch::new();
    let store = Server::new(|request| part(request).broken_after(100_000));
    let location = format!("{}/store", store.address());
    let server = Server::new(move |_| elsewhere(&location));
    let once = Settings { attempts: 1, ..settings(&server.address(), &scratch) };
    let error = fetch_with(once.clone(), "hf://a/b@main", "model.safetensors").unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    for _ in 0..2 {
        let _ = fetch_with(once.clone(), "hf://a/b@main", "model.safetensors");
    }
    let path = fetch_with(once, "hf://a/b@main", "model.safetensors").unwrap().unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
}

#[test]
fn what_a_server_without_parts_gives_is_taken_from_the_start() {
    let scratch = Scratch::new();
    let server = Server::new(|request| {
        let whole = Reply::ok(&content())
            .header("X-Repo-Commit", COMMIT)
            .header("ETag", &format!("\"{LARGE_SHA256}\""));
        if request.number == 0 { whole.broken_after(200_000) } else { whole }
    });
    let path = fetch(&server, &scratch, "model.safetensors").unwrap().unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    assert!(server.requests()[2].from().is_some());
}

#[test]
fn what_is_not_as_announced_is_refused() {
    let scratch = Scratch::new();
    let changed = Server::new(|_| small().changed(b"{\"model_type\": \"gpt\"}\n!"));
    let error = fetch(&changed, &scratch, "config.json").unwrap_err();
    assert!(matches!(error, HubError::Digest { .. }), "{error}");
    assert_eq!(changed.requests().len(), 1, "another attempt would bring the same");

    // A part of another file, behind what came before.
    let server = Server::new(|request| {
        let tag = format!("\"{LARGE_SHA256}\"");
        let reply = match (request.number, request.from()) {
            (0, _) => Reply::ok(&content()).broken_after(100_000),
            (_, Some(from)) => Reply::part(&vec![0; 300_000], from),
            (_, None) => Reply::ok(&content()),
        };
        reply.header("X-Repo-Commit", COMMIT).header("ETag", &tag)
    });
    let path = fetch(&server, &scratch, "model.safetensors").unwrap().unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
}

#[test]
fn answers_without_a_file_say_what_is_missing() {
    /// What is answered, what follows, and after how many requests.
    type Case = (fn() -> Reply, fn(&HubError) -> bool, usize);
    let cases: [Case; 6] = [
        (
            || Reply::status(401).header("X-Error-Code", "RepoNotFound"),
            |error| matches!(error, HubError::NoRepository { has_token: true, .. }),
            1,
        ),
        (
            || Reply::status(404).header("X-Error-Code", "RevisionNotFound"),
            |error| matches!(error, HubError::NoRevision { .. }),
            1,
        ),
        (
            || Reply::status(403).header("X-Error-Code", "GatedRepo"),
            |error| matches!(error, HubError::Denied { status: 403, .. }),
            1,
        ),
        (|| Reply::status(429), |error| matches!(error, HubError::Network { .. }), 3),
        (|| Reply::status(500), |error| matches!(error, HubError::Network { .. }), 3),
        (|| Reply::status(418), |error| matches!(error, HubError::Answer { .. }), 1),
    ];
    for (reply, is_expected, requests) in cases {
        let (server, scratch) = (Server::new(move |_| reply()), Scratch::new());
        let error = fetch(&server, &scratch, "config.json").unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert_eq!(server.requests().len(), requests, "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_asked_for_once() {
    let absent = || {
        Reply::status(404).header("X-Error-Code", "EntryNotFound").header("X-Repo-Commit", COMMIT)
    };
    let (server, scratch) = (Server::new(move |_| absent()), Scratch::new());
    for _ in 0..2 {
        assert_eq!(fetch(&server, &scratch, "model.safetensors").unwrap(), None);
    }
    assert_eq!(server.requests().len(), 1);
    // A server that is no hub may be one that was asked by mistake.
    let (server, scratch) = (Server::new(|_| Reply::status(404)), Scratch::new());
    for _ in 0..2 {
        assert_eq!(fetch(&server, &scratch, "model.safetensors").unwrap(), None);
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_server_may_ask_to_wait() {
    let (server, scratch) = (
        Server::new(|request| match request.number {
            0 => Reply::status(429).header("Retry-After", "1"),
            _ => small(),
        }),
        Scratch::new(),
    );
    let begun = Instant::now();
    assert!(fetch(&server, &scratch, "config.json").unwrap().is_some());
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (server, scratch) = (Server::new(|_| small().slow(Duration::from_secs(3))), Scratch::new());
    let begun = Instant::now();
    let once = Settings { attempts: 1, ..settings(&server.address(), &scratch) };
    let error = fetch_with(once, "hf://a/b@main", "config.json").unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn sizes_are_bounded() {
    let scratch = Scratch::new();
    let limit =
        |server: &Server| Settings { max_bytes: 1000, ..settings(&server.address(), &scratch) };
    let announced = Server::new(|_| Reply::ok(&content()).header("X-Repo-Commit", COMMIT));
    let hidden =
        Server::new(|_| Reply::ok(&content()).header("X-Repo-Commit", COMMIT).without_length());
    for server in [announced, hidden] {
        let error = fetch_with(limit(&server), "hf://a/b@main", "x.bin").unwrap_err();
        assert!(matches!(error, HubError::TooLarge { most: 1000, .. }), "{error}");
    }
}

#[test]
fn commits_that_differ_are_noticed() {
    let (server, scratch) = (Server::new(|_| small()), Scratch::new());
    let other = format!("hf://a/b@{}", "f".repeat(40));
    let error =
        fetch_with(settings(&server.address(), &scratch), &other, "config.json").unwrap_err();
    assert!(error.to_string().contains(COMMIT), "{error}");
    let plain = Server::new(|_| Reply::ok(SMALL));
    let error = fetch(&plain, &scratch, "config.json").unwrap_err();
    assert!(matches!(error, HubError::NoCommit { .. }), "{error}");
    // A folder behind any web server will do where the commit is named.
    let path = fetch_with(settings(&plain.address(), &scratch), &other, "config.json").unwrap();
    assert_eq!(fs::read(path.unwrap()).unwrap(), SMALL);
}

#[test]
fn offline_does_with_what_is_there() {
    let (server, scratch) = (Server::new(|_| small()), Scratch::new());
    let offline = Settings { is_offline: true, ..settings(&server.address(), &scratch) };
    let error = fetch_with(offline.clone(), "hf://a/b@main", "config.json").unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    fetch(&server, &scratch, "config.json").unwrap();
    assert!(fetch_with(offline, "hf://a/b@main", "config.json").unwrap().is_some());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn two_at_once_fetch_once() {
    let server = Server::new(|_| small().slow(Duration::from_millis(200)));
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fetch(&server, &scratch, "config.json").unwrap().unwrap());
        }
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_report_can_stop_it() {
    let scratch = Scratch::new();
    let server = Server::new(|_| {
        let tag = format!("\"{LARGE_SHA256}\"");
        Reply::ok(&content()).header("X-Repo-Commit", COMMIT).header("ETag", &tag)
    });
    let hub = Hub::new(settings(&server.address(), &scratch));
    let mut snapshot = hub.snapshot(&"hf://a/b@main".parse().unwrap()).unwrap();
    let mut last = 0;
    let found = snapshot.fetch("model.safetensors", &mut |progress| match progress {
        Progress::Fetching { done, total, .. } => {
            assert_eq!(total, Some(300_000));
            last = done;
            if done > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(found, Err(HubError::Stopped)));
    assert!((100_000..300_000).contains(&last));
    // What came is kept.
    let partial = scratch.path().join("a/b/.partial").join(LARGE_SHA256);
    assert_eq!(fs::metadata(partial).unwrap().len(), last);
}

#[test]
fn names_stay_in_their_folder() {
    let (server, scratch) = (Server::new(|_| small()), Scratch::new());
    for file in ["../x", "/etc/passwd", "a//b", "", ".lock", "a/../../b", "a\\b", "a?b"] {
        let error = fetch(&server, &scratch, file).unwrap_err();
        assert!(matches!(error, HubError::Name { .. }), "{file}: {error}");
    }
    for reference in
        ["hf://a/b", "hf://a@main", "hf://a/b@", "hf://../b@main", "hf://a/b@../x", "a/b@main"]
    {
        assert!(reference.parse::<Reference>().is_err(), "{reference}");
    }
    let reference: Reference = "hf://a/b-c.d@refs/pr/1".parse().unwrap();
    assert_eq!(
        [reference.owner(), reference.name(), reference.revision()],
        ["a", "b-c.d", "refs/pr/1"]
    );
    assert_eq!(reference.to_string(), "hf://a/b-c.d@refs/pr/1");
}

#[test]
fn settings_come_from_the_environment() {
    let read = |set: &'static [(&str, &str)]| {
        Settings::from_env(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    };
    let settings = read(&[("HOME", "/h"), ("HF_ENDPOINT", "http://mirror/hub/")]).unwrap();
    assert_eq!(settings.endpoint, "http://mirror/hub");
    assert_eq!(settings.cache, PathBuf::from("/h/.cache/luthier/hub"));
    assert!(!settings.is_offline && settings.token.is_none());
    let settings = read(&[
        ("LUTHIER_CACHE", "/c"),
        ("HOME", "/h"),
        ("HF_TOKEN", "hf_secret\n"),
        ("HF_HUB_OFFLINE", "1"),
    ])
    .unwrap();
    assert_eq!(settings.endpoint, "https://huggingface.co");
    assert_eq!(settings.cache, PathBuf::from("/c/hub"));
    assert_eq!(settings.token.as_deref(), Some("hf_secret"));
    assert!(settings.is_offline);
    assert!(!format!("{settings:?}").contains("hf_secret"));
    assert!(matches!(read(&[]), Err(HubError::NoCache)));
    let wrong = read(&[("HOME", "/h"), ("HF_ENDPOINT", "mirror")]);
    assert!(matches!(wrong, Err(HubError::Endpoint { .. })));
}
