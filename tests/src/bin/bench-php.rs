//! `bench-php`: calls of a Laravel application through gateway and worker, by each backend, beside bare loops that run
//! the same call in two PHP processes. All on this machine, in alternating rounds; read the ratios.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Arg, Command as Cli};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::laravel::{Laravel, Way};
use diffyne_tests::load::{self, Load, Measured};
use diffyne_tests::process::project;
use diffyne_tests::recorded::APP_KEY;

/// What a PHP process on the command line is told: as the pool's default, and the same with JIT.
const INI: [(&str, &[&str]); 2] = [
    ("opcache", &["opcache.enable_cli=1", "memory_limit=512M"]),
    (
        "opcache and JIT",
        &["opcache.enable_cli=1", "memory_limit=512M", "opcache.jit=tracing", "opcache.jit_buffer_size=64M"],
    ),
];
const METHODS: [(&str, &str); 3] =
    [("touch", "a call that leaves the session alone"), ("read", "one that reads it"), ("write", "one that writes it")];
const CONNECTIONS: usize = 8;

/// Session files in memory, for the loops and the pools alike. Undone at the end.
struct SessionsInMemory(PathBuf);

impl SessionsInMemory {
    fn of(laravel: &Laravel) -> anyhow::Result<Self> {
        let folder = laravel.path("storage/framework/sessions");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&folder).status()?;
        ensure!(mounted.success(), "cannot mount a tmpfs on {}: this needs root", folder.display());
        Ok(Self(folder))
    }
}

