//! All of it on this machine: the image built and run as it would be in production, watched by
//! Prometheus and Alertmanager. These are programs of the machine where it has them, and containers
//! where it has not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

use luthier_ship::Plan;
use serde_json::Value;

use super::shown;
use crate::cli::{Engine, ShipArgs};
use crate::commands::print;
use crate::commands::probe::ask;
use crate::failure::Failure;
use crate::launch::shell;
use crate::term::Reporter;

/// Folder, below that of all, for what exists only while it runs.
const FOLDER: &str = "local";
/// File in it with the ids of the programs that were started. Taking it away says that all is to
/// end.
const PROCESSES: &str = "processes";
/// Longest time from the start to the first scrape.
const START_TIME: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

/// Ports on this machine.
#[derive(Clone, Copy)]
struct Ports {
    grpc: u16,
    rest: u16,
    prometheus: u16,
    alertmanager: u16,
}

/// What is started, and how it is called.
struct Stage<'a> {
    args: &'a ShipArgs,
    plan: &'a Plan,
    engine: &'static str,
    ports: Ports,
    report: Reporter,
    folder: PathBuf,
}

/// Builds the image, starts everything, and takes it away when `stop` is set; `row` is one to ask the
/// model about.
pub(super) fn up(
    args: &ShipArgs,
    plan: &Plan,
    row: &Value,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let stage = Stage::new(args, plan)?;
    let start = Instant::now();
    stage.build()?;
    stage.clear();
    let mut programs = Vec::new();
    let outcome =
        stage.start(&mut programs).and_then(|()| stage.wait_until_ready(&mut programs, stop));
    let outcome = match outcome {
        Ok(true) => {
            let told = stage.told(start.elapsed(), row);
            print(&told).and_then(|()| stage.watch(&mut programs, stop))
        }
        Ok(false) => Ok(()),
        Err(failure) => Err(failure),
    };
    stage.report.line("local", "stops");
    stage.clear();
    for mut program in programs {
        let _ = program.child.wait();
    }
    outcome
}

/// Takes away what runs, whoever started it.
pub(super) fn down(args: &ShipArgs, plan: &Plan) -> Result<(), Failure> {
    let stage = Stage::new(args, plan)?;
    stage.clear();
    print(&format!("{} is removed\n", stage.name()))
}

impl<'a> Stage<'a> {
    fn new(args: &'a ShipArgs, plan: &'a Plan) -> Result<Self, Failure> {
        let port = |port: u16| {
            port.checked_add(args.port_offset).ok_or_else(|| {
                Failure::input(format!("--port-offset {} leaves no port", args.port_offset))
            })
        };
        let ports = Ports {
            grpc: port(8500)?,
            rest: port(8501)?,
            prometheus: port(9090)?,
            alertmanager: port(9093)?,
        };
        let folder = args.out.join(FOLDER);
        let report = Reporter::new(false);
        Ok(Self { args, plan, engine: engine(args.engine)?, ports, report, folder })
    }

    /// Name of the container, of the network and before the names of others.
    fn name(&self) -> String {
        format!("luthier-{}", self.plan.name())
    }

    fn build(&self) -> Result<(), Failure> {
        self.report.line("image", &format!("{} builds {}", self.engine, self.plan.image()));
        let context = self.args.out.join("image");
        // Podman's own format has no place for a health check.
        let format: &[&str] = if self.engine == "podman" { &["--format", "docker"] } else { &[] };
        let (image, context) = (self.plan.image(), shown(&context));
        self.run(&[&["build"], format, &["--tag", &image, &context]].concat()).map(|_| ())
    }

