//! Calls of a Laravel application through gateway and worker, by each backend, beside bare loops that run the same call
//! in two PHP processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};
use diffyne_tests::cluster::{Cluster, Shape};
use diffyne_tests::laravel::Laravel;
use diffyne_tests::load::{self, Load, Measurement};
use diffyne_tests::process::{Process, ended_children_cpu_seconds, project};
use diffyne_tests::recorded::APP_KEY;

use crate::arguments::{against, get, number, programs};
use crate::deployment::Builds;
use crate::figures::{median_ratios, medians};

/// Settings of PHP on the command line.
struct Ini {
    name: &'static str,
    settings: &'static [&'static str],
}

/// The pool as it is shipped, beside loops with the same settings; and both without JIT. Builds that are compared may
/// be shipped with different settings.
const INIS: [Ini; 2] = [
    Ini { name: SHIPPED, settings: &SHIPPED_SETTINGS },
    Ini { name: "opcache without JIT", settings: &["opcache.enable_cli=1", "memory_limit=512M"] },
];
const SHIPPED: &str = "as shipped";
/// Settings of PHP as the pool has them by default.
pub const SHIPPED_SETTINGS: [&str; 6] = [
    "opcache.enable_cli=1",
    "opcache.revalidate_freq=0",
    "opcache.file_update_protection=0",
    "opcache.jit=tracing",
    "opcache.jit_buffer_size=32M",
    "memory_limit=512M",
];
/// The methods of the component that is called, by what they do with the session.
const METHODS: [(&str, &str); 3] =
    [("touch", "a call that leaves the session alone"), ("read", "one that reads it"), ("write", "one that writes it")];
const CONNECTIONS: usize = 8;

/// Its arguments.
pub fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("php")
        .about("The PHP backends beside bare loops in two PHP processes; as root, on a quiet machine")
        .after_help(
            "A: the package's endpoint through the kernel, nothing reset between calls. R: the bridge through the kernel, in a \
             fresh sandbox for each call. D: the package's classes alone. S: the bridge without the kernel. All with two \
             processes, as the pool and php-fpm. Sessions are files, as in a fresh Laravel.",
        )
        .arg(number("rounds", "3", "Alternating rounds"))
        .arg(number("seconds", "3", "Seconds a run"))
        .arg(flag("tmpfs", "Session files on a tmpfs"))
        .arg(flag("loops", "The bare loops alone, S as well"))
        .arg(flag("kernel", "Only the pool through the kernel, beside two R loops"))
        .arg(programs())
        .arg(against())
}

/// Runs it.
pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let bench = Bench::new(matches)?;
    // Until the end of the run.
    let _sessions = matches.get_flag("tmpfs").then(|| SessionsInMemory::mount(&bench.laravel)).transpose()?;
    if matches.get_flag("loops") {
        bench.loops_alone()
    } else if matches.get_flag("kernel") {
        bench.kernel_beside_loops()
    } else if bench.builds.old.is_some() {
        bench.compare_builds()
    } else {
        bench.all_backends()
    }
}

/// Session files in memory, for the loops and the pools alike, until this is dropped.
struct SessionsInMemory(PathBuf);

impl SessionsInMemory {
    fn mount(laravel: &Laravel) -> anyhow::Result<Self> {
        let folder = laravel.path("storage/framework/sessions");
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&folder).status()?;
        ensure!(mounted.success(), "cannot mount a tmpfs on {}: this needs root", folder.display());
        Ok(Self(folder))
    }
}

