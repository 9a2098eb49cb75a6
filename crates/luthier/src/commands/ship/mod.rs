//! `luthier ship`: the files of `luthier-ship` on disk, with the program and the bundle beside them,
//! and all of it running on this machine where that is asked for.

mod folder;
mod local;
mod program;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use luthier_bundle::Bundle;
use luthier_engine::Threads;
use luthier_ship::{Plan, Settings};
use serde_json::json;

use super::{print, print_json};
use crate::cli::{Format, ShipArgs};
use crate::failure::Failure;
use crate::stages::example;
use crate::term::size;
use folder::{Content, Fate, Shipped};

/// `stop_flag` is asked for only where something runs until it is stopped.
pub(crate) fn ship(
    args: &ShipArgs,
    format: Format,
    stop_flag: fn() -> Result<&'static AtomicBool, Failure>,
) -> Result<(), Failure> {
    let bundle = Bundle::open(&args.bundle)?;
    let plan = Plan::new(bundle.manifest(), &settings(args))?;
    if args.down {
        return local::down(args, &plan);
    }
    // What this program does not answer as it was stored is not worth an image.
    bundle.predictor(&Threads::new(1))?;
    let program = program::program(args.program.as_deref())?;
    let sizes = (program.len() as u64, bundle.size_bytes());
    let shipped = folder::write(&args.out, contents(&plan, &bundle, program), args.force)?;
    match (args.local, format) {
        (false, Format::Json) => print_json(&document(args, &plan, &shipped)),
        (false, Format::Text) => print(&told(args, &plan, &shipped, sizes)),
        (true, _) => local::up(args, &plan, &example(bundle.manifest()), stop_flag()?),
    }
}

fn settings(args: &ShipArgs) -> Settings {
    Settings {
        image: args.image.clone(),
        namespace: args.namespace.clone(),
        webhook: args.webhook.clone(),
        job: args.job.clone(),
        gate_data: args.gate_data.clone(),
        gate_text: args.gate_text.clone(),
        gate_label: args.gate_label.clone(),
        allow_undecidable: args.allow_undecidable,
        target_p99_ms: args.target_p99_ms,
        error_rate: args.error_rate,
        min_accuracy: args.min_accuracy,
        max_psi: args.max_psi,
    }
}

/// Every file that is to lie in the folder.
fn contents(plan: &Plan, bundle: &Bundle, program: Vec<u8>) -> Vec<Content> {
    let text = |file: luthier_ship::File| Content {
        path: file.path,
        bytes: file.contents.into_bytes(),
        executable: false,
    };
    let mut contents: Vec<Content> = plan.files().into_iter().map(text).collect();
    let path = "image/luthier".to_owned();
    contents.push(Content { path, bytes: program, executable: true });
    let named = bundle.manifest().files.iter().map(|file| file.name.as_str());
    for name in named.chain(["manifest.json"]) {
        let path = format!("{}/{name}", plan.bundle_path());
        let bytes = bundle.document(name).unwrap_or_default().to_vec();
        contents.push(Content { path, bytes, executable: false });
    }
    contents
}

/// What lies where, for people.
const TOUR: [(&str, &str); 8] = [
    ("README.md", "what is here, and how it is used"),
    ("image/", "the image: this program and the model, nothing else"),
    ("compose.yml", "the server with Prometheus and Alertmanager"),
    ("chart/", "the Helm chart"),
    (".github/", "the workflow: test, run, gate, build, push, roll out, smoke test"),
    ("prometheus/", "scrape configuration, alert rules and their test cases"),
    ("grafana/", "the dashboard"),
    ("elastic/", "index template; Filebeat, Logstash and rsyslog"),
];

fn told(args: &ShipArgs, plan: &Plan, shipped: &[Shipped], (program, model): (u64, u64)) -> String {
    let out = args.out.display();
    let mut text = format!(
        "{}: {} of program and {} of model as {}\n\n",
        args.out.join("").display(),
        size(program),
        size(model),
        plan.image()
    );
    for (path, what) in TOUR {
        text += &format!("  {path:<12} {what}\n");
    }
    text.push('\n');
    for Shipped { path, fate } in shipped {
        match fate {
            Fate::Kept => text += &format!("kept as you changed it: {path} (--force overwrites)\n"),
            Fate::Removed => text += &format!("removed: {path}\n"),
            Fate::Written | Fate::Unchanged => {}
        }
    }
    text += "Next:\n";
    for command in next(args, plan, &out.to_string()) {
        text += &format!("  {command}\n");
    }
    text
}

fn next(args: &ShipArgs, plan: &Plan, out: &str) -> [String; 4] {
    let (name, image, namespace) = (plan.name(), plan.image(), plan.namespace());
    [
        format!("luthier ship {} --out {out} --local", args.bundle.display()),
        format!("docker build -t {image} {out}/image && docker push {image}"),
        format!(
            "helm upgrade --install {name} {out}/chart --namespace {namespace} --create-namespace"
        ),
        format!("promtool test rules {out}/prometheus/alerts_test.yml"),
    ]
}

fn document(args: &ShipArgs, plan: &Plan, shipped: &[Shipped]) -> serde_json::Value {
    let out = args.out.display().to_string();
    let file = |shipped: &Shipped| json!({ "path": shipped.path, "state": shipped.fate.name() });
    json!({
        "folder": out,
        "name": plan.name(),
        "image": plan.image(),
        "namespace": plan.namespace(),
        "files": shipped.iter().map(file).collect::<Vec<_>>(),
        "next": next(args, plan, &out),
    })
}

/// A path as it is said in messages.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
