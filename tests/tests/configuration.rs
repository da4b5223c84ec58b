//! Settings that are wrong: a program says which, where and what to do, before it serves.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use diffyne_tests::ports::free_ports;
use diffyne_tests::process::{Process, program, project, wait_for_port};

/// Runs a program to its end, without the environment of this one; whether it was content, and what it printed.
fn run(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<(bool, String)> {
    let output = Command::new(program(name)?)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(std::env::temp_dir())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok((output.status.success(), text.into_owned()))
}

#[test]
fn a_worker_runs_the_demo_only_when_it_is_told_to() -> anyhow::Result<()> {
    let key = ["--signing-key", "k"];
    for command in ["serve", "check-config"] {
        let (fine, text) = run("diffyne-worker", &[&[command], &key[..]].concat(), &[])?;
        assert!(!fine && text.contains("--app /var/www/app") && text.contains("--demo"), "{command}: {text}");
    }
    for components in [
        &["--app", "/nowhere"][..],
        &["--backend-url", "http://127.0.0.1:1"],
        &["--fastcgi", "127.0.0.1:1", "--fastcgi-script", "/index.php"],
        &["--demo"],
        &["--demo", "true"],
    ] {
        let (fine, text) = run("diffyne-worker", &[&["check-config"], &key[..], components].concat(), &[])?;
        assert!(fine, "{components:?}: {text}");
    }
    let (fine, text) =
        run("diffyne-worker", &["check-config", "--signing-key", "k", "--demo", "--app", "/nowhere"], &[])?;
    assert!(!fine && text.contains("DIFFYNE_DEMO = `true` (flag) is not allowed"), "{text}");
    // A program of somebody else's has components of its own.
    let (fine, text) = run("test-worker", &["check-config", "--signing-key", "k"], &[])?;
    assert!(fine, "{text}");
    Ok(())
}

#[test]
fn the_programs_under_supervisor_serve_the_application_that_they_name() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let app = folder.path().join("app").display().to_string();
    std::fs::create_dir(&app)?;
    std::fs::write(Path::new(&app).join(".env"), "APP_KEY=base64:aGVsbG8=\n")?;
    let config = project().join("deploy/diffyne.toml.example").display().to_string();
    let example = std::fs::read_to_string(project().join("deploy/supervisor/diffyne.conf"))?;
    let commands: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix("command=/usr/bin/")).collect();
    assert_eq!(commands.len(), 2);
    for command in commands {
        let command = command.replace("/var/www/app", &app).replace("/etc/diffyne/diffyne.toml", &config);
        let command = command.replace("%(process_num)d", "1").replacen(" serve ", " check-config ", 1);
        let mut words = command.split(' ');
        let name = words.next().unwrap_or_default();
        let (fine, text) = run(name, &words.collect::<Vec<_>>(), &[])?;
        assert!(fine, "{command}: {text}");
        assert!(text.contains("APP_KEY") && text.contains(&format!("{app}/.env")), "{text}");
        assert!(name != "diffyne-worker" || text.lines().any(|line| line.starts_with("DIFFYNE_APP ")), "{text}");
    }
    Ok(())
}

#[test]
fn doctor_tells_a_demo_from_an_application() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [port, admin] = free_ports()?;
    let listen = format!("127.0.0.1:{port}");
    let _worker = Process::start("demo", folder.path(), &program("diffyne-worker")?, |command| {
        command.args(["serve", "--demo", "--signing-key", "k", "--worker-listen", &listen]);
        command.args(["--worker-admin-listen", &format!("127.0.0.1:{admin}")]);
        command.arg("--database").arg(folder.path().join("d.sqlite"));
    })?;
    wait_for_port(port)?;
    let env_file = folder.path().join(".env");
    std::fs::write(&env_file, "APP_KEY=k\n")?;
    let env_file = env_file.display().to_string();
    let flags = ["doctor", "--workers", &listen, "--listen", "127.0.0.1:0"];
    let finding = |text: &str| -> String {
        let line = text.lines().find(|line| line.contains("runs the demo's components"));
        line.unwrap_or_default().to_owned()
    };
    let (fine, text) = run("diffyne-gateway", &[&flags[..], &["--env-file", &env_file]].concat(), &[])?;
    assert!(!fine && finding(&text).starts_with("BAD "), "{text}");
    assert!(finding(&text).contains("--app"), "{text}");
    let (_, text) = run("diffyne-gateway", &flags, &[])?;
    assert!(finding(&text).starts_with("note "), "{text}");
    Ok(())
}

