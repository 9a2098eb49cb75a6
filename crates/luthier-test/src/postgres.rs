//! A PostgreSQL server for the length of a test.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Process, Scratch, wait_for};

/// Name of the certificate in the folder of the data, where the server looks for it.
const CERTIFICATE: &str = "server.crt";

/// A server of its own on a loopback port, with an empty database, that ends when dropped.
pub struct Postgres {
    server: Process,
    port: u16,
    // After the server, which writes into it until its end.
    folder: Scratch,
}

impl Postgres {
    /// Starts the server; `None` (with a word on the reason) where PostgreSQL is not installed, so
    /// that a test can skip.
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub fn start() -> Option<Self> {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server that takes nothing but encrypted connections, by a certificate for `localhost`
    /// that signs itself and is kept at [`Self::certificate`]; otherwise as [`Self::start`] does.
    ///
    /// # Panics
    /// If PostgreSQL is installed and does not start.
    pub fn start_encrypted() -> Option<Self> {
        Self::start_with(|data| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
            let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
            let (certificate, key) = (data.join(CERTIFICATE), data.join("server.key"));
            std::fs::write(&certificate, cert.pem()).expect("the certificate is written");
            std::fs::write(&key, signing_key.serialize_pem()).expect("the key is written");
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&key, mode).expect("the key is kept");
            own(data);
            let access = "hostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n";
            std::fs::write(data.join("pg_hba.conf"), access).expect("access is limited");
            vec!["-c", "ssl=on"]
        })
    }

    /// Starts the server with options that `prepare` gives, which gets the folder of the data.
    fn start_with(prepare: impl FnOnce(&Path) -> Vec<&'static str>) -> Option<Self> {
        let Some(programs) = programs() else {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("skipped: PostgreSQL is not installed");
            }
            return None;
        };
        let folder = Scratch::new();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder for the data");
        own(folder.path());
        let made = as_server(&programs.join("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=luthier", "--encoding=UTF8"])
            .arg("--pgdata")
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success(), "initdb failed");
        let port =
            TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
        let mut command = as_server(&programs.join("postgres"));
        command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        command.args(["-c", "unix_socket_directories=", "-c", "max_connections=200"]);
        command.args(prepare(&data));
        let server = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let ready = || {
            let mut command = Command::new(programs.join("pg_isready"));
            command.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            command.status().is_ok_and(|status| status.success()).then_some(())
        };
        wait_for(Duration::from_secs(20), ready).expect("PostgreSQL answers");
        Some(Self { server, port, folder })
    }

    /// The address of the database.
    pub fn url(&self) -> String {
        self.url_at("127.0.0.1")
    }

    /// The address by another name of this host.
    pub fn url_at(&self, host: &str) -> String {
        format!("postgres://luthier@{host}:{}/postgres", self.port)
    }

    /// The certificate of a server that was started encrypted.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("data").join(CERTIFICATE)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, but in order: killed, it would leave shared memory behind.
        self.server.signal("QUIT");
        let _ = self.server.child().wait();
    }
}

/// Makes a folder that of the user whom the server runs as: it refuses to run as root.
fn own(folder: &Path) {
    if is_root() {
        let owned = Command::new("chown").args(["-R", "postgres"]).arg(folder).status();
        assert!(owned.expect("chown runs").success());
    }
}

/// The folder with the programs of the newest version that is installed.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.splice(0..0, std::env::split_paths(&path));
    found.into_iter().rev().find(|folder| folder.join("initdb").exists())
}

fn as_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    // Unlike `su` it leaves no process in between, so that signals arrive.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
