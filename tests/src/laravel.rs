//! A real Laravel application in a root of Debian's packages (`tests/laravel-chroot.sh`), with a server part of
//! Diffyne: our stand-in, or the real package, whose directory `DIFFYNE_PACKAGE` names.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::cluster::Shape;
use crate::ports::free_ports;
use crate::process::{Process, eventually, project, wait_for_port};
use crate::recorded::APP_KEY;

/// The same test for several ways to run an application's components.
#[macro_export]
macro_rules! for_runtimes {
    ($test:ident: $($name:ident = $runtime:ident),+) => {
        mod $test {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() -> anyhow::Result<()> {
                super::$test(diffyne_tests::laravel::Runtime::$runtime).await
            })+
        }
    };
}

/// How a worker runs an application's components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// In a pool of its own, past the HTTP kernel.
    FastPath,
    /// In a pool of its own, through the kernel.
    Kernel,
    /// Behind nginx and php-fpm.
    Http,
    /// The same, without the bridge.
    HttpWithoutBridge,
    /// In php-fpm.
    FastCgi,
    /// The same, without the bridge.
    FastCgiWithoutBridge,
}

impl Runtime {
    /// Whether calls go to the bridge.
    pub fn has_bridge(self) -> bool {
        !matches!(self, Self::HttpWithoutBridge | Self::FastCgiWithoutBridge)
    }

    /// Whether the worker has processes of its own.
    pub fn is_pool(self) -> bool {
        matches!(self, Self::FastPath | Self::Kernel)
    }
}

/// What serves an application.
pub struct Deployment {
    /// The cluster that goes with it.
    pub shape: Shape,
    /// It ends with these.
    pub processes: Vec<Process>,
}

/// The tables of the test application.
/// Where servers of PHP keep what they have compiled: Laravel is compiled by the first of them, and read by the others.
/// Never for the pool's processes: PHP 8.4 crashes with such a cache and the JIT.
const COMPILED: [&str; 4] = ["-d", "opcache.file_cache=/srv/compiled", "-d", "opcache.jit=disable"];
const SCHEMA: &str = "create table messages (id integer primary key, content text, room_id integer); \
    create table users (id integer primary key, name text, password text, remember_token text); \
    insert into users (name, password) values (\"ada\", \"x\"), (\"bob\", \"x\");";

/// An application of its own for one test.
#[derive(Debug)]
pub struct Laravel {
    root: PathBuf,
    /// Its directory, as PHP sees it.
    pub directory: String,
}

impl Drop for Laravel {
    fn drop(&mut self) {
        // What is left is told by the test that checks for it.
        let _ = std::fs::remove_dir_all(self.path(""));
        self.forget_compiled();
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp").arg("-rT").arg(from).arg(to).status()?;
    ensure!(status.success(), "cannot copy {}", from.display());
    Ok(())
}

impl Laravel {
    /// A fresh copy of the test application.
    pub fn new() -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let usual = || Path::new(&std::env::var("HOME").unwrap_or_default()).join(".cache/diffyne-tests/laravel-13");
        let root = std::env::var_os("DIFFYNE_LARAVEL_ROOT").map_or_else(usual, PathBuf::from);
        ensure!(
            root.join("usr/share/php/Illuminate").is_dir(),
            "{} has no Laravel: run tests/tools.sh",
            root.display()
        );
        let name = format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let laravel = Self { root, directory: format!("/srv/{name}") };
        // One of a killed test process of the same number may lie there.
        let _ = std::fs::remove_dir_all(laravel.path(""));
        laravel.forget_compiled();
        std::fs::create_dir_all(laravel.path(""))?;
        std::fs::create_dir_all(laravel.root.join("srv/compiled"))?;
        copy(&project().join("tests/data/laravel"), &laravel.path(""))?;
        // A root of another suite has an older Laravel, whose application looks different.
        if laravel.laravel_version()?.starts_with("10.") {
            copy(&project().join("tests/data/laravel-10"), &laravel.path(""))?;
        }
        if let Some(package) = std::env::var_os("DIFFYNE_PACKAGE") {
            std::fs::remove_dir_all(laravel.path("diffyne"))?;
            copy(Path::new(&package), &laravel.path("diffyne"))?;
        }
        for folder in [
            "bootstrap/cache",
            "database",
            "storage/app",
            "storage/logs",
            "storage/framework/sessions",
            "storage/framework/views",
            "storage/framework/cache/data",
        ] {
            std::fs::create_dir_all(laravel.path(folder))?;
        }
        std::fs::copy(laravel.path(".env.example"), laravel.path(".env"))?;
        laravel.make_database()?;
        Ok(laravel)
    }

