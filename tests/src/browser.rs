//! A real browser: headless Chromium, spoken to by its debugging protocol.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::http::http;
use crate::ports::free_ports;
use crate::process::{PATIENCE, Process, wait_for_port};

/// A running Chromium.
pub struct Browser {
    port: u16,
    _process: Process,
    _profile: TempDir,
}

/// A page in it.
pub struct Tab {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
    /// Errors of the page's scripts, and what they wrote with `console.error`.
    pub errors: Vec<String>,
    /// What the browser itself reported: requests and connections that failed.
    pub network_errors: Vec<String>,
}

/// What a user prefers.
#[derive(Debug, Clone, Copy)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Browser {
    /// Starts with an empty profile. This Chromium has no windows at all, and needs a sixth of the time to start.
    pub fn start() -> anyhow::Result<Self> {
        // Debian puts a script before it, which would not pass on that it has to end.
        Self::run("/usr/lib/chromium/chromium-headless-shell")
    }

    /// Starts the whole of Chromium, where one tab hides another.
    pub fn start_with_windows() -> anyhow::Result<Self> {
        Self::run("chromium")
    }

    fn run(program: &str) -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        let [port] = free_ports()?;
        let process = Process::start_parent("chromium", profile.path(), &PathBuf::from(program), |command| {
            command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
            command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
            command.args(["--disable-dev-shm-usage", "--window-size=1100,640"]);
            command.arg(format!("--remote-debugging-port={port}"));
            command.arg(format!("--user-data-dir={}", profile.path().join("profile").display())).arg("about:blank");
        })?;
        wait_for_port(port)?;
        Ok(Self { port, _process: process, _profile: profile })
    }

    /// Opens a page in a tab of its own.
    pub async fn open(&self, url: &str) -> anyhow::Result<Tab> {
        // The debugger's address is made of this Host.
        let host = format!("127.0.0.1:{}", self.port);
        let request = format!("PUT /json/new?{url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let made: Value = serde_json::from_str(&http(self.port, &request)?.body)?;
        let address = made["webSocketDebuggerUrl"].as_str().context("no debugger")?;
        let (socket, _) = tokio_tungstenite::connect_async(address).await?;
        let mut tab = Tab { socket, next: 0, errors: Vec::new(), network_errors: Vec::new() };
        tab.command("Runtime.enable", json!({})).await?;
        tab.command("Log.enable", json!({})).await?;
        Ok(tab)
    }
}

