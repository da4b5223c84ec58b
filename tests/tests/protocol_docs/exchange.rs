//! HTTP as the page shows it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::Context as _;
use diffyne_tests::process::PATIENCE;

/// An HTTP request or response.
#[derive(Debug)]
pub struct HttpText {
    /// The request line or the status line.
    pub start: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl HttpText {
    /// Reads a request or response; line ends may be those of the page.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let (start, lines) = head.split_once('\n').unwrap_or((head, ""));
        let headers = lines.lines().map(|line| {
            let (name, value) = line.split_once(": ").with_context(|| format!("no header: {line}"))?;
            Ok((name.to_owned(), value.to_owned()))
        });
        let headers = headers.collect::<anyhow::Result<_>>()?;
        Ok(Self { start: start.to_owned(), headers, body: body.to_owned() })
    }
}

/// Sends a request, and reads the response as far as its Content-Length says.
pub fn exchange(port: u16, request: &HttpText) -> anyhow::Result<HttpText> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = format!("{}\r\n", request.start);
    for (name, value) in &request.headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    write!(text, "Content-Length: {}\r\n\r\n{}", request.body.len(), request.body)?;
    stream.write_all(text.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    let mut response = HttpText::parse(std::str::from_utf8(&head)?.trim_end())?;
    let length = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(Ok(0), |(_, length)| length.parse())?];
    stream.read_exact(&mut body)?;
    response.body = String::from_utf8(body)?;
    Ok(response)
}