impl Drop for SessionsInMemory {
    fn drop(&mut self) {
        // Lazily: a PHP process may still be ending.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What a worker asks for a call.
#[derive(Clone, Copy)]
enum Backend {
    /// Its own PHP processes, through Laravel's kernel.
    Kernel,
    /// Its own PHP processes, past the kernel.
    Fast,
    /// php-fpm.
    FastCgi,
    /// PHP's own server.
    Http,
}

/// All backends, by their heads of columns.
const BACKENDS: [(Backend, &str); 4] =
    [(Backend::Kernel, "kernel"), (Backend::Fast, "fast"), (Backend::FastCgi, "fastcgi"), (Backend::Http, "php -S")];

/// Servers of the application that workers do not start themselves; they end with this.
struct Servers {
    _processes: [Process; 2],
    fpm_socket: PathBuf,
    http_port: u16,
}

/// Calls a second, and CPU microseconds a call: of PHP, of the worker, of the gateway.
type Figures = [f64; 4];

struct Bench {
    laravel: Laravel,
    builds: Builds,
    /// One user a connection.
    cookies: Vec<String>,
    rounds: u64,
    seconds: u64,
}

impl Bench {
    fn new(matches: &ArgMatches) -> anyhow::Result<Self> {
        let laravel = Laravel::new()?;
        laravel.load_bridge()?;
        write_loops(&laravel)?;
        let cookies = (0..CONNECTIONS).map(|_| cookie(&laravel)).collect::<anyhow::Result<_>>()?;
        let (rounds, seconds) = (get(matches, "rounds"), get(matches, "seconds"));
        Ok(Self { laravel, builds: Builds::of(matches)?, cookies, rounds, seconds })
    }

    fn serve(&self) -> anyhow::Result<Servers> {
        let (fpm, fpm_socket) = self.laravel.serve_fpm(2)?;
        let (http, http_port) = self.laravel.serve()?;
        Ok(Servers { _processes: [fpm, http], fpm_socket, http_port })
    }

    /// A gateway and a worker of a build.
    fn cluster(
        &self,
        programs: Option<&Path>,
        backend: Backend,
        ini: &Ini,
        servers: &Servers,
    ) -> anyhow::Result<Cluster> {
        let shape = match backend {
            Backend::Kernel | Backend::Fast => return self.pool(programs, backend, ini),
            Backend::FastCgi => Shape::new(1, 1)
                .worker("--fastcgi", &format!("unix:{}", servers.fpm_socket.display()))
                .worker("--fastcgi-connections", "2")
                .worker("--fastcgi-script", &format!("{}/public/index.php", self.laravel.directory)),
            Backend::Http => {
                Shape::new(1, 1).worker("--backend-url", &format!("http://127.0.0.1:{}", servers.http_port))
            }
        };
        let programs = programs.map(Path::to_owned);
        Cluster::start(Shape { signing_key: APP_KEY.to_owned(), programs, ..shape })
    }

    /// A gateway and a worker with two PHP processes of its own.
    fn pool(&self, programs: Option<&Path>, backend: Backend, ini: &Ini) -> anyhow::Result<Cluster> {
        let kernel = if matches!(backend, Backend::Kernel) { "always" } else { "auto" };
        let shape = self.laravel.shape(1, 2).worker("--bridge-kernel", kernel).worker("--php-max-calls", "1000000");
        let shape = if ini.name == SHIPPED { shape } else { shape.worker("--php-ini", &ini.settings.join(",")) };
        Cluster::start(Shape { programs: programs.map(Path::to_owned), ..shape })
    }

    /// `--loops`: no gateway and no worker.
    fn loops_alone(&self) -> anyhow::Result<()> {
        for ini in &INIS {
            for (method, description) in METHODS {
                print!("{}, {description}:", ini.name);
                for which in ["A", "R", "S", "D"] {
                    let rate = self.two_loops(ini, which, method)?;
                    print!("  2 {which} {rate:.0}/s, {:.0} us each", 2e6 / rate);
                }
                println!();
            }
        }
        Ok(())
    }

    /// `--kernel`: round by round.
    fn kernel_beside_loops(&self) -> anyhow::Result<()> {
        let ini = &INIS[0];
        let builds = self.build_names();
        let clusters: Vec<Cluster> = builds
            .iter()
            .map(|(_, programs)| self.pool(programs.as_deref(), Backend::Kernel, ini))
            .collect::<anyhow::Result<_>>()?;
        println!("{}: calls/s of two R loops and of the pool through the kernel, {CONNECTIONS} connections", ini.name);
        for (method, description) in METHODS {
            let mut ratios: Vec<Vec<[f64; 1]>> = builds.iter().map(|_| Vec::new()).collect();
            for _ in 0..self.rounds {
                let loops = self.two_loops(ini, "R", method)?;
                for (index, cluster) in clusters.iter().enumerate() {
                    let [rate, php, worker, gateway] = self.figures(cluster, method)?;
                    ratios[index].push([rate / loops]);
                    println!(
                        "  {description}, {}: 2 R {loops:.0}, kernel {rate:.0}: {:.2}; CPU us a call, PHP {php:.0}, worker {worker:.0}, gateway {gateway:.0}",
                        builds[index].0,
                        rate / loops
                    );
                }
            }
            for ((name, _), ratios) in builds.iter().zip(&ratios) {
                println!("{description}, {name}: median {:.2}", medians(ratios)[0]);
            }
            if let [new, old] = &ratios[..] {
                println!("{description}, new/old {:.3}", median_ratios(new, old)[0]);
            }
        }
        Ok(())
    }

    /// `--against`: every backend of both builds, in turn.
    fn compare_builds(&self) -> anyhow::Result<()> {
        let (ini, servers, builds) = (&INIS[0], self.serve()?, self.build_names());
        println!(
            "{}: calls/s and CPU us a call, medians of {} alternating rounds of {} s, {CONNECTIONS} connections",
            ini.name, self.rounds, self.seconds
        );
        println!("{:<38} {:<8} {:<8} {:>8} {:>8} {:>8} {:>8}", "", "", "", "calls/s", "PHP", "worker", "gateway");
        for (backend, backend_name) in BACKENDS {
            let clusters: Vec<Cluster> = builds
                .iter()
                .map(|(_, programs)| self.cluster(programs.as_deref(), backend, ini, &servers))
                .collect::<anyhow::Result<_>>()?;
            for (method, description) in METHODS {
                let mut rows: Vec<Vec<Figures>> = builds.iter().map(|_| Vec::new()).collect();
                for round in 0..self.rounds {
                    let mut order: Vec<usize> = (0..clusters.len()).collect();
                    // Every second round the other way round, so that a drift of the machine favours neither.
                    if round % 2 == 1 {
                        order.reverse();
                    }
                    for index in order {
                        rows[index].push(self.figures(&clusters[index], method)?);
                    }
                }
                for ((name, _), rows) in builds.iter().zip(&rows) {
                    let [rate, php, worker, gateway] = medians(rows);
                    println!(
                        "{description:<38} {backend_name:<8} {name:<8} {rate:>8.0} {php:>8.0} {worker:>8.0} {gateway:>8.0}"
                    );
                }
                if let [new, old] = &rows[..] {
                    let [rate, php, worker, gateway] = median_ratios(new, old);
                    println!(
                        "{description:<38} {backend_name:<8} new/old  {rate:>8.3} {php:>8.3} {worker:>8.3} {gateway:>8.3}"
                    );
                }
            }
        }
        Ok(())
    }

    /// Every backend and the loops.
    fn all_backends(&self) -> anyhow::Result<()> {
        let servers = self.serve()?;
        let new = self.builds.new.as_deref();
        let [fastcgi, http] =
            [Backend::FastCgi, Backend::Http].map(|backend| self.cluster(new, backend, &INIS[0], &servers));
        let (fastcgi, http) = (fastcgi?, http?);
        for ini in &INIS {
            let (kernel, fast) = (self.pool(new, Backend::Kernel, ini)?, self.pool(new, Backend::Fast, ini)?);
            println!(
                "\nPHP on the command line with {}; calls/s, medians of {} rounds of {} s, {CONNECTIONS} connections",
                ini.name, self.rounds, self.seconds
            );
            println!(
                "{:<38} {:>7} {:>7} {:>7} {:>8} {:>8} {:>8} {:>7}   {:>8} {:>8} {:>8} {:>8}",
                "",
                "2 A",
                "2 R",
                "2 D",
                "kernel",
                "fast",
                "fastcgi",
                "php -S",
                "kern/2R",
                "kern/fcg",
                "fast/2A",
                "p50-R"
            );
            for (method, description) in METHODS {
                let mut rows = Vec::new();
                for _ in 0..self.rounds {
                    rows.push(self.round(ini, method, [&kernel, &fast, &fastcgi, &http])?);
                }
                print_backends(description, &medians(&rows));
            }
        }
        Ok(())
    }

    /// One round of [`Bench::all_backends`]; [`print_backends`] names the figures.
    fn round(&self, ini: &Ini, method: &str, clusters: [&Cluster; 4]) -> anyhow::Result<[f64; 15]> {
        let [kernel, fast, fastcgi, http] = clusters;
        let alone = self.through(kernel, method, 1)?.quantile(0.5);
        let alone_fast = self.through(fast, method, 1)?.quantile(0.5);
        let [by_kernel, kernel_php, kernel_worker, kernel_gateway] = self.figures(kernel, method)?;
        let [by_fast, fast_php, fast_worker, fast_gateway] = self.figures(fast, method)?;
        Ok([
            self.two_loops(ini, "A", method)?,
            self.two_loops(ini, "R", method)?,
            self.two_loops(ini, "D", method)?,
            by_kernel,
            by_fast,
            self.through(fastcgi, method, CONNECTIONS)?.rate(),
            self.through(http, method, CONNECTIONS)?.rate(),
            alone,
            alone_fast,
            kernel_php,
            kernel_worker,
            kernel_gateway,
            fast_php,
            fast_worker,
            fast_gateway,
        ])
    }

    /// `new` and, with `--against`, `old`, with their programs.
    fn build_names(&self) -> Vec<(&'static str, Option<PathBuf>)> {
        let mut builds = vec![("new", self.builds.new.clone())];
        builds.extend(self.builds.old.clone().map(|old| ("old", Some(old))));
        builds
    }

    /// Calls through gateway and worker, one after the other on each connection.
    fn through(&self, cluster: &Cluster, method: &str, connections: usize) -> anyhow::Result<Measurement> {
        let message = format!(
            r#"{{"event":"diffyne.call","data":{{"type":"call","componentId":"diffyne-bench","componentClass":"App\\Diffyne\\Bench","method":"{method}","params":[],"state":{{"count":1}},"fingerprint":"","signature":"","requestId":"r"}}}}"#
        );
        load::run(&Load {
            target: SocketAddr::from(([127, 0, 0, 1], cluster.gateways[0].port)).into(),
            connections,
            duration: Duration::from_secs(self.seconds),
            message,
            greetings: 1,
            hello: None,
            headers: String::new(),
            own_headers: self.cookies.iter().map(|cookie| format!("Cookie: {cookie}\r\n")).collect(),
            pause: Duration::ZERO,
            threads: 1,
        })
    }

    fn figures(&self, cluster: &Cluster, method: &str) -> anyhow::Result<Figures> {
        let before = self.cpu_seconds(cluster)?;
        let measured = self.through(cluster, method, CONNECTIONS)?;
        let after = self.cpu_seconds(cluster)?;
        let micros = |part: usize| (after[part] - before[part]) * 1e6 / measured.answers as f64;
        Ok([measured.rate(), micros(0), micros(1), micros(2)])
    }

    /// CPU time so far: of the application's PHP processes, of the worker, of the gateway.
    fn cpu_seconds(&self, cluster: &Cluster) -> anyhow::Result<[f64; 3]> {
        let [worker, gateway] = [&cluster.workers[0], &cluster.gateways[0]].map(|node| node.process.cpu_seconds());
        Ok([php_cpu_seconds(&self.laravel)?, worker?, gateway?])
    }

    /// Two processes side by side in a bare loop: calls a second, of both.
    fn two_loops(&self, ini: &Ini, which: &str, method: &str) -> anyhow::Result<f64> {
        let command = self.laravel.command();
        let mut words = command.split(' ');
        let program = words.next().context("no PHP command")?;
        let prefix: Vec<&str> = words.collect();
        let directory = &self.laravel.directory;
        let mut children = Vec::new();
        for _ in 0..2 {
            let mut php = std::process::Command::new(program);
            php.args(&prefix);
            for setting in ini.settings {
                php.args(["-d", setting]);
            }
            php.args([&format!("{directory}/loops.php"), directory, which, method, &self.seconds.to_string()]);
            php.arg(format!("{directory}/classes.php")).stdout(Stdio::piped());
            children.push(php.spawn()?);
        }
        let mut rate = 0.0;
        for child in children {
            let output = child.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(output.status.success(), "the loop {which} {method} failed: {text}");
            rate += loop_rate(&text)
                .with_context(|| format!("the loop {which} {method} gave no rate: {}", self.laravel.log()))?;
        }
        Ok(rate)
    }
}

/// Calls a second, of the last line that a loop prints. PHP's own warnings may come before.
fn loop_rate(printed: &str) -> Option<f64> {
    let (calls, seconds) = printed.lines().last()?.split_once(' ')?;
    let (calls, seconds): (u64, f64) = (calls.parse().ok()?, seconds.parse().ok()?);
    (calls > 0 && seconds > 0.0).then(|| calls as f64 / seconds)
}

/// CPU time so far of all processes that run in the application's directory.
pub fn php_cpu_seconds(laravel: &Laravel) -> anyhow::Result<f64> {
    let folder = laravel.directory.trim_start_matches('/').to_owned();
    let is_php = |process: &Path| std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.ends_with(&folder));
    let seconds = |process: &Path| -> Option<f64> {
        let text = std::fs::read_to_string(process.join("schedstat")).ok()?;
        let nanos: u64 = text.split_whitespace().next()?.parse().ok()?;
        Some(nanos as f64 / 1e9 + ended_children_cpu_seconds(process).ok()?)
    };
    let processes = std::fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    Ok(processes.filter(|process| is_php(process)).filter_map(|process| seconds(&process)).sum())
}

fn print_backends(description: &str, medians: &[f64; 15]) {
    let [a, r, d, kernel, fast, fastcgi, http, alone, alone_fast, kernel_cpu @ .., _, _, _] = medians;
    let fast_cpu = &medians[12..];
    let r_micros = 2e6 / r;
    println!(
        "{description:<38} {a:>7.0} {r:>7.0} {d:>7.0} {kernel:>8.0} {fast:>8.0} {fastcgi:>8.0} {http:>7.0}   {:>8.2} {:>8.2} {:>8.2} {:>6.0}us",
        kernel / r,
        kernel / fastcgi,
        fast / a,
        alone - r_micros
    );
    println!(
        "{:<38} CPU us a call, PHP + worker + gateway: kernel {:.0} + {:.0} + {:.0}, fast {:.0} + {:.0} + {:.0}",
        "", kernel_cpu[0], kernel_cpu[1], kernel_cpu[2], fast_cpu[0], fast_cpu[1], fast_cpu[2]
    );
    println!(
        "{:<38} one connection: p50 kernel {alone:.0} us, fast {alone_fast:.0} us; R takes {r_micros:.0} us a call",
        ""
    );
}

/// The loops' script: the bridge and its sandbox without their last statement, and the loops.
fn write_loops(laravel: &Laravel) -> anyhow::Result<()> {
    let read = |file: &str| std::fs::read_to_string(project().join(file));
    let part = |file: &str| read(&format!("worker/src/backend/php/{file}"));
    let main = part("loop.php")?;
    let end = main.find("    (static function (): void {").context("loop.php has no last statement")?;
    // As the worker sends them to its processes (`script.rs`).
    let files =
        "properties closures snapshot shutdown loading catalogue redis connections sandbox fast_path fork release";
    let mut parts =
        files.split(' ').map(|name| part(&format!("{name}.php"))).collect::<Result<Vec<String>, std::io::Error>>()?;
    parts.extend([format!("{}}}\n", &main[..end]), read("tests/data/loops/loops.php")?]);
    let mut script = "<?php\n".to_owned();
    for file in std::fs::read_dir(project().join("deploy/laravel/src"))? {
        let file = file?.path();
        if file.is_file() {
            let class = std::fs::read_to_string(file)?;
            let class = class.trim_start_matches("<?php");
            script += &class.replacen("namespace Diffyne\\Cluster;", "namespace Diffyne\\Cluster {", 1);
            script += "}\n";
        }
    }
    for part in &parts {
        script += part.trim_start_matches("<?php");
    }
    std::fs::write(laravel.path("loops.php"), script)?;
    std::fs::write(laravel.path("classes.php"), part("session.php")?.trim_start_matches("<?php"))?;
    Ok(())
}

/// The cookie of a user who has been here before.
fn cookie(laravel: &Laravel) -> anyhow::Result<String> {
    let code = "$s = app('session')->driver(); $s->start(); $s->put('uid', 'ada'); $s->save(); $e = app('encrypter'); \
         $v = $e->encrypt(Illuminate\\Cookie\\CookieValuePrefix::create($s->getName(), $e->getKey()).$s->getId(), false); \
         echo $s->getName(), '=', rawurlencode($v);";
    laravel.tinker(&[], code)
}