impl Tab {
    async fn command(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.next += 1;
        let id = self.next;
        let command = json!({"id": id, "method": method, "params": params});
        self.socket.send(Message::text(command.to_string())).await?;
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.context("the browser is silent")?;
            let Some(Ok(Message::Text(text))) = message else { bail!("the tab is gone") };
            let message: Value = serde_json::from_str(&text)?;
            if message["id"] == id {
                ensure!(message.get("error").is_none(), "{method}: {message}");
                return Ok(message["result"].clone());
            }
            self.note(&message);
        }
    }

    /// Keeps what the page or the browser complains of.
    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let text = params["entry"]["text"].as_str().unwrap_or_default();
        let of_network = params["entry"]["source"] == "network"
            || ["WebSocket connection to", "Access to fetch at"].iter().any(|start| text.starts_with(start));
        let is_error = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => params["type"] == "error",
            Some("Log.entryAdded") => params["entry"]["level"] == "error",
            _ => false,
        };
        if is_error {
            let errors = if of_network { &mut self.network_errors } else { &mut self.errors };
            errors.push(params.to_string());
        }
    }

    /// The value of an expression in the page.
    pub async fn eval(&mut self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.command("Runtime.evaluate", params).await?;
        ensure!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        Ok(result["result"]["value"].clone())
    }

    /// Waits until an expression is true.
    pub async fn wait_for(&mut self, expression: &str) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        // A page that is just being loaded may not have what the expression looks at.
        let careful = format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
        while !self.is_true(&careful).await? {
            ensure!(Instant::now() < until, "in vain: {expression}; errors: {:?}", self.errors);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Whether an expression is true. In a page that is just being left, nothing is.
    async fn is_true(&mut self, expression: &str) -> anyhow::Result<bool> {
        match self.eval(expression).await {
            Ok(value) => Ok(value == true),
            Err(error) if error.to_string().contains("Inspected target navigated") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Clicks on the middle of what a selector finds, as a mouse does.
    pub async fn click(&mut self, selector: &str) -> anyhow::Result<()> {
        let place = self.middle_of(selector).await?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.command("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    /// Where the middle of what a selector finds is, once it is in view.
    async fn middle_of(&mut self, selector: &str) -> anyhow::Result<Value> {
        let selector = Value::from(selector);
        self.wait_for(&format!("document.querySelector({selector})")).await?;
        self.eval(&format!(
            "(() => {{ const e = document.querySelector({selector}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        ))
        .await
    }

    /// Chooses files in a field, as its dialog does.
    pub async fn choose_files(&mut self, selector: &str, files: &[&Path]) -> anyhow::Result<()> {
        let found = json!({"expression": format!("document.querySelector({})", Value::from(selector))});
        let object = self.command("Runtime.evaluate", found).await?["result"]["objectId"].clone();
        ensure!(object.is_string(), "no {selector}");
        self.command("DOM.setFileInputFiles", json!({"objectId": object, "files": files})).await?;
        Ok(())
    }

    /// Lets the page send no more than this many bytes a second.
    pub async fn limit_upload_rate(&mut self, bytes_per_second: u32) -> anyhow::Result<()> {
        self.command("Network.enable", json!({})).await?;
        let limits =
            json!({"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second});
        self.command("Network.emulateNetworkConditions", limits).await?;
        Ok(())
    }

    /// Shows the page in a colour scheme, on a screen of this width and height.
    pub async fn emulate(&mut self, scheme: Scheme, (width, height): (u32, u32)) -> anyhow::Result<()> {
        let scheme = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", media).await?;
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", screen).await?;
        Ok(())
    }

    /// Shows no scrollbars, as phones do.
    pub async fn hide_scrollbars(&mut self) -> anyhow::Result<()> {
        self.command("Emulation.setScrollbarsHidden", json!({"hidden": true})).await?;
        Ok(())
    }

    /// Takes the network away, or gives it back.
    pub async fn set_offline(&mut self, offline: bool) -> anyhow::Result<()> {
        self.command("Network.enable", json!({})).await?;
        let limits = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.command("Network.emulateNetworkConditions", limits).await?;
        Ok(())
    }

    /// Shows this tab, and hides the others.
    pub async fn bring_to_front(&mut self) -> anyhow::Result<()> {
        self.command("Page.bringToFront", json!({})).await?;
        Ok(())
    }

    /// Moves the mouse to the middle of what a selector finds.
    pub async fn hover(&mut self, selector: &str) -> anyhow::Result<()> {
        let place = self.middle_of(selector).await?;
        let event = json!({"type": "mouseMoved", "x": place[0], "y": place[1]});
        self.command("Input.dispatchMouseEvent", event).await?;
        Ok(())
    }

    /// The text of what a selector finds.
    pub async fn text(&mut self, selector: &str) -> anyhow::Result<String> {
        let text = self.eval(&format!("document.querySelector({})?.textContent ?? ''", Value::from(selector))).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until what a selector finds has this text.
    pub async fn wait_for_text(&mut self, selector: &str, text: &str) -> anyhow::Result<()> {
        let (selector, text) = (Value::from(selector), Value::from(text));
        self.wait_for(&format!("document.querySelector({selector})?.textContent.trim() === {text}")).await
    }

    /// Presses Backspace.
    pub async fn backspace(&mut self) -> anyhow::Result<()> {
        for kind in ["keyDown", "keyUp"] {
            let key = json!({"type": kind, "key": "Backspace", "code": "Backspace", "windowsVirtualKeyCode": 8});
            self.command("Input.dispatchKeyEvent", key).await?;
        }
        Ok(())
    }

    /// Types into what has the focus, as a keyboard does.
    pub async fn type_text(&mut self, text: &str) -> anyhow::Result<()> {
        for c in text.chars() {
            let key = json!({"type": "char", "text": c.to_string()});
            self.command("Input.dispatchKeyEvent", key).await?;
        }
        Ok(())
    }

    /// Presses Enter.
    pub async fn enter(&mut self) -> anyhow::Result<()> {
        for kind in ["keyDown", "keyUp"] {
            let key = json!({"type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"});
            self.command("Input.dispatchKeyEvent", key).await?;
        }
        Ok(())
    }

    /// Goes back or forward in the tab's history, as the browser's buttons do.
    pub async fn travel(&mut self, steps: i64) -> anyhow::Result<()> {
        let history = self.command("Page.getNavigationHistory", json!({})).await?;
        let index = history["currentIndex"].as_i64().context("no history")? + steps;
        let entry = &history["entries"][usize::try_from(index)?]["id"];
        ensure!(entry.is_number(), "the history has no step {index}: {history}");
        self.command("Page.navigateToHistoryEntry", json!({"entryId": entry})).await?;
        Ok(())
    }

    /// A picture of the page, PNG in base64.
    pub async fn screenshot(&mut self) -> anyhow::Result<String> {
        let shot = self.command("Page.captureScreenshot", json!({"format": "png"})).await?;
        Ok(shot["data"].as_str().context("no picture")?.to_owned())
    }
}
