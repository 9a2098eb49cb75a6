//! Searches on clusters: what is asked of them, and what comes of it where there is one that only
//! looks like it. Real ones are in `tests/cluster`.

use std::os::unix::fs::PermissionsExt;

use luthier_test::Postgres;

use crate::{Desk, Outcome, text};

/// Nobody listens there.
const NOWHERE: &str = "postgres://luthier@127.0.0.1:1/study";

/// A desk whose job has `settings` for tasks.
fn desk(settings: &str) -> Desk {
    let desk = Desk::with_job();
    desk.edit("[tune]", &format!("[tune.tasks]\n{settings}\n[tune]\nstorage = \"{NOWHERE}\""));
    desk
}

/// What would be submitted, without what differs between machines.
fn printed(desk: &Desk, cluster: &str) -> String {
    let out = desk.luthier(&["tune", "job", "--on", cluster, "--print"]).ok();
    out.replace(env!("CARGO_BIN_EXE_luthier"), "/bin/luthier")
        .replace(text(&desk.path("")), "/desk/")
}

#[test]
fn an_array_is_a_script() {
    let settings = "count = 3\ncpus = 2\nmemory_mb = 500\ntime_limit = \"1h 30m\"\n\
                    slurm = { partition = \"short\", account = \"ml\", options = [\"--gres=gpu:1\"] }";
    let desk = desk(settings);
    assert_eq!(
        printed(&desk, "slurm"),
        "#!/bin/sh
#SBATCH --job-name=luthier-mood
#SBATCH --array=0-2
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --output=\"/desk/job/run/tasks/%A_%a.log\"
#SBATCH --open-mode=append
#SBATCH --export=ALL
#SBATCH --mem=477M
#SBATCH --time=0-01:30:00
#SBATCH --partition=short
#SBATCH --account=ml
#SBATCH --gres=gpu:1
# LUTHIER_STORAGE says where the study is.
exec /bin/luthier worker /desk/job --workers 2 --trials 6 --seed 0
"
    );
    assert!(!desk.path("job/run").exists(), "nothing is done");
    let more = ["tune", "job", "--on", "slurm", "--print", "--tasks", "5", "--workers", "1"];
    let out = desk.luthier(&[&more[..], &["--trials", "9", "--seed", "4"]].concat()).ok();
    assert!(out.contains("--array=0-4\n") && out.contains("--cpus-per-task=1\n"), "{out}");
    assert!(out.ends_with("/job --workers 1 --trials 9 --seed 4\n"), "{out}");
}

#[test]
fn a_job_of_ray_is_a_request() {
    let desk = desk("memory_mb = 500\nprogram = \"luthier\"\njob = \"/mnt/a job\"");
    let request: serde_json::Value = serde_json::from_str(&printed(&desk, "ray")).unwrap();
    let expected = serde_json::json!({
        "entrypoint": "luthier worker '/mnt/a job' --workers 1 --trials 6 --seed 0",
        "entrypoint_num_cpus": 1,
        "entrypoint_memory": 500_000_000,
        "metadata": {"job": "mood"},
    });
    assert_eq!(request, expected);
}

#[test]
fn a_job_of_kubernetes_is_a_manifest() {
    let settings = "memory_mb = 500\ntime_limit = \"1h\"\n\
                    kubernetes = { image = \"ml/luthier:1\", namespace = \"ml\", claim = \"jobs\" }";
    let manifest = printed(&desk(settings), "kubernetes");
    let lines = [
        "  generateName: \"mood-\"\n  namespace: \"ml\"\n",
        "  completions: 4\n  parallelism: 4\n  activeDeadlineSeconds: 3600\n",
        "          command:\n            - \"/luthier\"\n            - \"worker\"\n            - \"/job\"\n",
        "                secretKeyRef: {name: \"luthier-storage\", key: storage}\n",
        "              cpu: \"1\"\n              memory: 500M\n            limits:\n",
        "          persistentVolumeClaim: {claimName: \"jobs\"}\n",
    ];
    for line in lines {
        assert!(manifest.contains(line), "{line}{manifest}");
    }
    let plain = printed(&desk("kubernetes.image = \"ml/mood:1\""), "kubernetes");
    for absent in ["namespace", "memory", "activeDeadline", "persistentVolumeClaim"] {
        assert!(!plain.contains(absent), "{absent}{plain}");
    }
}