#[test]
fn whatever_is_wrong_check_config_says_it_as_serve_does() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a-file").display().to_string();
    std::fs::write(&file, "no certificate")?;
    let (gateway, worker) = ("diffyne-gateway", "diffyne-worker");
    let common = ["--signing-key", "k"];
    for (name, setting, flags) in [
        (gateway, "DIFFYNE_WS_CORS_ORIGINS", &["--ws-cors-origins", "shop.example"][..]),
        (gateway, "DIFFYNE_WS_CORS_ORIGINS", &["--ws-cors-origins", "https://shop.example/app"]),
        (gateway, "DIFFYNE_WORKER_TLS_CA", &["--worker-tls-ca", "/nowhere.pem"]),
        (gateway, "DIFFYNE_WORKER_TLS_CA", &["--worker-tls-ca", &file]),
        (gateway, "DIFFYNE_UPLOAD_CA", &["--upload-url", "https://a.test", "--upload-ca", &file]),
        (gateway, "DIFFYNE_REDIS_URL", &["--redis-url", "redis+sentinel://127.0.0.1"]),
        (gateway, "DIFFYNE_REDIS_URL", &["--redis-url", "redis://127.0.0.1:port"]),
        (gateway, "DIFFYNE_REDIS_CA", &["--redis-url", "rediss://127.0.0.1", "--redis-ca", "/nowhere.pem"]),
        (gateway, "DIFFYNE_REDIS_CA", &["--redis-url", "rediss://127.0.0.1", "--redis-ca", &file]),
        // A slash ends the host, and with it the password.
        (gateway, "%2F", &["--redis-url", "redis://:a/b@127.0.0.1"]),
        (gateway, "DIFFYNE_LOG_DIR", &["--log-dir", &file]),
        // A word of Laravel's, which as a target would switch all other lines off.
        (gateway, "DIFFYNE_LOG", &["--log", "warning"]),
        (gateway, "DIFFYNE_LOG", &["--log", "loud=very=much"]),
        (gateway, "DIFFYNE_CALL_TIMEOUT", &["--call-timeout", "0s"]),
        (gateway, "DIFFYNE_STATUS_KEY", &["--status-key", "x"]),
        (gateway, &file, &["--config", &file]),
        (gateway, "/nowhere.env", &["--env-file", "/nowhere.env"]),
        (worker, "DIFFYNE_WORKER_TLS_CERT", &["--demo", "--worker-tls-cert", &file, "--worker-tls-key", &file]),
        (worker, "DIFFYNE_REDIS_URL", &["--demo", "--redis-url", "redis+cluster://"]),
        (worker, "DIFFYNE_LOG_DIR", &["--demo", "--log-dir", &file]),
        (worker, "DIFFYNE_PHP_PROCESSES_MAX", &["--app", "/x", "--php-processes", "5", "--php-processes-max", "2"]),
        (worker, "DIFFYNE_WORKER_LISTEN", &["--demo", "--worker-listen", "7001"]),
    ] {
        for command in ["check-config", "serve"] {
            let (fine, text) = run(name, &[&[command], &common[..], flags].concat(), &[])?;
            assert!(!fine && text.contains(setting), "{name} {command} {flags:?}: {text}");
        }
    }
    // Whether an address is free shows only at the start; the setting is named there, too.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    for (name, setting, flags) in [
        (gateway, "DIFFYNE_LISTEN", &["--listen", &taken][..]),
        (gateway, "DIFFYNE_ADMIN_LISTEN", &["--listen", "127.0.0.1:0", "--admin-listen", &taken]),
        (worker, "DIFFYNE_WORKER_LISTEN", &["--demo", "--worker-listen", &taken]),
        (
            worker,
            "DIFFYNE_WORKER_ADMIN_LISTEN",
            &["--demo", "--worker-listen", "127.0.0.1:0", "--worker-admin-listen", &taken],
        ),
        (
            worker,
            "DIFFYNE_DATABASE",
            &["--demo", "--worker-listen", "127.0.0.1:0", "--database", "/proc/none/d.sqlite"],
        ),
    ] {
        let (fine, text) = run(name, &[&["serve"], &common[..], flags].concat(), &[])?;
        assert!(!fine && text.contains(setting), "{name} {flags:?}: {text}");
    }
    Ok(())
}