    /// Starts the server and those who watch it; programs of this machine end up in `programs`.
    fn start(&self, programs: &mut Vec<Watcher>) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder).map_err(Failure::io(&self.folder))?;
        self.note_processes(programs)?;
        let found = Programs::find();
        let network = self.name();
        if found.is_none() {
            self.run(&["network", "create", &network])?;
        }
        self.start_server(found.is_none().then_some(network.as_str()))?;
        match found {
            Some(found) => self.start_programs(&found, programs),
            None => self.start_containers(&network),
        }
    }

    fn start_server(&self, network: Option<&str>) -> Result<(), Failure> {
        let rest = publish(self.ports.rest, 8501);
        let grpc = publish(self.ports.grpc, 8500);
        let memory = format!("{}m", self.plan.memory_limit_mb());
        let (name, image) = (self.name(), self.plan.image());
        let place = network.map(|network| ["--network", network, "--network-alias", "server"]);
        let place: &[&str] = place.as_ref().map_or(&[], |place| place);
        let hardened = [
            "--read-only",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
            "--pids-limit=256",
            "--memory",
            &memory,
        ];
        let head = ["run", "--detach", "--name", &name, "--publish", &rest, "--publish", &grpc];
        self.run(&[&head, &hardened[..], place, &[&image]].concat()).map(|_| ())
    }

    fn start_programs(&self, found: &Programs, programs: &mut Vec<Watcher>) -> Result<(), Failure> {
        self.report.line("watch", "Prometheus and Alertmanager of this machine");
        let folder = self.folder.canonicalize().map_err(Failure::io(&self.folder))?;
        let out = self.args.out.canonicalize().map_err(Failure::io(&self.args.out))?;
        let Ports { rest, prometheus, alertmanager, .. } = self.ports;
        let config = folder.join("prometheus.yml");
        let text = self.plan.prometheus_config(
            &local(rest),
            &local(alertmanager),
            "../prometheus/alerts.yml",
        );
        fs::write(&config, text).map_err(Failure::io(&config))?;
        let alerting = [
            format!("--config.file={}", shown(&out.join("alertmanager/alertmanager.yml"))),
            format!("--storage.path={}", shown(&folder.join("alertmanager"))),
            format!("--web.listen-address={}", local(alertmanager)),
            "--cluster.listen-address=".to_owned(),
        ];
        programs.push(Watcher::start(
            &found.alertmanager,
            &alerting,
            folder.join("alertmanager.log"),
        )?);
        let scraping = [
            format!("--config.file={}", shown(&config)),
            format!("--storage.tsdb.path={}", shown(&folder.join("prometheus"))),
            format!("--web.listen-address={}", local(prometheus)),
        ];
        programs.push(Watcher::start(&found.prometheus, &scraping, folder.join("prometheus.log"))?);
        self.note_processes(programs)
    }

    fn note_processes(&self, programs: &[Watcher]) -> Result<(), Failure> {
        let ids: String = programs.iter().map(|p| format!("{}\n", p.child.id())).collect();
        let path = self.folder.join(PROCESSES);
        fs::write(&path, ids).map_err(Failure::io(&path))
    }

    fn start_containers(&self, network: &str) -> Result<(), Failure> {
        self.report.line("watch", "Prometheus and Alertmanager in containers");
        let out = self.args.out.canonicalize().map_err(Failure::io(&self.args.out))?;
        let ports = [
            ("alertmanager", 9093, self.ports.alertmanager),
            ("prometheus", 9090, self.ports.prometheus),
        ];
        for (name, inside, outside) in ports {
            let container = format!("{}-{name}", self.name());
            let publish = publish(outside, inside);
            let volume = format!("{}:/etc/{name}:ro", shown(&out.join(name)));
            let image = self.plan.watcher_image(name);
            self.run(&[
                "run",
                "--detach",
                "--name",
                &container,
                "--network",
                network,
                "--network-alias",
                name,
                "--publish",
                &publish,
                "--volume",
                &volume,
                "--cap-drop=all",
                &image,
            ])?;
        }
        Ok(())
    }

    /// Waits until the server answers and Prometheus has scraped it; `false` where `stop` was set.
    fn wait_until_ready(
        &self,
        programs: &mut [Watcher],
        stop: &AtomicBool,
    ) -> Result<bool, Failure> {
        let Ports { rest, prometheus, alertmanager, .. } = self.ports;
        let query = format!("up%7Bjob%3D%22{}%22%7D%3D%3D1", self.plan.name());
        let waits = [
            ("the server", rest, "/readyz".to_owned(), ""),
            ("Alertmanager", alertmanager, "/-/ready".to_owned(), ""),
            ("Prometheus", prometheus, "/-/ready".to_owned(), ""),
            ("the first scrape", prometheus, format!("/api/v1/query?query={query}"), "\"value\""),
        ];
        let end = Instant::now() + START_TIME;
        for (what, port, path, holds) in waits {
            let url = format!("http://{}{path}", local(port));
            let answers = || {
                let answer = ask(&url, None, Duration::from_secs(2)).ok()?;
                (answer.status == 200 && answer.body.contains(holds)).then_some(())
            };
            while answers().is_none() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                if !self.runs() {
                    return Err(self.ended());
                }
                programs.iter_mut().try_for_each(Watcher::check)?;
                if Instant::now() > end {
                    let message = format!("{what} is not ready after {} s", START_TIME.as_secs());
                    return Err(Failure::fault(message).hint(format!(
                        "is something else at {url}? --port-offset takes other ports"
                    )));
                }
                thread::sleep(POLL);
            }
        }
        Ok(true)
    }

    /// Until `stop` is set or all is taken down from elsewhere. A server that ends is told of and
    /// left to those who watch it: to stop it is the way to see an alert.
    fn watch(&self, programs: &mut [Watcher], stop: &AtomicBool) -> Result<(), Failure> {
        let notes = self.folder.join(PROCESSES);
        let mut next_look = Instant::now();
        let mut has_ended = false;
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() >= next_look {
                let watched = programs.iter_mut().try_for_each(Watcher::check);
                let failure = (!has_ended && !self.runs()).then(|| self.ended());
                if !notes.is_file() {
                    return Ok(());
                }
                watched?;
                if let Some(failure) = failure {
                    has_ended = true;
                    self.report.line("server", &failure.message);
                }
                next_look = Instant::now() + Duration::from_secs(1);
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn runs(&self) -> bool {
        let state = self.output(&["inspect", "--format", "{{.State.Running}}", &self.name()]);
        state.is_ok_and(|state| String::from_utf8_lossy(&state.stdout).trim() == "true")
    }

    /// Why the server ended: its last words that are no event of its log.
    fn ended(&self) -> Failure {
        let log = self.output(&["logs", "--tail", "20", &self.name()]);
        let log = log.map_or(Vec::new(), |log| [log.stdout, log.stderr].concat());
        let log = String::from_utf8_lossy(&log);
        let words = log.lines().rfind(|line| !line.is_empty() && !line.starts_with('{'));
        Failure::fault(format!("the server ended: {}", words.unwrap_or("it was stopped")))
    }

    /// Takes away all that an earlier or this start left. What is not there is no failure.
    fn clear(&self) {
        self.stop_programs();
        let _ = self.output(&["stop", "--time", "35", &self.name()]);
        for suffix in ["", "-prometheus", "-alertmanager"] {
            let container = format!("{}{suffix}", self.name());
            let _ = self.output(&["rm", "--force", "--volumes", &container]);
        }
        let _ = self.output(&["network", "rm", &self.name()]);
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Ends the programs whose ids were noted, if they are still those that were started.
    fn stop_programs(&self) {
        let path = self.folder.join(PROCESSES);
        let Ok(ids) = fs::read_to_string(&path) else { return };
        let _ = fs::remove_file(&path);
        let Ok(folder) = self.args.out.canonicalize() else { return };
        let ours = |id: &&str| {
            let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&*folder.to_string_lossy())
        };
        let ids: Vec<&str> = ids.lines().filter(|id| id.parse::<u32>().is_ok()).collect();
        for id in ids.iter().filter(|id| ours(id)) {
            let _ = Command::new("kill").arg(id).status();
        }
        let end = Instant::now() + Duration::from_secs(10);
        while ids.iter().any(&ours) && Instant::now() < end {
            thread::sleep(POLL);
        }
    }

    fn told(&self, took: Duration, row: &Value) -> String {
        let Ports { grpc, rest, prometheus, alertmanager } = self.ports;
        let (name, rest) = (self.plan.name(), local(rest));
        let body = shell(&[format!("{{\"instances\": [{row}]}}")]);
        format!(
            "\n{name} is up after {:.1} s\n\n  \
             REST          http://{rest}/v1/models/{name}\n  \
             gRPC          {}\n  \
             metrics       http://{rest}/metrics\n  \
             Prometheus    http://{}\n  \
             Alertmanager  http://{}\n\n  \
             curl {rest}/v1/models/{name}:predict -d {body}\n\n\
             Ctrl-C, or `luthier ship {} --out {} --down`, removes it.\n",
            took.as_secs_f64(),
            local(grpc),
            local(prometheus),
            local(alertmanager),
            self.args.bundle.display(),
            self.args.out.display(),
        )
    }

    /// Runs the engine, which must succeed.
    fn run(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let output = self.output(arguments).map_err(Failure::io(Path::new(self.engine)))?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().rfind(|line| !line.contains("systemd"));
        let said = said.unwrap_or("it does not say why").to_owned();
        let what = arguments.first().unwrap_or(&"");
        Err(Failure::fault(format!("{} {what}: {said}", self.engine))
            .hint("docs/guides/ship.md says what a bare machine needs"))
    }

    fn output(&self, arguments: &[&str]) -> io::Result<Output> {
        Command::new(self.engine).args(arguments).stdin(Stdio::null()).output()
    }
}

/// The engine that is asked for, or the first that works here.
fn engine(wanted: Option<Engine>) -> Result<&'static str, Failure> {
    let names: &[&'static str] = match wanted {
        Some(Engine::Podman) => &["podman"],
        Some(Engine::Docker) => &["docker"],
        None => &["podman", "docker"],
    };
    let works = |name: &&&str| {
        let mut info = Command::new(name);
        info.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        info.status().is_ok_and(|status| status.success())
    };
    names.iter().find(works).copied().ok_or_else(|| {
        Failure::fault(format!("`{} info` fails", names.join("` and `")))
            .hint("`apt-get install podman` is enough; a Docker needs its daemon")
    })
}