#[test]
fn what_cannot_run_on_a_cluster_is_refused() {
    let job = Desk::with_job();
    let refused = |desk: &Desk, cluster: &str, complaint: &str| {
        desk.luthier(&["tune", "job", "--on", cluster]).fails(2, complaint);
        assert!(!desk.path("job/run").exists(), "{complaint}");
    };
    for cluster in ["slurm", "ray", "kubernetes"] {
        refused(
            &job,
            cluster,
            "error: a cluster needs a study in PostgreSQL; this one is in `study.db`\n hint: give \
             --storage postgres://user@host/database, or `tune.storage` in luthier.toml",
        );
    }
    let unknown = job.luthier(&["tune", "job", "--on", "slrum"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("'slurm'"), "{unknown:?}");
    let alone = job.luthier(&["tune", "job", "--print"]);
    assert!(alone.code == Some(2) && alone.err.contains("--on <ON>"), "{alone:?}");

    let toml = "error: job/luthier.toml: ";
    let cases = [
        ("count = 0", "slurm", format!("{toml}`tune.tasks.count` must be at least 1")),
        ("count = 1001", "slurm", format!("{toml}`tune.tasks.count` must be at most 1000")),
        ("cpus = 0", "slurm", format!("{toml}`tune.tasks.cpus` must be at least 1")),
        ("memory_mb = 0", "slurm", format!("{toml}`tune.tasks.memory_mb` must be above 0")),
        (
            "slurm.partition = \"a\\n#\"",
            "slurm",
            format!("{toml}`tune.tasks.slurm.partition` is \"a\\n#\""),
        ),
        (
            "slurm.options = [\"gres=gpu\"]",
            "slurm",
            format!(
                "{toml}`tune.tasks.slurm.options` has \"gres=gpu\"\n \
                 hint: give options of sbatch, such as \"--gres=gpu:1\""
            ),
        ),
        (
            "time_limit = \"1h\"",
            "ray",
            "error: `tune.tasks.time_limit` is given, and Ray's jobs have none\n \
             hint: give `tune.timeout`, after which workers end by themselves"
                .to_owned(),
        ),
        (
            "ray.address = \"ray://head:10001\"",
            "ray",
            "error: Ray's address is `ray://head:10001`\n \
             hint: give that of its dashboard, as http://127.0.0.1:8265"
                .to_owned(),
        ),
        (
            "",
            "kubernetes",
            "error: `tune.tasks.kubernetes.image` is missing\n \
             hint: name an image that holds luthier, and the job unless a claim holds that"
                .to_owned(),
        ),
    ];
    for (settings, cluster, complaint) in cases {
        refused(&desk(settings), cluster, &complaint);
    }
    let typo = desk("parition = \"x\"").luthier(&["tune", "job"]);
    assert!(typo.code == Some(2) && typo.err.contains("unknown field `parition`"), "{typo:?}");

    let program = desk("kubernetes.image = \"ml/mood:1\"");
    program.edit(
        "[tune]",
        "[tune]\nlearners = [\"command\"]\nspace.command.x = { float = [0.0, 1.0] }\n\
         command = { run = [\"sh\", \"train.sh\"] }",
    );
    program.write("job/train.sh", "");
    refused(
        &program,
        "kubernetes",
        "error: a program of `tune.command` has nowhere to write in Kubernetes\n \
         hint: name a claim that holds the job, in `tune.tasks.kubernetes.claim`",
    );
}

#[test]
fn a_cluster_that_is_not_there_is_told() {
    let Some(server) = Postgres::start() else { return };
    let desk = desk("kubernetes.image = \"ml/mood:1\"");
    let tune = |cluster: &str| {
        let mut command =
            desk.command(&["tune", "job", "--on", cluster, "--storage", &server.url()]);
        Outcome::of(command.args(["--address", "http://127.0.0.1:1"]).env("PATH", desk.path("")))
    };
    for (cluster, client) in [("slurm", "sbatch"), ("kubernetes", "kubectl")] {
        tune(cluster).fails(
            2,
            &format!(
                "error: there is no `{client}` here\n hint: call luthier where jobs are submitted, \
                 or see with --print what it would submit"
            ),
        );
    }
    let ray = tune("ray");
    assert_eq!(ray.code, Some(3), "{ray:?}");
    assert!(ray.err.contains("error: http://127.0.0.1:1/api/jobs/: "), "{ray:?}");
}

/// Slurm's commands for an array of two tasks, which run as processes.
const COMMANDS: [(&str, &str); 3] = [
    (
        "sbatch",
        r#"cat > script
for task in 0 1; do
    (sh ./script > job/run/tasks/7_$task.log 2>&1; echo $? > $task.code) > /dev/null 2>&1 &
done
echo 7"#,
    ),
    (
        "squeue",
        r#"for task in 0 1; do
    case $(cat $task.code 2> /dev/null) in
        "") echo "$task RUNNING" ;;
        0) echo "$task COMPLETED" ;;
        *) echo "$task FAILED" ;;
    esac
