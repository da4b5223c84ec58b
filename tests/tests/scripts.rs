//! The scripts in `deploy/`: what they start, what they say when they cannot, and how they end.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::http::{http, http_get};
use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{PATIENCE, eventually, program, project};
use serde_json::{Value, json};

/// Where the programs of this build are.
fn programs() -> anyhow::Result<PathBuf> {
    Ok(program("diffyne-gateway")?.parent().unwrap().to_owned())
}

/// Runs a script to its end, without the environment of this process: its status and what it has printed.
fn run(script: &str, arguments: &[&str], environment: &[(&str, String)]) -> anyhow::Result<(i32, String)> {
    let output = Command::new(project().join("deploy").join(script))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), text.into_owned()))
}

#[test]
fn a_script_that_is_asked_for_help_starts_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let never = folder.path().join("never");
    for (script, words) in [("cluster.sh", "GATEWAY_PORTS"), ("gallery.sh", "NGINX_PORT"), ("install.sh", "PREFIX")] {
        for flag in ["--help", "-h"] {
            let (status, text) = run(script, &[flag], &[("RUN_DIR", never.display().to_string())])?;
            assert!(status == 0 && text.starts_with("usage: ") && text.contains(words), "{script} {flag}: {text}");
        }
        let (status, text) = run(script, &["--no-such-flag"], &[("RUN_DIR", never.display().to_string())])?;
        assert!(status == 2 && text.starts_with("usage: "), "{script}: {text}");
    }
    assert!(!never.exists());
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_named_before_anything_starts() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let run_directory = folder.path().join("run");
    let bin = programs()?.display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.port().to_string();
    let free = free_ports::<6>()?;
    // Redis may run already: the cluster then uses it.
    for (script, settings) in [
        ("cluster.sh", &["GATEWAY_PORTS", "WORKER_PORTS", "NGINX_PORT"][..]),
        ("gallery.sh", &["NGINX_PORT", "GATEWAY_PORT", "WORKER_PORT", "UPLOAD_PORT", "PAGES_PORT"]),
    ] {
        for setting in settings {
            let names = settings.iter().copied().chain(["REDIS_PORT"]);
            let mut environment: Vec<(&str, String)> = names.zip(free.map(|port| port.to_string())).collect();
            environment.push(("RUN_DIR", run_directory.display().to_string()));
            environment.push((*setting, taken.clone()));
            let (status, text) = run(script, &[&bin], &environment)?;
            let told = format!("port {taken} is taken; set {setting}");
            assert!(status == 1 && text.contains(&told), "{script} {setting}: {text}");
        }
    }
    assert!(!run_directory.exists(), "nothing was started");
    // The programs are looked for where cargo was told to put them.
    let missing = folder.path().join("target").display().to_string();
    for script in ["cluster.sh", "gallery.sh"] {
        let (status, text) = run(script, &[], &[("CARGO_TARGET_DIR", missing.clone())])?;
        assert!(status == 1 && text.contains(&format!("no programs in {missing}/release")), "{script}: {text}");
    }
    Ok(())
}

/// `make cluster` in a terminal of its own.
struct Terminal {
    child: Child,
    log: PathBuf,
}

impl Terminal {
    fn start(folder: &Path, command: &str, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let log = folder.join("terminal.log");
        let output = std::fs::File::create(&log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "script", "-qefc", command, "/dev/null"])
            .current_dir(project())
            // `make test` tells the makes within it to name their directories.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { child, log })
    }

    fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn press_ctrl_c(&mut self) -> anyhow::Result<()> {
        Ok(self.child.stdin.as_mut().unwrap().write_all(b"\x03")?)
    }

    fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        let until = std::time::Instant::now() + PATIENCE + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            anyhow::ensure!(std::time::Instant::now() < until, "it does not end: {}", self.output());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Usually it has ended: then there is nobody to tell.
        let _ = self.press_ctrl_c();
        let _ = self.wait();
    }
}

/// A number that the page shows.
async fn figure(tab: &mut Tab, id: &str) -> anyhow::Result<u64> {
    Ok(tab.text(&format!("#{id}")).await?.parse()?)
}

