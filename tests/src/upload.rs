//! File uploads: by curl as browsers send them, and piece by piece; and an application that takes them.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::http::{HttpResponse, http_get, read_response};
use crate::laravel::Laravel;
use crate::process::{PATIENCE, Process};

const BOUNDARY: &str = "-----boundary-of-a-test";

/// A curl request; what came back.
#[derive(Debug)]
pub struct CurlResponse {
    /// The status code.
    pub status: u16,
    /// The header lines, in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl CurlResponse {
    /// The body as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {} {}", self.head, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Runs curl.
pub fn curl(url: &str, arguments: &[&str]) -> anyhow::Result<CurlResponse> {
    let directory = tempfile::tempdir()?;
    let (head, body) = (directory.path().join("head"), directory.path().join("body"));
    let mut command = Command::new("curl");
    command.args(["-s", "-S", "--http1.1", "--max-time", "30", "-w", "%{http_code}"]);
    command.arg("-D").arg(&head).arg("-o").arg(&body).args(arguments).arg(url);
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    // curl says so when a server that refuses a body closes the connection: it has the response all the same.
    let status = String::from_utf8_lossy(&output.stdout).parse().unwrap_or(0);
    ensure!(status > 0, "{url}: {error}");
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    let head = String::from_utf8_lossy(&read(&head)).to_lowercase();
    Ok(CurlResponse { status, head, body: read(&body) })
}

/// Uploads a file for the property `photo` of a component, as a page of the application's own does.
pub fn upload(origin: &str, file: &Path, arguments: &[&str]) -> anyhow::Result<CurlResponse> {
    let form = format!("file=@{}", file.display());
    let fields = ["-F", "componentId=diffyne-album", "-F", "property=photo", "-F", &form];
    let page = ["-H", "Sec-Fetch-Site: same-origin", "-H", "Accept: application/json"];
    curl(&format!("{origin}/_diffyne/upload"), &[&fields[..], &page[..], arguments].concat())
}

/// Fetches the preview of an upload.
pub fn preview(origin: &str, identifier: &str, arguments: &[&str]) -> anyhow::Result<CurlResponse> {
    curl(&format!("{origin}/_diffyne/preview?id={identifier}"), arguments)
}

/// An upload that is sent piece by piece.
pub struct PiecemealUpload(TcpStream);

impl PiecemealUpload {
    /// Sends the head of a request. `length` is a header line: `Content-Length: 5` or `Transfer-Encoding: chunked`.
    pub fn begin(port: u16, length: &str, more: &[&str]) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let lines: String = more.iter().flat_map(|line| [line, "\r\n"]).collect();
        write!(
            stream,
            "POST /_diffyne/upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\
             Sec-Fetch-Site: same-origin\r\nAccept: application/json\r\n{length}\r\n{lines}\r\n"
        )?;
        Ok(Self(stream))
    }

    /// Sends a piece.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Sends a chunk.
    pub fn send_chunk(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        write!(self.0, "{:x}\r\n", bytes.len())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")
    }

    /// Reads the answer.
    pub fn answer(&mut self) -> anyhow::Result<HttpResponse> {
        read_response(&mut self.0)
    }
}

/// The body of a form with a file of this content.
pub fn form(name: &str, content: &[u8]) -> Vec<u8> {
    let field = |name: &str, value: &str| {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let head = field("componentId", "diffyne-album") + &field("property", "photo") + &file;
    [head.as_bytes(), content, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
}

/// A Laravel behind nginx and php-fpm, which notes who uploads and looks.
pub struct UploadApplication {
    /// The application.
    pub laravel: Laravel,
    /// nginx's port.
    pub port: u16,
    _processes: [Process; 2],
}

impl UploadApplication {
    /// Starts it.
    pub fn start() -> anyhow::Result<Self> {
        let laravel = Laravel::that_trusts_every_proxy()?;
        let note = r"\Illuminate\Support\Facades\Event::listen(\Illuminate\Foundation\Http\Events\RequestHandled::class, function ($handled): void {
            $request = $handled->request;
            if ($request->is('_diffyne/upload', '_diffyne/preview')) {
                $seen = ['path' => $request->path(), 'user' => $request->hasSession() ? session('uid') : null, 'ip' => $request->ip(),
                    'root' => $request->root(), 'cookies' => $request->cookies->count(), 'forwarded' => $request->headers->get('forwarded')];
                file_put_contents(storage_path('seen.jsonl'), json_encode($seen).PHP_EOL, FILE_APPEND);
            }
        });
        ";
        laravel.change("app/Providers/AppServiceProvider.php", "config([", &format!("{note}config(["))?;
        let (fpm, socket) = laravel.serve_fpm(3)?;
        let (nginx, port) = laravel.serve_nginx(&socket)?;
        // The first request compiles everything, which takes a busy machine seconds.
        http_get(port, "/up")?;
        Ok(Self { laravel, port, _processes: [nginx, fpm] })
    }

    /// The setting that lets gateways use it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The cookies of a user who has logged in.
    pub fn log_in(&self, user: &str) -> anyhow::Result<String> {
        let response = http_get(self.port, &format!("/login/{user}"))?;
        ensure!(response.status == 200, "{response:?}");
        Ok(response.cookies())
    }

    /// The last request that it has handled.
    pub fn last_seen(&self) -> anyhow::Result<Value> {
        let text = std::fs::read_to_string(self.laravel.path("storage/seen.jsonl"))?;
        Ok(serde_json::from_str(text.lines().last().context("nothing was seen")?)?)
    }

    /// The files that are stored in it, without their names' folders.
    pub fn stored(&self) -> anyhow::Result<Vec<PathBuf>> {
        let output = Command::new("find").arg(self.laravel.path("storage/app")).args(["-type", "f"]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect())
    }
}

/// Makes a file of this size whose content is not the same everywhere.
pub fn make_file(directory: &Path, name: &str, bytes: usize) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    let content: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8 ^ (i >> 11) as u8).collect();
    std::fs::write(&path, content)?;
    Ok(path)
}