done"#,
    ),
    ("scancel", "echo \"$@\" > cancelled"),
];

/// Runs `luthier tune` beside [`COMMANDS`].
fn tune_beside_slurm(desk: &Desk, url: &str) -> Outcome {
    for (name, script) in COMMANDS {
        desk.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(desk.path(&format!("bin/{name}")), mode).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", desk.path("bin").display());
    let mut command = desk.command(&["tune", "job", "--on", "slurm", "--storage", url]);
    Outcome::of(command.args(["--tasks", "2"]).env("PATH", path))
}

#[test]
fn tasks_are_followed_to_the_end_of_the_search() {
    let Some(server) = Postgres::start() else { return };
    // Out of reach, so that there is a second round around the best trials of the first.
    let target = ("[tune]", "[objective]\ntarget = 0.99999\n\n[tune]");
    let alone = Desk::with_job();
    alone.edit(target.0, target.1);
    alone.luthier(&["tune", "job"]).ok();
    let trials = |desk: &Desk| {
        let report = desk.json("job/run/tuning.json");
        let trials = report["tuning"]["trials"].as_array().unwrap().iter();
        trials.map(|t| [t["values"].clone(), t["score"].clone()]).collect::<Vec<_>>()
    };
    let desk = desk("");
    desk.edit(target.0, target.1);
    let outcome = tune_beside_slurm(&desk, &server.url());
    for line in [
        "tasks     2 started: Slurm's job 7\n",
        "tasks     2 running\n",
        "tune      6/6 trial ",
        "tune      12/12 trial ",
    ] {
        assert!(outcome.err.contains(line), "{}", outcome.err);
    }
    assert!(outcome.ok().contains("best      trial "));
    assert_eq!(trials(&desk), trials(&alone));
    assert!(!desk.path("cancelled").exists(), "tasks leave by themselves");
    // Nothing is left to do, so nothing is submitted.
    std::fs::remove_file(desk.path("script")).unwrap();
    tune_beside_slurm(&desk, &server.url()).ok();
    assert!(!desk.path("script").exists());
}

#[test]
fn tasks_that_all_fail_end_the_search() {
    let Some(server) = Postgres::start() else { return };
    let desk = desk("job = \"/no/such/job\"");
    let outcome = tune_beside_slurm(&desk, &server.url());
    let log = desk.path("job/run/tasks/7_0.log");
    outcome.fails(
        3,
        &format!(
            "error: all 2 tasks have failed; the last lines of {}:\n    \
             error: /no/such/job: No such file or directory (os error 2)\n     \
             hint: give the path of a luthier.toml or of the folder that holds one",
            log.display()
        ),
    );
}