/// Waits until as many calls more have been answered.
async fn wait_for_answers(tab: &mut Tab, more: u64) -> anyhow::Result<()> {
    let now = figure(tab, "answered").await?;
    tab.wait_for(&format!("Number(document.getElementById('answered').textContent) >= {}", now + more)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn make_cluster_starts_again_what_its_page_kills_and_ends_cleanly() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [g1, g2, g3, w1, w2, d1, d2, nginx, redis] = free_ports()?;
    let environment = [
        ("GATEWAY_PORTS", format!("{g1} {g2} {g3}")),
        ("WORKER_PORTS", format!("{w1} {w2}")),
        ("DEMO_PORTS", format!("{d1} {d2}")),
        ("NGINX_PORT", nginx.to_string()),
        ("REDIS_PORT", redis.to_string()),
        ("RUN_DIR", folder.path().join("run").display().to_string()),
    ];
    // Without building: the programs of this build are there.
    let command = format!("make -o build cluster PROGRAMS={}", programs()?.display());
    let mut terminal = Terminal::start(folder.path(), &command, &environment)?;
    eventually("the table is shown", || terminal.output().contains("Ctrl-C stops what was started"))
        .with_context(|| terminal.output())?;
    for port in [g1, g2, g3, nginx] {
        let health: Value = serde_json::from_str(&http_get(port, "/health")?.body)?;
        assert_eq!((&health["status"], &health["workers"]), (&json!("ok"), &json!(2)));
    }
    // Other sites cannot use the buttons.
    for headers in ["Host: 127.0.0.1", "Host: evil.test\r\nX-Diffyne-Demo: 1"] {
        let request = format!(
            "POST /demo/kill HTTP/1.1\r\n{headers}\r\nContent-Length: 12\r\nConnection: close\r\n\r\nworker-{w1}"
        );
        let request =
            request.replace("Content-Length: 12", &format!("Content-Length: {}", format!("worker-{w1}").len()));
        assert_eq!(http(nginx, &request)?.status, 403, "{headers}");
    }

    let browser = Browser::start()?;
    let mut tab = browser.open(&format!("http://127.0.0.1:{nginx}/")).await?;
    tab.wait_for("document.getElementById('gateway').textContent.startsWith('127.0.0.1:')").await?;
    wait_for_answers(&mut tab, 3).await?;
    let first = tab.text("#gateway").await?;
    tab.click("#kill-gateway").await?;
    let again = tab.wait_for("document.getElementById('events').textContent.includes('connected again')").await;
    let events = tab.text("#events").await?;
    again.with_context(|| format!("the page says {events}; {}", terminal.output()))?;
    let port = first.split(':').next_back().unwrap_or_default().to_owned();
    let killed = format!("gateway-{port} was killed by SIGKILL; it is started again");
    eventually("the script names it", || terminal.output().contains(&killed))?;
    wait_for_answers(&mut tab, 3).await?;

    tab.click(&format!("[data-kill=worker-{w1}]")).await?;
    let killed = format!("worker-{w1} was killed by SIGKILL; it is started again");
    eventually("the script names it", || terminal.output().contains(&killed))?;
    wait_for_answers(&mut tab, 3).await?;
    eventually("all is as before", || {
        [g1, g2, g3].iter().all(|port| {
            let health = http_get(*port, "/health").and_then(|health| health.json());
            health.is_ok_and(|health| health["status"] == "ok" && health["workers"] == 2)
        })
    })?;
    let (sent, answered, failed) =
        (figure(&mut tab, "sent").await?, figure(&mut tab, "answered").await?, figure(&mut tab, "failed").await?);
    assert!(failed <= 3 && answered + failed + 22 >= sent, "{sent} sent, {answered} answered, {failed} failed");
    assert_eq!(tab.errors, Vec::<String>::new());

    terminal.press_ctrl_c()?;
    assert_eq!(terminal.wait()?, Some(0), "{}", terminal.output());
    let output = terminal.output();
    assert!(output.trim_end().ends_with(&format!("stopped; logs are in {}/run", folder.path().display())), "{output}");
    assert!(
        !output.contains("make: ***")
            && !output.contains("unbound")
            && !output.contains("cluster.sh: line")
            && !output.contains("No such"),
        "{output}"
    );
    for port in [g1, g2, g3, w1, w2, nginx, redis] {
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "{port} is still open");
    }
    Ok(())
}
