//! The Debian package and its systemd units, installed, run and removed on a machine of their own: namespaces in which
//! systemd is the first process, with PHP and Laravel.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::process::{Process, eventually, program, project};
use serde_json::Value;

/// A machine on which systemd runs.
struct Machine {
    folder: tempfile::TempDir,
    /// The process of systemd, as this machine counts.
    first: u32,
    process: Process,
}

impl Machine {
    fn boot(laravel_root: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let inside = folder.path().join("machine");
        std::fs::create_dir(&inside)?;
        let flags = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--net", "--kill-child"];
        let process = Process::start("machine", folder.path(), &PathBuf::from("unshare"), |command| {
            command.args(flags).arg(project().join("tests/systemd-root.sh")).arg(&inside).arg(laravel_root);
        })?;
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        // The script becomes systemd: what it has made can be seen through it alone.
        let first = || -> Option<u32> {
            let child = std::fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            Path::new(&format!("/proc/{child}/root/run/systemd/private")).exists().then_some(child)
        };
        eventually("systemd runs", || first().is_some()).with_context(|| process.output())?;
        let machine = Self { first: first().context("systemd has ended")?, folder, process };
        eventually("the machine has booted", || {
            machine.run(&["systemctl", "is-system-running"]).is_ok_and(|state| state.trim() == "running")
        })
        .with_context(|| machine.process.output())?;
        Ok(machine)
    }

    /// A file of the machine, as this one sees it.
    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{file}", self.first))
    }

    fn command(&self, namespaces: &[&str], command: &[&str]) -> anyhow::Result<Output> {
        let first = self.first.to_string();
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &first]).args(namespaces).args(command).stdin(Stdio::null());
        Ok(nsenter.output()?)
    }

    /// Runs a program there; what it has printed. The error is what it has complained of.
    fn run(&self, command: &[&str]) -> anyhow::Result<String> {
        let output = self.command(&["-a", "-r", "-w"], command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    /// Asks a server there, by this machine's curl.
    fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(&["-n"], &[&["curl", "-s", "-m", "5"], arguments].concat())?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What units have said.
    fn journal(&self) -> String {
        self.run(&["journalctl", "--no-pager", "-o", "cat", "-u", "diffyne-*"]).unwrap_or_default()
    }
}

/// Packs the programs of this build.
fn package(folder: &Path) -> anyhow::Result<PathBuf> {
    let programs = program("diffyne-gateway")?.parent().context("no folder")?.to_owned();
    let made = Command::new(project().join("deploy/install.sh"))
        .args(["deb".as_ref(), programs.as_os_str()])
        .env("OUTPUT", folder)
        .env("DEB_LEVEL", "0")
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let entries = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    entries.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb")).context("no package")
}

/// The application of the tests, where the units expect one.
fn put_application(machine: &Machine, laravel: &Laravel) -> anyhow::Result<()> {
    let to = machine.path("/var/www/app");
    let copied = Command::new("cp").arg("-rT").arg(laravel.path("")).arg(&to).status()?;
    ensure!(copied.success(), "the application was not copied");
    machine.run(&["chown", "-R", "root:www-data", "/var/www/app"])?;
    for folder in ["storage", "bootstrap/cache", "database"] {
        machine.run(&["chown", "-R", "www-data:www-data", &format!("/var/www/app/{folder}")])?;
    }
    Ok(())
}

/// An AJAX call of a component through a gateway.
fn call(
    machine: &Machine,
    gateway: u16,
    class: &str,
    method: &str,
    params: &str,
    state: &str,
) -> anyhow::Result<Value> {
    let class = class.replace('\\', "\\\\");
    let body = format!(
        r#"{{"type":"call","componentId":"diffyne-s","componentClass":"{class}","method":"{method}","params":{params},"state":{state}}}"#
    );
    let url = format!("http://127.0.0.1:{gateway}/_diffyne/update");
    let text = machine.ask(&[&url, "-H", "Content-Type: application/json", "-d", &body])?;
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text}; {}", machine.journal()))
}