/// A program of this machine that watches the server.
struct Watcher {
    child: Child,
    /// File that it says in what it has to say.
    log: PathBuf,
}

impl Watcher {
    fn start(program: &Path, arguments: &[String], log: PathBuf) -> Result<Self, Failure> {
        let file = File::create(&log).map_err(Failure::io(&log))?;
        let copy = file.try_clone().map_err(Failure::io(&log))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = command.spawn().map_err(Failure::io(program))?;
        Ok(Self { child, log })
    }

    /// Fails with its last words if it has ended.
    fn check(&mut self) -> Result<(), Failure> {
        if matches!(self.child.try_wait(), Ok(None)) {
            return Ok(());
        }
        let name = self.log.file_stem().unwrap_or_default().display();
        let said = fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let words = said.lines().next_back().unwrap_or("nothing");
        Err(Failure::fault(format!("{name} ended and said: {words}"))
            .hint("where a port is taken, --port-offset takes others"))
    }
}

/// Prometheus and Alertmanager as programs of this machine.
struct Programs {
    prometheus: PathBuf,
    alertmanager: PathBuf,
}

impl Programs {
    /// Both, if both are there.
    fn find() -> Option<Self> {
        let path = env::var_os("PATH")?;
        let find = |names: &[&str]| {
            let folders = env::split_paths(&path);
            folders
                .flat_map(|folder| names.iter().map(move |n| folder.join(n)))
                .find(|p| p.is_file())
        };
        // Debian's package calls it so.
        let alertmanager = find(&["prometheus-alertmanager", "alertmanager"])?;
        Some(Self { prometheus: find(&["prometheus"])?, alertmanager })
    }
}

/// `--publish` of a port on this machine only.
fn publish(outside: u16, inside: u16) -> String {
    format!("127.0.0.1:{outside}:{inside}")
}

/// A port of this machine.
fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