    /// Removes what servers have compiled of this application. Each build of PHP has a folder of its own.
    fn forget_compiled(&self) {
        for builds in std::fs::read_dir(self.root.join("srv/compiled")).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir_all(builds.path().join(self.directory.trim_start_matches('/')));
        }
    }

    /// Copies the database that the first test has made: starting PHP costs more than all the rest of an application.
    fn make_database(&self) -> anyhow::Result<()> {
        let mut hasher = DefaultHasher::new();
        SCHEMA.hash(&mut hasher);
        let template = self.root.join(format!("srv/database-{:016x}.sqlite", hasher.finish()));
        let database = self.path("database/database.sqlite");
        if template.exists() {
            std::fs::copy(&template, &database)?;
            return Ok(());
        }
        let code = format!("(new PDO('sqlite:{}/database/database.sqlite'))->exec('{SCHEMA}');", self.directory);
        self.php(&["-r", &code])?;
        // Other tests see all of it or nothing.
        let copy = self.path("database/template");
        std::fs::copy(&database, &copy)?;
        Ok(std::fs::rename(copy, template)?)
    }

    /// The same with `trustProxies('*')`, in the words of every version.
    pub fn that_trusts_every_proxy() -> anyhow::Result<Self> {
        let laravel = Self::new()?;
        laravel.change(
            "app/Providers/AppServiceProvider.php",
            "config(['auth",
            "config(['trustedproxy.proxies' => '*', 'auth",
        )?;
        Ok(laravel)
    }

    /// The root in which PHP runs.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the application, as this machine sees it.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(self.directory.trim_start_matches('/')).join(file)
    }

    /// The command that runs PHP.
    pub fn command(&self) -> String {
        format!("chroot {} php8.4", self.root.display())
    }

    /// Runs PHP to its end.
    pub fn php(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("chroot").arg(&self.root).arg("php8.4").args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    /// Runs artisan.
    pub fn artisan(&self, command: &str) -> anyhow::Result<String> {
        self.php(&[&format!("{}/artisan", self.directory), command])
    }

    /// Runs code inside the booted application, as a queue worker or a cron job does.
    pub fn tinker(&self, environment: &[(&str, &str)], code: &str) -> anyhow::Result<String> {
        let set: String = environment.iter().map(|(name, value)| format!("putenv('{name}={value}');")).collect();
        let boot = "$app = require 'bootstrap/app.php'; $app->make(Illuminate\\Contracts\\Console\\Kernel::class)->bootstrap();";
        self.php(&["-r", &format!("chdir('{}'); {set} require 'vendor/autoload.php'; {boot} {code}", self.directory)])
    }

    /// Changes a file of the application.
    pub fn change(&self, file: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(self.path(file))?;
        ensure!(text.contains(from), "{file} has no {from}");
        Ok(std::fs::write(self.path(file), text.replace(from, to))?)
    }

    /// Lets calls of `writeWhenReleased` and `depart` with this tag go on.
    pub fn release(&self, tag: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.path(&format!("released-{tag}")), "")?)
    }

    /// Waits until such a call has begun.
    pub fn wait_until_begun(&self, tag: &str) -> anyhow::Result<()> {
        eventually(&format!("the call {tag} has begun"), || self.path(&format!("begun-{tag}")).exists())
    }

    /// The application's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("storage/logs/laravel.log")).unwrap_or_default()
    }

    /// Serves the application over HTTP, with PHP's own server; the port.
    pub fn serve(&self) -> anyhow::Result<(Process, u16)> {
        let [port] = free_ports()?;
        let process = Process::start_parent("php-server", &self.path(""), &PathBuf::from("chroot"), |command| {
            command.arg(&self.root).args(["env", "PHP_CLI_SERVER_WORKERS=3", "php8.4"]);
            command.args(COMPILED).args([
                "-S",
                &format!("127.0.0.1:{port}"),
                "-t",
                &format!("{}/public", self.directory),
                &format!("{}/public/index.php", self.directory),
            ]);
        })?;
        wait_for_port(port)?;
        Ok((process, port))
    }

    /// Runs php-fpm with this many children; its socket, as this machine sees it.
    pub fn serve_fpm(&self, children: u32) -> anyhow::Result<(Process, PathBuf)> {
        let directory = &self.directory;
        let configuration = format!(
            "[global]\nerror_log = {directory}/fpm.log\ndaemonize = no\n[www]\nuser = root\ngroup = root\n\
             listen = {directory}/fpm.sock\nlisten.mode = 0666\npm = static\npm.max_children = {children}\n\
             catch_workers_output = yes\nclear_env = no\nrequest_terminate_timeout = 30s\n\
             php_admin_value[memory_limit] = 256M\nphp_admin_value[upload_max_filesize] = 16M\n\
             php_admin_value[post_max_size] = 18M\n"
        );
        std::fs::write(self.path("fpm.conf"), configuration)?;
        let process = Process::start_parent("php-fpm", &self.path(""), &PathBuf::from("chroot"), |command| {
            command.arg(&self.root).args(["php-fpm8.4", "-F", "-R", "-O"]).args(COMPILED);
            command.args(["-y", &format!("{directory}/fpm.conf")]);
        })?;
        let socket = self.path("fpm.sock");
        eventually("php-fpm listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
        Ok((process, socket))
    }

    /// Runs nginx in front of php-fpm; its port.
    pub fn serve_nginx(&self, socket: &Path) -> anyhow::Result<(Process, u16)> {
        let [port] = free_ports()?;
        let folder = self.path("nginx");
        std::fs::create_dir_all(&folder)?;
        let (here, root, socket) = (folder.display(), format!("{}/public", self.directory), socket.display());
        let configuration = format!(
            "user root;\ndaemon off;\nworker_processes 1;\npid {here}/pid;\nerror_log {here}/error.log;\n\
             events {{ worker_connections 256; }}\nhttp {{\n access_log off; client_max_body_size 64m;\n\
             client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;\n\
             uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;\n server {{\n  listen 127.0.0.1:{port}; listen unix:{here}/http.sock;\n\
             location / {{\n   include /etc/nginx/fastcgi_params;\n   fastcgi_param SCRIPT_FILENAME {root}/index.php;\n\
             fastcgi_param SCRIPT_NAME /index.php;\n   fastcgi_param DOCUMENT_ROOT {root};\n\
             fastcgi_pass unix:{socket};\n  }}\n }}\n}}\n"
        );
        std::fs::write(folder.join("nginx.conf"), configuration)?;
        let process = Process::start_parent("nginx-fpm", &folder, &PathBuf::from("nginx"), |command| {
            command.arg("-c").arg(folder.join("nginx.conf"));
        })?;
        wait_for_port(port)?;
        Ok((process, port))
    }

    /// Starts what a runtime needs, and gives the shape of a cluster whose workers go it.
    pub fn deploy(&self, runtime: Runtime, gateways: usize) -> anyhow::Result<Deployment> {
        if runtime.has_bridge() && !matches!(runtime, Runtime::FastPath | Runtime::Kernel) {
            self.load_bridge()?;
        }
        let own = Shape { signing_key: APP_KEY.to_owned(), ..Shape::new(gateways, 1) };
        let mut processes = Vec::new();
        let shape = match runtime {
            Runtime::FastPath => self.shape(gateways, 2),
            Runtime::Kernel => self.shape(gateways, 2).worker("--bridge-kernel", "always"),
            Runtime::Http | Runtime::HttpWithoutBridge => {
                let (fpm, socket) = self.serve_fpm(3)?;
                let (nginx, port) = self.serve_nginx(&socket)?;
                processes.extend([nginx, fpm]);
                own.worker("--backend-url", &format!("http://127.0.0.1:{port}"))
            }
            Runtime::FastCgi | Runtime::FastCgiWithoutBridge => {
                let (fpm, socket) = self.serve_fpm(3)?;
                processes.push(fpm);
                own.worker("--fastcgi", &format!("unix:{}", socket.display()))
                    .worker("--fastcgi-connections", "3")
                    .worker("--fastcgi-script", &format!("{}/public/index.php", self.directory))
            }
        };
        Ok(Deployment { shape, processes })
    }

    /// Loads the package into the application without Composer, as its documentation says.
    pub fn load_bridge(&self) -> anyhow::Result<()> {
        copy(&project().join("deploy/laravel"), &self.path("diffyne-cluster"))?;
        let provider = "class AppServiceProvider extends \\Illuminate\\Support\\ServiceProvider {";
        let load = "require_once base_path('diffyne-cluster/autoload.php'); \
                    $this->app->register(\\Diffyne\\Cluster\\Providers\\ClusterServiceProvider::class);";
        self.change(
            "app/Providers/AppServiceProvider.php",
            provider,
            &format!("{provider} public function register(): void {{ {load} }}"),
        )
    }

    /// Installs the package with Composer, from a path repository and without any other source of packages.
    pub fn install_package(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.path("packages"))?;
        copy(&project().join("deploy/laravel"), &self.path("packages/diffyne-cluster"))?;
        let composer = json!({
            "repositories": [{"packagist.org": false}, {"type": "path", "url": "packages/diffyne-cluster"}],
            "require": {"diffyne/cluster": "*"},
            // Debian's packages have Laravel, of which Composer knows nothing.
            "provide": {"laravel/framework": self.laravel_version()?},
            "autoload": {
                "psr-4": {"App\\": "app/", "Diffyne\\": "diffyne/src/"},
                "files": ["../../usr/share/php/Illuminate/autoload.php"],
            },
        });
        std::fs::write(self.path("composer.json"), composer.to_string())?;
        std::fs::remove_file(self.path("vendor/autoload.php"))?;
        let command = format!("cd {} && COMPOSER_ALLOW_SUPERUSER=1 composer install --no-interaction", self.directory);
        let output = Command::new("chroot").arg(&self.root).args(["sh", "-c", &command]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Loads `routes/channels.php`, in the way of each version.
    pub fn use_channels(&self) -> anyhow::Result<()> {
        if self.laravel_version()?.starts_with("10.") {
            let boot = "public function boot(): void\n    {";
            let channels = format!("{boot}\n        require base_path('routes/channels.php');");
            return self.change("app/Providers/AppServiceProvider.php", boot, &channels);
        }
        self.change(
            "bootstrap/app.php",
            "commands: null",
            "commands: null, channels: __DIR__.'/../routes/channels.php'",
        )
    }

    fn laravel_version(&self) -> anyhow::Result<String> {
        let file = self.root.join("usr/share/php/Illuminate/Foundation/Application.php");
        let text = std::fs::read_to_string(file)?;
        let (_, rest) = text.split_once("const VERSION = '").context("Laravel has no version")?;
        Ok(rest.split('\'').next().unwrap_or_default().to_owned())
    }

    /// A cluster whose workers ask an application over HTTP.
    pub fn shape_over_http(&self, port: u16) -> Shape {
        let shape = Shape { signing_key: APP_KEY.to_owned(), ..Shape::new(1, 1) };
        shape.worker("--backend-url", &format!("http://127.0.0.1:{port}"))
    }

    /// A cluster whose workers run this application.
    pub fn shape(&self, gateways: usize, processes: usize) -> Shape {
        let shape = Shape { signing_key: APP_KEY.to_owned(), ..Shape::new(gateways, 1) };
        shape
            .worker("--app", &self.directory)
            .worker("--php-command", &self.command())
            .worker("--php-processes", &processes.to_string())
    }
}