const PROBE: &str = "App\\Diffyne\\Probe";
const PROBE_STATE: &str = r#"{"text":"","user":null,"seen":[]}"#;
const SETTINGS: &str = "DIFFYNE_APP=/var/www/app\nDIFFYNE_WORKERS=127.0.0.1:7001,127.0.0.1:7002\nDIFFYNE_PHP_PROCESSES=1\n\
     DIFFYNE_LOG_DIR=/var/log/diffyne\nDIFFYNE_WS_KEY=first\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_debian_package_runs_an_application_under_systemd_and_goes_without_a_trace() -> anyhow::Result<()> {
    let laravel = Laravel::new()?;
    let root = laravel.path("").join("../..").canonicalize()?;
    let machine = Machine::boot(&root)?;
    let deb = package(machine.folder.path())?;
    std::fs::copy(&deb, machine.path("/tmp/diffyne.deb"))?;
    machine.run(&["dpkg", "--force-unsafe-io", "-i", "/tmp/diffyne.deb"])?;
    assert!(machine.run(&["id", "diffyne"])?.contains("(diffyne)"));
    let owner = machine.run(&["stat", "-c", "%U:%G %a", "/etc/diffyne/diffyne.env"])?;
    assert_eq!(owner.trim(), "root:diffyne 640");

    // What the package says of itself is enough: its settings, the application's .env, and nothing else.
    put_application(&machine, &laravel)?;
    std::fs::write(machine.path("/etc/diffyne/diffyne.env"), SETTINGS)?;
    let units = ["diffyne-worker@7001", "diffyne-worker@7002", "diffyne-gateway@6001.socket", "diffyne-gateway@6001"];
    let units = [&units[..], &["diffyne-gateway@6002.socket", "diffyne-gateway@6002"]].concat();
    machine.run(&[&["systemctl", "start"], &units[..]].concat())?;
    for worker in ["17001", "17002"] {
        let ready = || machine.ask(&[&format!("http://127.0.0.1:{worker}/ready")]).unwrap_or_default();
        eventually("the application has booted", || ready() == r#"{"ready":true}"#)
            .with_context(|| format!("{}\n{}", ready(), machine.journal()))?;
    }
    for gateway in ["6001", "6002"] {
        let health = || machine.ask(&[&format!("http://127.0.0.1:{gateway}/health")]).unwrap_or_default();
        eventually("the gateway reaches both", || health().contains(r#""workers":2"#))
            .with_context(|| format!("{}\n{}", health(), machine.journal()))?;
    }
    // Calls run as PHP's user: they write where PHP writes, compile regular expressions, and start no process in vain.
    for gateway in [6001, 6002, 6001, 6002] {
        let answer = call(&machine, gateway, PROBE, "say", r#"["through systemd"]"#, PROBE_STATE)?;
        assert_eq!(answer["c"]["st"]["text"], "through systemd", "{answer}");
    }
    let written = machine.run(&["find", "/var/www/app/storage/framework", "-user", "www-data", "-type", "f"])?;
    assert!(written.lines().count() > 0, "sessions and views are written: {written}");
    // Programs of two users and four names share one directory.
    let logs = machine.run(&["ls", "/var/log/diffyne"])?;
    assert_eq!(logs.lines().filter(|name| name.starts_with("diffyne-")).count(), 4, "{logs}");
    let log = machine.run(&["sh", "-c", "cat /var/log/diffyne/*.log"])?;
    assert!(!log.contains("JIT") && !log.contains("Permission denied") && !log.contains("ERROR"), "{log}");

    // A reload reads the changed file.
    let handshake = |key: &str| -> anyhow::Result<String> {
        let headers = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
        let mut arguments = vec!["-o", "/dev/null", "-w", "%{http_code}", "-m", "1"];
        let key = format!("http://127.0.0.1:6001/?key={key}");
        arguments.push(&key);
        for header in headers.iter().chain(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]) {
            arguments.extend(["-H", *header]);
        }
        machine.ask(&arguments)
    };
    assert_eq!((handshake("first")?.as_str(), handshake("second")?.as_str()), ("101", "401"));
    std::fs::write(machine.path("/etc/diffyne/diffyne.env"), SETTINGS.replace("first", "second"))?;
    machine.run(&["systemctl", "reload", "diffyne-gateway@6001", "diffyne-worker@7001"])?;
    eventually("the new key counts", || handshake("second").is_ok_and(|status| status == "101"))?;
    assert_eq!(handshake("first")?, "401");
    // What dies is started again, however often.
    let limit = machine.run(&["systemctl", "show", "-P", "StartLimitIntervalUSec", "diffyne-gateway@6002"])?;
    assert_eq!(limit.trim(), "0");
    let served_by = || machine.run(&["systemctl", "show", "-P", "MainPID", "diffyne-gateway@6002"]);
    let before = served_by()?;
    machine.run(&["systemctl", "kill", "-s", "KILL", "diffyne-gateway@6002"])?;
    eventually("another process serves", || {
        let health = machine.ask(&["http://127.0.0.1:6002/health"]).unwrap_or_default();
        health.contains("status") && served_by().is_ok_and(|now| now != before)
    })?;

    // Workers that stop finish their calls, and systemd leaves PHP alone until then.
    let running = |admin: &str| {
        let metrics = machine.ask(&[&format!("http://127.0.0.1:{admin}/metrics")]).unwrap_or_default();
        metrics.contains("\ndiffyne_worker_calls_running 1\n")
    };
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| call(&machine, 6001, PROBE, "wait", "[2000]", PROBE_STATE));
        eventually("the call runs", || running("17001") || running("17002"))?;
        machine.run(&["systemctl", "stop", "diffyne-worker@7001", "diffyne-worker@7002"])?;
        answer.join().map_err(|_| anyhow::anyhow!("the call panicked"))?
    })?;
    assert!(answer["c"]["st"]["text"].is_string(), "{answer}; {}", machine.journal());

    machine.run(&[&["systemctl", "stop"], &units[..]].concat())?;
    machine.run(&["dpkg", "--force-unsafe-io", "-r", "diffyne"])?;
    assert!(!machine.path("/usr/bin/diffyne-gateway").exists());
    assert!(machine.path("/etc/diffyne/diffyne.env").exists(), "settings are kept until they are purged");
    machine.run(&["dpkg", "--force-unsafe-io", "-P", "diffyne"])?;
    let left = machine.run(&[
        "sh",
        "-c",
        "find / -xdev -name '*diffyne*' -not -path '/proc/*' -not -path '/var/www/*' \
         -not -path '/srv/*' -not -path '/tmp/*' -not -path '/run/*' -not -path '/var/log/journal/*'",
    ])?;
    assert_eq!(left.trim(), "", "nothing is left");
    Ok(())
}