impl Drop for SessionsInMemory {
    fn drop(&mut self) {
        // The PHP processes that looked at it are gone, or let go soon.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The loops' script: the bridge and its sandbox without their last statement, and the loops.
fn write_loops(laravel: &Laravel) -> anyhow::Result<()> {
    let read = |file: &str| std::fs::read_to_string(project().join(file));
    let part = |file: &str| read(&format!("worker/src/backend/php/{file}"));
    let main = part("loop.php")?;
    let end = main.find("    (static function (): void {").context("loop.php has no last statement")?;
    let parts = [
        part("sandbox.php")?,
        part("fast_path.php")?,
        format!("{}}}\n", &main[..end]),
        read("tests/data/loops/loops.php")?,
    ];
    let mut script = read("deploy/php/diffyne-bridge.php")?;
    for part in &parts {
        script += part.trim_start_matches("<?php");
    }
    std::fs::write(laravel.path("loops.php"), script)?;
    std::fs::write(laravel.path("classes.php"), part("session.php")?.trim_start_matches("<?php"))?;
    Ok(())
}

/// Two processes side by side in a bare loop: calls a second, of both.
fn two_loops(laravel: &Laravel, ini: &[&str], which: &str, method: &str, seconds: u64) -> anyhow::Result<f64> {
    let command = laravel.command();
    let words: Vec<&str> = command.split(' ').collect();
    let directory = &laravel.directory;
    let mut children = Vec::new();
    for _ in 0..2 {
        let mut php = Command::new(words[0]);
        php.args(&words[1..]);
        for setting in ini {
            php.args(["-d", setting]);
        }
        php.args([&format!("{directory}/loops.php"), directory, which, method, &seconds.to_string()]);
        php.arg(format!("{directory}/classes.php")).stdout(Stdio::piped());
        children.push(php.spawn()?);
    }
    let mut rate = 0.0;
    for child in children {
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "the loop {which} {method} failed: {text}");
        let mut numbers = text.split_whitespace().filter_map(|number| number.parse::<f64>().ok());
        let (calls, spent) = (numbers.next().context("no calls")?, numbers.next().context("no time")?);
        rate += calls / spent;
    }
    Ok(rate)
}

fn through(
    cluster: &Cluster,
    cookies: &[String],
    method: &str,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<Measured> {
    let message = format!(
        r#"{{"event":"diffyne.call","data":{{"type":"call","componentId":"diffyne-bench","componentClass":"App\\Diffyne\\Bench","method":"{method}","params":[],"state":{{"count":1}},"fingerprint":"","signature":"","requestId":"r"}}}}"#
    );
    load::run(&Load {
        target: SocketAddr::from(([127, 0, 0, 1], cluster.gateways[0].port)),
        connections,
        duration: Duration::from_secs(seconds),
        message,
        greetings: 1,
        headers: String::new(),
        own_headers: cookies.iter().map(|cookie| format!("Cookie: {cookie}\r\n")).collect(),
        threads: 1,
    })
}

/// CPU seconds so far: of the application's PHP processes, of the worker and of the gateway.
fn cpu(laravel: &Laravel, cluster: &Cluster) -> anyhow::Result<[f64; 3]> {
    let folder = laravel.directory.trim_start_matches('/').to_owned();
    let of_php = |pid: &std::path::Path| std::fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd.ends_with(&folder));
    let nanos: u64 = std::fs::read_dir("/proc")?
        .flatten()
        .filter(|entry| of_php(&entry.path()))
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Ok([nanos as f64 / 1e9, cluster.workers[0].process.cpu_seconds()?, cluster.gateways[0].process.cpu_seconds()?])
}

/// What a call costs each of them, in microseconds, beside its rate.
fn costs(
    laravel: &Laravel,
    cluster: &Cluster,
    run: impl FnOnce() -> anyhow::Result<Measured>,
) -> anyhow::Result<(f64, [f64; 3])> {
    let before = cpu(laravel, cluster)?;
    let measured = run()?;
    let (after, calls) = (cpu(laravel, cluster)?, measured.answers as f64);
    Ok((measured.rate(), std::array::from_fn(|index| (after[index] - before[index]) * 1e6 / calls)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A cookie of a user who has been here before; each connection is one of its own.
fn cookie(laravel: &Laravel) -> anyhow::Result<String> {
    let code = "$s = app('session')->driver(); $s->start(); $s->put('uid', 'ada'); $s->save(); $e = app('encrypter'); \
         $v = $e->encrypt(Illuminate\\Cookie\\CookieValuePrefix::create($s->getName(), $e->getKey()).$s->getId(), false); \
         echo $s->getName(), '=', rawurlencode($v);";
    laravel.tinker(&[], code)
}

fn main() -> anyhow::Result<()> {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(clap::value_parser!(u64)).help(help)
    };
    let matches = Cli::new("bench-php")
        .about("Measures the PHP backends beside bare loops in two PHP processes")
        .after_help(
            "A: the package's endpoint through the kernel, nothing reset between calls. R: the bridge through the kernel, in a \
             fresh sandbox for each call. D: the package's classes alone. All with two processes, as the pool and php-fpm. \
             Sessions are files, as in a fresh Laravel. Run it as root on a quiet machine.",
        )
        .arg(number("rounds", "3", "Alternating rounds"))
        .arg(number("seconds", "3", "Seconds a run"))
        .arg(Arg::new("tmpfs").long("tmpfs").action(clap::ArgAction::SetTrue).help("Session files on a tmpfs"))
        .arg(Arg::new("loops").long("loops").action(clap::ArgAction::SetTrue).help("The bare loops alone, S (the bridge the short way) as well"))
        .arg(Arg::new("kernel").long("kernel").action(clap::ArgAction::SetTrue).help("Only the pool by the kernel beside two R loops"))
        .get_matches();
    let get = |name| matches.get_one::<u64>(name).copied().unwrap_or_default();
    let (rounds, seconds) = (get("rounds"), get("seconds"));
    let laravel = Laravel::new()?;
    laravel.load_bridge()?;
    let _sessions = matches.get_flag("tmpfs").then(|| SessionsInMemory::of(&laravel)).transpose()?;
    write_loops(&laravel)?;
    let cookies: Vec<String> = (0..CONNECTIONS).map(|_| cookie(&laravel)).collect::<anyhow::Result<_>>()?;
    if matches.get_flag("loops") {
        for (ini_name, ini) in INI {
            for (method, what) in METHODS {
                print!("{ini_name}, {what}:");
                for which in ["A", "R", "S", "D"] {
                    let rate = two_loops(&laravel, ini, which, method, seconds)?;
                    print!("  2 {which} {rate:.0}/s, {:.0} us each", 2e6 / rate);
                }
                println!();
            }
        }
        return Ok(());
    }
    let pool = |ini: &[&str], way: Way| -> anyhow::Result<Cluster> {
        let kernel = if way == Way::Kernel { "always" } else { "auto" };
        let shape = laravel.shape(1, 2).worker("--php-ini", &ini.join(",")).worker("--bridge-kernel", kernel);
        Cluster::start(shape.worker("--php-max-calls", "1000000"))
    };
    if matches.get_flag("kernel") {
        let (ini_name, ini) = INI[0];
        let kernel = pool(ini, Way::Kernel)?;
        println!("{ini_name}: calls/s of two R loops and of the pool by the kernel, {CONNECTIONS} connections");
        for (method, what) in METHODS {
            let mut ratios = Vec::new();
            for _ in 0..rounds {
                let loops = two_loops(&laravel, ini, "R", method, seconds)?;
                let run = || through(&kernel, &cookies, method, CONNECTIONS, seconds);
                let (rate, [php, worker, gateway]) = costs(&laravel, &kernel, run)?;
                ratios.push(rate / loops);
                println!(
                    "  {what}: 2 R {loops:.0}, kernel {rate:.0}: {:.2}; CPU us a call, PHP {php:.0}, worker {worker:.0}, gateway {gateway:.0}",
                    rate / loops
                );
            }
            println!("{what}: median {:.2}", median(ratios));
        }
        return Ok(());
    }
    let (_fpm, socket) = laravel.serve_fpm(2)?;
    let (_server, server_port) = laravel.serve()?;
    let own = || Shape { signing_key: APP_KEY.to_owned(), ..Shape::new(1, 1) };
    let fastcgi = Cluster::start(
        own()
            .worker("--fastcgi", &format!("unix:{}", socket.display()))
            .worker("--fastcgi-connections", "2")
            .worker("--fastcgi-script", &format!("{}/public/index.php", laravel.directory)),
    )?;
    let http = Cluster::start(own().worker("--backend-url", &format!("http://127.0.0.1:{server_port}")))?;
    for (ini_name, ini) in INI {
        let (kernel, short) = (pool(ini, Way::Kernel)?, pool(ini, Way::Short)?);
        println!(
            "\nPHP on the command line with {ini_name}; calls/s, medians of {rounds} rounds of {seconds} s, {CONNECTIONS} connections"
        );
        println!(
            "{:<38} {:>7} {:>7} {:>7} {:>8} {:>8} {:>8} {:>7}   {:>8} {:>8} {:>8} {:>8}",
            "", "2 A", "2 R", "2 D", "kernel", "short", "fastcgi", "php -S", "kern/2R", "kern/fcg", "short/2A", "p50-R"
        );
        for (method, what) in METHODS {
            let mut rows: Vec<[f64; 9]> = Vec::new();
            let mut spent: Vec<([f64; 3], [f64; 3])> = Vec::new();
            for _ in 0..rounds {
                let one = through(&kernel, &cookies, method, 1, seconds)?;
                let one_short = through(&short, &cookies, method, 1, seconds)?;
                let eight = |cluster: &Cluster| {
                    costs(&laravel, cluster, || through(cluster, &cookies, method, CONNECTIONS, seconds))
                };
                let (by_kernel, kernel_costs) = eight(&kernel)?;
                let (by_short, short_costs) = eight(&short)?;
                spent.push((kernel_costs, short_costs));
                rows.push([
                    two_loops(&laravel, ini, "A", method, seconds)?,
                    two_loops(&laravel, ini, "R", method, seconds)?,
                    two_loops(&laravel, ini, "D", method, seconds)?,
                    by_kernel,
                    by_short,
                    through(&fastcgi, &cookies, method, CONNECTIONS, seconds)?.rate(),
                    through(&http, &cookies, method, CONNECTIONS, seconds)?.rate(),
                    one.quantile(0.5),
                    one_short.quantile(0.5),
                ]);
            }
            let m = |column: usize| median(rows.iter().map(|row| row[column]).collect());
            let r_micros = 2e6 / m(1);
            println!(
                "{what:<38} {:>7.0} {:>7.0} {:>7.0} {:>8.0} {:>8.0} {:>8.0} {:>7.0}   {:>8.2} {:>8.2} {:>8.2} {:>6.0}us",
                m(0),
                m(1),
                m(2),
                m(3),
                m(4),
                m(5),
                m(6),
                m(3) / m(1),
                m(3) / m(5),
                m(4) / m(0),
                m(7) - r_micros
            );
            let s = |index: usize, short: bool| {
                median(spent.iter().map(|(k, s)| if short { s[index] } else { k[index] }).collect())
            };
            println!(
                "{:<38} CPU us a call, PHP + worker + gateway: kernel {:.0} + {:.0} + {:.0}, short {:.0} + {:.0} + {:.0}",
                "",
                s(0, false),
                s(1, false),
                s(2, false),
                s(0, true),
                s(1, true),
                s(2, true)
            );
            println!(
                "{:<38} one connection: p50 kernel {:.0} us, short {:.0} us; R takes {r_micros:.0} us a call",
                "",
                m(7),
                m(8)
            );
        }
    }
    Ok(())
}