#[test]
fn who_only_asks_a_worker_needs_no_key_and_what_is_no_text_in_the_environment_is_in_nobodys_way() -> anyhow::Result<()>
{
    for command in ["ps", "top", "ready", "reload"] {
        let output = Command::new(program("diffyne-worker")?)
            .args([command, "--worker-admin-listen", "127.0.0.1:1"])
            .env_clear()
            .env("LS_COLORS", OsStr::from_bytes(b"\xff"))
            .output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let told = if command == "ready" { "nothing answers at 127.0.0.1:1" } else { "DIFFYNE_ADMIN_TOKEN is not set" };
        assert!(output.status.code() == Some(1) && text.contains(told), "{command}: {text}");
    }
    Ok(())
}

#[test]
fn a_mistyped_name_is_told_wherever_it_stands() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (toml, env) = (folder.path().join("d.toml"), folder.path().join("app.env"));
    std::fs::write(&toml, "ws_prot = 1\n")?;
    // The package's own names, and the application's, are no mistakes.
    std::fs::write(&env, "DIFFYNE_WS_PROT=1\nDIFFYNE_TRANSPORT=websocket\nDIFFYNE_FILE_DISK=local\n")?;
    let (toml, env) = (toml.display().to_string(), env.display().to_string());
    for (name, rest) in [("diffyne-gateway", &[][..]), ("diffyne-worker", &["--demo", "--signing-key", "k"])] {
        let check = |flags: &[&str], environment: &[(&str, &str)]| {
            run(name, &[&["check-config"], rest, flags].concat(), environment)
        };
        let (fine, text) = check(&[], &[("DIFFYNE_WS_PROT", "1"), ("DIFFYNE_OWN", "1")])?;
        let told = "DIFFYNE_WS_PROT (environment) has no effect, because there is no such setting; did you mean DIFFYNE_WS_PORT?";
        assert!(fine && text.contains(told) && text.matches("has no effect").count() == 1, "{text}");
        let (fine, text) = check(&["--env-file", &env], &[])?;
        let told = format!("DIFFYNE_WS_PROT ({env}) has no effect");
        assert!(fine && text.contains(&told) && text.matches("has no effect").count() == 1, "{text}");
        // So is a secret that can be guessed, which is not shown.
        let (fine, text) = check(&[], &[("DIFFYNE_WORKER_TOKEN", "hunter2")])?;
        let told = "DIFFYNE_WORKER_TOKEN (environment) is shorter than 16 bytes and can be guessed; this makes a good one: openssl rand -hex 32";
        assert!(fine && text.contains(told) && !text.contains("hunter2"), "{text}");
        let (fine, text) = check(&["--config", &toml], &[])?;
        assert!(!fine && text.contains("there is no setting `ws_prot`; did you mean `ws_port`?"), "{text}");
    }
    let environment = [("DIFFYNE_WS_PROT", "1"), ("DIFFYNE_ADMIN_TOKEN", "hunter2")];
    let (_, text) = run("diffyne-gateway", &["doctor", "--listen", "127.0.0.1:0"], &environment)?;
    for words in ["DIFFYNE_WS_PROT", "DIFFYNE_ADMIN_TOKEN (environment) is shorter than 16 bytes"] {
        assert!(text.lines().any(|line| line.starts_with("note  settings") && line.contains(words)), "{text}");
    }
    Ok(())
}

#[test]
fn a_program_without_admin_pages_says_so() -> anyhow::Result<()> {
    let worker = ["check-config", "--demo", "--signing-key", "k", "--worker-listen"];
    for (name, flags, listen) in [
        ("diffyne-gateway", &["check-config", "--listen"][..], "127.0.0.1:60000"),
        ("diffyne-gateway", &["check-config", "--listen"], "unix:/tmp/g.sock"),
        ("diffyne-worker", &worker, "127.0.0.1:55536"),
    ] {
        let (fine, text) = run(name, &[flags, &[listen]].concat(), &[])?;
        assert!(fine && text.contains("there are no admin pages"), "{name} {listen}: {text}");
        assert!(text.contains("ADMIN_LISTEN is not set"), "{text}");
    }
    let (fine, text) = run("diffyne-gateway", &["check-config", "--listen", "127.0.0.1:55535"], &[])?;
    assert!(fine && !text.contains("there are no admin pages"), "{text}");
    Ok(())
}