#[test]
fn an_installation_below_a_prefix_has_programs_units_and_examples_and_can_be_removed() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = program("diffyne-gateway")?.parent().context("no folder")?.to_owned();
    let run = |what: &str| -> anyhow::Result<()> {
        let output = Command::new(project().join("deploy/install.sh"))
            .args([what.as_ref(), programs.as_os_str()])
            .env("DESTDIR", folder.path())
            .env("PREFIX", "/opt/diffyne")
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    run("install")?;
    let path = |file: &str| folder.path().join(file);
    let unit = std::fs::read_to_string(path("etc/systemd/system/diffyne-worker@.service"))?;
    assert!(
        unit.contains("ExecStart=/opt/diffyne/bin/diffyne-worker serve --env-file /etc/diffyne/diffyne.env"),
        "{unit}"
    );
    assert!(!unit.contains("/usr/local"), "{unit}");
    let version = Command::new(path("opt/diffyne/bin/diffyne-worker")).arg("--version").output()?;
    assert!(version.status.success());
    assert!(path("opt/diffyne/share/doc/diffyne/examples/nginx/tls.conf").is_file());
    // The settings of an administrator stay as they are.
    std::fs::write(path("etc/diffyne/diffyne.env"), "DIFFYNE_WS_KEY=mine\n")?;
    run("install")?;
    assert_eq!(std::fs::read_to_string(path("etc/diffyne/diffyne.env"))?, "DIFFYNE_WS_KEY=mine\n");
    run("uninstall")?;
    let left = Command::new("find").arg(folder.path()).args(["-type", "f"]).output()?;
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert_eq!(left.trim(), path("etc/diffyne/diffyne.env").display().to_string());
    Ok(())
}

#[test]
fn the_page_for_a_laravel_application_leads_from_a_clone_to_a_broadcast_in_two_browsers() -> anyhow::Result<()> {
    let programs = program("diffyne-gateway")?.parent().context("no folder")?.to_owned();
    let script = project().join("tests/ten-minutes.sh");
    let output = Command::new(script).arg(&programs).env("DEB_LEVEL", "0").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let steps =
        ["build: make deb", "server: apt-get install", "server: systemctl enable", "a broadcast in two browsers"];
    for step in steps {
        assert!(text.lines().any(|line| line.contains(step)), "no {step}: {text}");
    }
    Ok(())
}
